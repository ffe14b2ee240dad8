"""Data of one's own: what is read of folders, arrays, tables and IDX files, with which classes."""

import json
import zlib

import numpy as np
import pytest
from own_data_files import MODES, picture_folder, save_picture, stripes, write_csv, write_idx
from PIL import Image

from fastconv.data import DataError, Dataset, MissingData, Samples, load, load_own


def everything(dataset):
    """All images and labels, sorted so that the order of the parts does not matter."""
    images = np.concatenate([part.images for part in dataset.parts.values()])
    labels = np.concatenate([part.labels for part in dataset.parts.values()])
    order = np.lexsort(images.reshape(len(images), -1).T)
    return images[order], labels[order]


def assert_holds(dataset, images, labels):
    """All that was written is there, each image with its label, and nothing else."""
    found, numbers = everything(dataset)
    wanted = images if images.ndim == 4 else images[..., None]
    order = np.lexsort(wanted.reshape(len(wanted), -1).T)
    np.testing.assert_array_equal(found, wanted[order])
    np.testing.assert_array_equal(numbers, np.asarray(labels)[order])


# ---- arrays in memory ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 3, 8, 9), (5, 8, 9, 3)),
        ((5, 8, 9, 3), (5, 8, 9, 3)),
        ((5, 1, 8, 8), (5, 8, 8, 1)),
        ((5, 28, 28), (5, 28, 28, 1)),
        ((5, 7), (5, 1, 1, 7)),
        ((5, 1, 1, 7), (5, 1, 1, 7)),
    ],
)
def test_the_place_of_the_channels_is_found(shape, expected):
    images = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    samples = Samples.from_arrays(images, np.arange(5))
    assert samples.images.shape == expected
    if shape[1] == 3:
        np.testing.assert_array_equal(samples.images[4, 2, 5], images[4, :, 2, 5])


def test_a_layout_that_is_not_clear_is_asked_for():
    images = np.zeros((5, 3, 9, 3))
    with pytest.raises(DataError, match=r"may be NHWC or NCHW.*layout='NHWC'"):
        Samples.from_arrays(images, np.zeros(5, int))
    with pytest.raises(DataError, match="may be NHWC or NCHW"):
        Samples.from_arrays(np.zeros((5, 8, 9, 8)), np.zeros(5, int))
    assert Samples.from_arrays(images, np.zeros(5, int), layout="NCHW").images.shape == (5, 9, 3, 3)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("uint8", "uint8"), ("int64", "uint8"), ("bool", "uint8"), (">u2", "uint8"),
        ("float16", "float32"), (">f4", "float32"), ("float64", "float64"),
    ],
)  # fmt: skip
def test_every_type_of_numbers_is_taken(dtype, kept):
    values = np.array([[0, 1], [1, 0]])
    samples = Samples.from_arrays(values.astype(dtype), [0, 1])
    assert samples.images.dtype == kept
    bright = 255 if dtype == "bool" else 1
    np.testing.assert_array_equal(samples.images.reshape(2, 2), values * bright)


def test_whole_numbers_past_a_byte_are_kept_as_they_are():
    samples = Samples.from_arrays(np.array([[-1, 300], [65535, 0]]), [0, 1])
    assert samples.images.dtype == np.float32
    assert samples.images.ravel().tolist() == [-1, 300, 65535, 0]


def test_labels_may_be_text_numbers_or_one_hot_rows():
    images = np.zeros((3, 4))
    text = Samples.from_arrays(images, ["dog", "cat", "dog"])
    assert (text.labels.tolist(), text.class_names) == ([1, 0, 1], ("cat", "dog"))
    numbers = Samples.from_arrays(images, np.array([3, 7, 3], np.uint8))
    assert (numbers.labels.tolist(), numbers.labels.dtype) == ([3, 7, 3], np.int64)
    one_hot = Samples.from_arrays(images, np.eye(4)[[2, 0, 3]])
    assert one_hot.labels.tolist() == [2, 0, 3]
    column = Samples.from_arrays(images, [[1], [0], [2]])
    assert column.labels.tolist() == [1, 0, 2]
    named = Samples.from_arrays(images, [9, 5, 9], class_names=("5", "9"))
    assert named.labels.tolist() == [1, 0, 1]
    targets = Samples.from_arrays(images, [[0.5], [1.5], [2.0]])
    assert not targets.has_classes


def test_a_test_part_that_was_numbered_by_other_classes_is_refused():
    images = np.zeros((2, 4), np.uint8)
    training = Samples.from_arrays(images, ["ant", "bee"])
    test = Samples.from_arrays(images, ["bee", "cow"])
    with pytest.raises(DataError, match=r"bee, cow.*ant, bee.*class_names="):
        Dataset("insects", training, test, training.class_names)
    with pytest.raises(DataError, match="'cow', which the training part lacks"):
        Samples.from_arrays(images, ["bee", "cow"], class_names=training.class_names)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 4)), [0.5, 1.0], r"floating numbers \(float64, such as 0.5\).*astype"),
        (np.zeros((2, 4)), [float("nan"), 1.0], "label of sample 0 is .nan"),
        (np.array([[0, 1], [2, np.nan]]), [0, 1], "image 1 holds nan"),
        (np.array([[0, np.inf], [2, 3]]), [0, 1], "image 0 holds inf"),
        (np.zeros((2, 4), complex), [0, 1], "dtype complex128"),
        (np.zeros((2, 4)), [None, 1], "Python objects"),
        (np.zeros((2, 4)), ["a", ""], "label of sample 1 is empty"),
        (np.zeros((2, 4)), [0, 1, 1], "2 images but 3 labels"),
        (np.zeros(2), [0, 1], r"images have shape \(2,\)"),
    ],
)
def test_arrays_that_are_no_samples_are_refused_in_one_line(images, labels, says):
    with pytest.raises(DataError, match=says) as fault:
        Samples.from_arrays(images, labels)
    assert "\n" not in str(fault.value)


# ---- folders of pictures ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_folder_of_grey_pictures_holds_its_pixels_and_its_classes(tmp_path, mode):
    images, labels = picture_folder(tmp_path, mode=mode)
    dataset = load_own(tmp_path)
    assert dataset.name == tmp_path.name
    assert dataset.class_names == ("bottom", "middle", "top")
    assert_holds(dataset, images, labels)
    sizes = {part: len(samples) for part, samples in dataset.parts.items()}
    assert sizes == {"training": 21, "test": 6, "validation": 3}


def test_pictures_of_all_modes_become_colours(tmp_path):
    images, labels = stripes(18)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        mode = MODES[(number // 3) % len(MODES)]
        save_picture(tmp_path / f"class{label}" / f"{number:02}.png", image, mode)
    dataset = load_own(tmp_path)
    assert dataset.image_shape == (8, 8, 3)
    assert_holds(dataset, np.repeat(images[..., None], 3, axis=3), labels)
    grey = load_own(tmp_path, channels=1)
    assert grey.image_shape == (8, 8, 1)
    assert_holds(grey, images, labels)


@pytest.mark.parametrize("ending", ["bmp", "webp", "gif", "jpg"])
def test_pictures_of_every_format_are_read(tmp_path, ending):
    for name, value in (("dark", 10), ("bright", 240)):
        for number in range(4):
            frame = Image.new("L", (8, 8), value)
            file = tmp_path / name / f"{number}.{ending.upper()}"
            file.parent.mkdir(exist_ok=True)
            later = [Image.new("L", (8, 8), 128)]
            more = {"save_all": True, "append_images": later} if ending == "gif" else {}
            frame.save(file, **more)
    dataset = load_own(tmp_path)
    images, labels = everything(dataset)
    assert dataset.class_names == ("bright", "dark")
    for image, label in zip(images, labels, strict=True):  # of a GIF the first frame
        assert abs(image.astype(int) - (240, 10)[label]).max() <= 2


def test_folders_of_parts_are_the_parts(tmp_path):
    held = {}
    for seed, part in enumerate(("train", "val", "test")):
        held[part] = picture_folder(tmp_path / part, count=6 + 3 * seed, seed=seed)
    dataset = load_own(tmp_path)
    for part, name in (("training", "train"), ("validation", "val"), ("test", "test")):
        images, labels = held[name]
        order = np.argsort(labels, kind="stable")  # by folder, then by name
        found = dataset.parts[part]
        if part == "training":  # in an order that is drawn
            assert found.labels.tolist() != sorted(found.labels.tolist())
            found = found.take(np.lexsort([found.images.sum(axis=(1, 2, 3)), found.labels]))
            order = np.lexsort([images.sum(axis=(1, 2)), labels])
        np.testing.assert_array_equal(found.images[..., 0], images[order])
        np.testing.assert_array_equal(found.labels, labels[order])


def test_the_first_and_the_last_of_a_folder_are_of_every_class(tmp_path):
    picture_folder(tmp_path, count=90)
    for seed in range(3):
        labels = load_own(tmp_path, split_seed=seed).training.labels
        assert set(labels[:20]) == set(labels[-20:]) == {0, 1, 2}


def test_names_of_classes_are_any_text(tmp_path):
    picture_folder(tmp_path, names=("train station", "été", "😀 & <b>"))
    assert load_own(tmp_path).class_names == ("train station", "été", "😀 & <b>")


def test_numbered_folders_are_classes_in_the_order_of_their_numbers(tmp_path):
    picture_folder(tmp_path, names=("2", "10", "1"))
    assert load_own(tmp_path).class_names == ("1", "2", "10")


def test_pictures_of_other_sizes_are_refused_with_a_way_out_or_brought_to_one(tmp_path):
    images, _ = picture_folder(tmp_path)
    wide = np.full((8, 24), 90, np.uint8)
    wide[:, 8:16] = 200
    save_picture(tmp_path / "top" / "wide.png", wide)
    with pytest.raises(DataError, match=r"differ in size.*8 x 24.*data.fit=resize.*\[8,8\]") as f:
        load_own(tmp_path)
    assert "wide.png" in str(f.value)
    options = {"size": (8, 8), "test_fraction": 0.0, "validation_fraction": 0.0}
    for fit, middle, left in (("resize", 200, 90), ("center_crop", 200, 200), ("pad", 200, 90)):
        dataset = load_own(tmp_path, fit=fit, **options)
        # The one that is bright in its middle rows and columns alone.
        others = {image.tobytes() for image in images}
        (found,) = (
            image[..., 0] for image in dataset.training.images if image.tobytes() not in others
        )
        assert abs(int(found[4, 4]) - middle) <= (60 if fit == "pad" else 8)
        assert abs(int(found[4, 0]) - left) <= 8
        assert (found[0] == 0).all() == (fit == "pad")
    assert load_own(tmp_path, size=(4, 6)).image_shape == (4, 6, 1)


def test_a_bad_picture_is_named_and_refused_or_left_out(tmp_path):
    images, labels = picture_folder(tmp_path)
    (tmp_path / "top" / "text.png").write_text("no picture")
    whole = (tmp_path / "top" / "002.png").read_bytes()
    (tmp_path / "top" / "cut.png").write_bytes(whole[:-40])  # its header is sound
    with pytest.raises(DataError, match=r"(text|cut).png.*data.bad=skip"):
        load_own(tmp_path)
    dataset = load_own(tmp_path, bad="skip")
    assert_holds(dataset, images, labels)
    assert len(dataset.remarks) == 2
    for name in ("text.png", "cut.png"):
        assert sum(name in remark for remark in dataset.remarks) == 1


def test_a_link_to_nowhere_is_a_bad_picture(tmp_path):
    images, labels = picture_folder(tmp_path)
    (tmp_path / "top" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"gone.png: no such file.*data.bad=skip"):
        load_own(tmp_path)
    assert_holds(load_own(tmp_path, bad="skip"), images, labels)


def test_a_header_that_asks_for_gigabytes_takes_none(tmp_path):
    picture_folder(tmp_path)
    file = tmp_path / "top" / "000.bmp"
    Image.new("L", (8, 8)).save(file)
    content = bytearray(file.read_bytes())
    content[18:26] = (65535).to_bytes(4, "little") * 2
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"000.bmp: too large"):
        load_own(tmp_path)
    file.unlink()
    file = tmp_path / "top" / "002.png"
    content = bytearray(file.read_bytes())
    content[16:24] = (65535).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"002.png: too large"):
        load_own(tmp_path)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "train" / "a").mkdir(parents=True), "'bottom' lies beside 'train'"),
        (lambda f: (f / "empty").mkdir(), "class 'empty' has no pictures"),
        (lambda f: (f / "loose.png").write_bytes(b""), "loose.png lies beside the folders"),
        (lambda f: [p.rename(f.parent / f"{p.name}-away") for p in f.iterdir() if p.name > "c"],
         "one class only, 'bottom'"),
    ],
)  # fmt: skip
def test_a_folder_that_is_laid_out_otherwise_is_refused(tmp_path, break_it, says):
    folder = tmp_path / "data"
    picture_folder(folder)
    break_it(folder)
    with pytest.raises(DataError, match=says) as fault:
        load_own(folder)
    assert "\n" not in str(fault.value)


def test_pictures_without_folders_of_classes_are_refused(tmp_path):
    save_picture(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"1 pictures lie in the folder itself, such as a\.png"):
        load_own(tmp_path)


def test_a_class_of_the_test_part_that_training_lacks_is_named(tmp_path):
    picture_folder(tmp_path / "train")
    picture_folder(tmp_path / "test", names=("bottom", "middle", "unknown"))
    with pytest.raises(DataError, match=r"test part.*'unknown', which the training part lacks"):
        load_own(tmp_path)


def test_nothing_is_fetched_and_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="is an address, and nothing is fetched"):
        load_own("https://example.org/data.npz")
    with pytest.raises(MissingData, match="no such file or folder"):
        load_own(tmp_path / "none")
    with pytest.raises(MissingData, match="holds no data"):
        load_own(tmp_path)
    (tmp_path / "notes.doc").write_text("no data")
    with pytest.raises(DataError, match="is of no known kind"):
        load_own(tmp_path / "notes.doc")


# ---- arrays in files -------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_holds_images_and_labels(tmp_path, save):
    images, labels = stripes(30)
    save(tmp_path / "stripes.npz", images=images[:, None], labels=np.array(["a", "b", "c"])[labels])
    dataset = load_own(tmp_path / "stripes.npz")
    assert (dataset.name, dataset.class_names) == ("stripes", ("a", "b", "c"))
    assert_holds(dataset, images, labels)


def test_parts_of_an_npz_file_are_found_by_their_names(tmp_path):
    images, labels = stripes(30)
    np.savez(
        tmp_path / "a.npz",
        x_train=images[:20], y_train=labels[:20] + 5, x_test=images[20:], y_test=labels[20:] + 5,
    )  # fmt: skip
    dataset = load_own(tmp_path / "a.npz", validation_fraction=0.0)
    assert dataset.class_names == ("5", "6", "7")
    np.testing.assert_array_equal(dataset.training.images[..., 0], images[:20])
    np.testing.assert_array_equal(dataset.test.labels, labels[20:])
    assert dataset.validation is None


def test_the_layout_of_an_array_may_be_said(tmp_path):
    images = np.arange(30 * 6 * 8 * 9, dtype=np.float32).reshape(30, 6, 8, 9)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(30) % 2)
    with pytest.raises(DataError, match=r"a.npz.*data.layout=NCHW"):
        load_own(tmp_path / "a.npz")
    dataset = load_own(tmp_path / "a.npz", layout="NCHW")
    assert_holds(dataset, images.transpose(0, 2, 3, 1), np.arange(30) % 2)


def test_an_npz_file_may_name_its_classes(tmp_path):
    images, labels = stripes(30)
    names = np.array(["c", "b", "a", "unused"])
    np.savez(tmp_path / "a.npz", x=images, y=labels, class_names=names)
    dataset = load_own(tmp_path / "a.npz")
    assert dataset.class_names == ("c", "b", "a", "unused")
    assert_holds(dataset, images, labels)


def test_one_hot_labels_are_converted_and_that_is_said(tmp_path):
    images, labels = stripes(30)
    np.savez(tmp_path / "a.npz", x=images, y=np.eye(3)[labels])
    dataset = load_own(tmp_path / "a.npz")
    assert_holds(dataset, images, labels)
    assert dataset.remarks == ("one-hot rows of 3 columns became the numbers of their columns",)


def test_npy_files_lie_beside_each_other(tmp_path):
    images, labels = stripes(30)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    for path in (tmp_path, tmp_path / "images.npy"):
        assert_holds(load_own(path), images, labels)


def test_npz_files_of_parts_lie_in_a_folder(tmp_path):
    images, labels = stripes(30)
    np.savez(tmp_path / "train.npz", images=images[:24], labels=labels[:24])
    np.savez(tmp_path / "test.npz", images=images[24:], labels=labels[24:])
    dataset = load_own(tmp_path)
    np.testing.assert_array_equal(dataset.test.images[..., 0], images[24:])
    assert_holds(dataset, images, labels)


def test_objects_are_never_unpickled(tmp_path):
    images = np.empty(3, object)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(3))
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(3))
    for path in (tmp_path / "a.npz", tmp_path / "images.npy"):
        with pytest.raises(DataError, match="Python objects"):
            load_own(path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": np.zeros((4, 8, 8))}, "no array is the labels of the training part"),
        ({"a": np.zeros(4), "b": np.zeros(4)}, "no array is for training.*there are: a, b"),
        ({"x": np.zeros((4, 8, 8)), "images": np.zeros((4, 8, 8)), "y": [0, 1, 0, 1]},
         "x and images may both be the images"),
        ({"x": np.zeros((4, 8, 8)), "y": [0, 1, 0]}, "holds 4 images.*3 labels"),
        ({"x": np.zeros((4, 8, 8)), "y": [0.0, 1.0, 0.5, 2.0]}, "labels are floating numbers"),
        ({"x": np.full((4, 8, 8), np.nan), "y": [0, 1, 0, 1]}, r"image \d holds nan"),
        ({"x": np.zeros((4, 8, 8)), "y": [1, 1, 1, 1]}, "one class only, '1'"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=says) as fault:
        load_own(tmp_path / "a.npz", validation_fraction=0.0)
    assert "a.npz" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_value_that_is_not_finite_is_found_where_it_lies_in_the_file(tmp_path):
    """However the samples were mixed and divided."""
    images = np.zeros((60, 4, 4), np.float32)
    images[37, 2, 1] = -np.inf
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(60) % 3)
    for seed in range(3):
        with pytest.raises(DataError, match=r"a\.npz: image 37 holds -inf"):
            load_own(tmp_path / "a.npz", split_seed=seed)


def test_damaged_array_files_are_named(tmp_path):
    images, labels = stripes(30)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"a.npz: is no NumPy file, or damaged"):
            load_own(tmp_path / "a.npz")
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", labels)
    (tmp_path / "a.npz").unlink()
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x.npy: the file holds"):
        load_own(tmp_path / "x.npy")


# ---- tables ----------------------------------------------------------------------------------


def test_a_table_of_pixels_is_square_pictures(tmp_path):
    images, labels = stripes(30)
    file = write_csv(tmp_path / "digits.csv", images, labels)
    dataset = load_own(file)
    assert dataset.training.images.dtype == np.uint8
    assert_holds(dataset, images, labels)


def test_a_table_of_features_is_vectors_with_text_for_classes(tmp_path):
    file = tmp_path / "leaves.csv"
    rows = [f"{n / 4},{-n},{'oak' if n % 2 else 'ash tree'},{n}" for n in range(20)]
    file.write_text("width,length,species,id\n" + "\n".join(rows), encoding="utf-8")
    dataset = load_own(file, label="species", leave_out=["id"])
    assert dataset.class_names == ("ash tree", "oak")
    assert dataset.image_shape == (1, 1, 2)
    images, labels = everything(dataset)
    for image, label in zip(images.reshape(-1, 2), labels, strict=True):
        assert image[0] * 4 == -image[1]
        assert label == -image[1] % 2


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_and_no_names_will_do(tmp_path, delimiter):
    images, labels = stripes(12)
    rows = np.column_stack([images.reshape(12, -1), labels])
    lines = [delimiter.join(map(str, row)) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert_holds(load_own(tmp_path / "a.csv", label="-1"), images, labels)
    with pytest.raises(DataError, match=r"no column is named label.*data.label='0'"):
        load_own(tmp_path / "a.csv")


def test_colours_of_a_table_have_the_shape_that_is_given(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (12, 2, 4, 3), np.uint8)
    file = write_csv(tmp_path / "a.csv", values, np.arange(12) % 2, pixel="v")
    assert_holds(load_own(file, image_shape=(2, 4, 3)), values, np.arange(12) % 2)
    with pytest.raises(DataError, match=r"image_shape is \[5, 5\].*25 values.*24"):
        load_own(file, image_shape=(5, 5))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("\n1,", "\n1,,"), "row 2 has 66 columns; expected 65"),
        (("\n2,", "\n2,3,"), "row 3 has 66 columns; expected 65"),
        (("\n1,", "\n1.5,"), "labels are floating numbers"),
        (("\n1,", "\n,"), "label of sample 1 is empty"),
        (("label", "kind"), "no column is named label"),
    ],
)
def test_lines_of_a_table_that_are_wrong_are_named(tmp_path, change, says):
    images, labels = stripes(12)
    file = write_csv(tmp_path / "a.csv", images, labels)
    text = file.read_text()
    file.write_text(text.replace(*change, 1))
    with pytest.raises(DataError, match=says):
        load_own(file)


def test_a_value_too_many_or_too_few_is_named_in_quoted_tables_too(tmp_path):
    file = tmp_path / "a.csv"
    for last, width in (('"x, y",1,2,3', 4), ('"x, y",1', 2)):
        file.write_text('label,a,b\n"x, y",1,2\n\nz,3,4\n' + last, encoding="utf-8")
        with pytest.raises(DataError, match=f"row 4 has {width} columns; expected 3"):
            load_own(file)
    file.write_text("label,a,b\n" + 'z,3,4\n\n"x, y",1,2\n' * 5, encoding="utf-8")
    assert load_own(file).class_names == ("x, y", "z")


@pytest.mark.parametrize(
    ("cell", "says"),
    [("", "is missing"), ("dark", "is 'dark'; expected a number"), ("nan", "is nan"),
     ("inf", "is inf")],
)  # fmt: skip
def test_a_pixel_that_is_no_number_is_named(tmp_path, cell, says):
    images, labels = stripes(12)
    file = write_csv(tmp_path / "a.csv", images, labels)
    lines = file.read_text().splitlines()
    cells = lines[4].split(",")
    cells[1 + 7] = cell
    lines[4] = ",".join(cells)
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"a.csv: row 4, column 'pixel7' {says}"):
        load_own(file)


def test_tables_of_parts_lie_in_a_folder(tmp_path):
    images, labels = stripes(30)
    write_csv(tmp_path / "train.csv", images[:24], labels[:24])
    write_csv(tmp_path / "test.csv", images[24:], labels[24:])
    dataset = load_own(tmp_path)
    np.testing.assert_array_equal(dataset.test.images[..., 0], images[24:])
    assert_holds(dataset, images, labels)


def test_a_parquet_file_is_read_like_a_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images, labels = stripes(30)
    rows = images.reshape(30, -1)
    names = np.array(["a", "b", "c"])[labels]
    columns = {f"pixel{n}": rows[:, n] for n in range(64)}
    parquet.write_table(pyarrow.table({"label": names, **columns}), tmp_path / "wide.parquet")
    lists = {"image": rows.tolist(), "label": names}
    parquet.write_table(pyarrow.table(lists), tmp_path / "lists.parquet")
    for name in ("wide", "lists"):
        dataset = load_own(tmp_path / f"{name}.parquet")
        assert dataset.class_names == ("a", "b", "c")
        assert_holds(dataset, images, labels)
    columns["pixel5"] = [None, *rows[1:, 5].tolist()]
    parquet.write_table(pyarrow.table({"label": names, **columns}), tmp_path / "wide.parquet")
    with pytest.raises(DataError, match="row 1, column 'pixel5' is missing"):
        load_own(tmp_path / "wide.parquet")
    (tmp_path / "wide.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="is no Parquet file, or damaged"):
        load_own(tmp_path / "wide.parquet")


def test_without_pyarrow_a_parquet_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pyarrow.*fastconv\[parquet\]"):
        load_own(tmp_path / "a.parquet")


# ---- IDX, CIFAR-100, SVHN --------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_of_any_name_are_pairs(tmp_path, ending):
    images, labels = stripes(30)
    for part, rows in (("train", slice(0, 24)), ("t10k", slice(24, 30))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{ending}", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{ending}", labels[rows].astype(np.uint8))
    dataset = load_own(tmp_path)
    np.testing.assert_array_equal(dataset.test.images[..., 0], images[24:])
    np.testing.assert_array_equal(dataset.test.labels, labels[24:])
    assert_holds(dataset, images, labels)


def test_of_several_idx_data_sets_in_a_folder_the_one_of_the_path_is_read(tmp_path):
    images, labels = stripes(30)
    for name, shift in (("emnist-letters", 1), ("emnist-digits", 0)):
        for part, rows in (("train", slice(0, 24)), ("test", slice(24, 30))):
            stem = tmp_path / f"{name}-{part}"
            write_idx(stem.with_name(f"{stem.name}-images-idx3-ubyte"), images[rows] + shift)
            numbers = (labels[rows] + shift).astype(np.uint8)
            write_idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte"), numbers)
    with pytest.raises(DataError, match="are both images of the test part; give the path"):
        load_own(tmp_path)
    dataset = load_own(tmp_path / "emnist-letters-train-images-idx3-ubyte")
    assert dataset.class_names == ("1", "2", "3")
    assert_holds(dataset, images + 1, labels)


def test_an_idx_header_that_asks_for_more_than_the_file_can_hold_takes_no_memory(tmp_path):
    write_idx(tmp_path / "labels-idx1-ubyte", np.zeros(5, np.uint8))
    content = b"\0\0\x08\x03" + (2**31).to_bytes(4, "big") * 3
    (tmp_path / "images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="its header asks for"):
        load_own(tmp_path)


def test_cifar_100_is_read_with_its_names(tmp_path):
    import pickle

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    generator = np.random.default_rng(0)
    planes = generator.integers(0, 256, (12, 3072), np.uint8)
    fine = [n % 3 for n in range(12)]
    for name, rows in (("train", slice(0, 9)), ("test", slice(9, 12))):
        batch = {b"data": planes[rows], b"fine_labels": fine[rows], b"coarse_labels": fine[rows]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = [b"apple", b"bee", b"crab"]
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    for path in (tmp_path, folder):
        dataset = load_own(path, validation_fraction=0.0)
        assert dataset.class_names == ("apple", "bee", "crab")
        assert dataset.training.labels.tolist() == fine[:9]
        pixel = planes[11].reshape(3, 32, 32)[:, 4, 7]
        np.testing.assert_array_equal(dataset.test.images[2, 4, 7], pixel)


def test_svhn_says_ten_for_the_digit_zero(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 32, 32, 3), np.uint8)
    digits = np.arange(12) % 3
    written = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
    for name, rows in (("train", slice(0, 9)), ("test", slice(9, 12))):
        x = images[rows].transpose(1, 2, 3, 0)
        scipy_io.savemat(tmp_path / f"{name}_32x32.mat", {"X": x, "y": written[rows]})
    dataset = load_own(tmp_path, validation_fraction=0.0)
    assert dataset.class_names == tuple("0123456789")
    np.testing.assert_array_equal(dataset.training.images, images[:9])
    assert dataset.test.labels.tolist() == [0, 1, 2]
    (tmp_path / "train_32x32.mat").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"train_32x32.mat: is no MATLAB file"):
        load_own(tmp_path)


# ---- the copy that is kept -------------------------------------------------------------------


def large_folder(folder):
    """Pictures that are 9 MiB when they are decoded: worth keeping."""
    pixels = np.zeros((512, 512, 3), np.uint8)
    for number in range(12):
        pixels[number, 0] = number + 1
        file = folder / ("even", "odd")[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, compress_level=1)


def test_a_second_start_decodes_nothing(tmp_path, monkeypatch):
    large_folder(tmp_path)
    first = load_own(tmp_path)

    def never(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr("fastconv.data.picture_files.decode_picture", never)
    monkeypatch.setattr("fastconv.data.picture_files.picture_form", never)
    again = load_own(tmp_path)
    for part, samples in first.parts.items():
        np.testing.assert_array_equal(again.parts[part].images, samples.images)
        np.testing.assert_array_equal(again.parts[part].labels, samples.labels)
    assert again.class_names == first.class_names == ("even", "odd")
    with pytest.raises(AssertionError, match="decoded again"):
        load_own(tmp_path, split_seed=1)  # other options


def test_a_file_that_was_changed_is_decoded_again(tmp_path):
    large_folder(tmp_path)
    load_own(tmp_path)
    file = tmp_path / "odd" / "01.png"
    Image.fromarray(np.full((512, 512, 3), 77, np.uint8)).save(file)
    images, _ = everything(load_own(tmp_path))
    assert (images == 77).all(axis=(1, 2, 3)).sum() == 1
    file.unlink()
    assert len(everything(load_own(tmp_path))[0]) == 11
    index = tmp_path / ".fastconv.decoded" / "index.json"
    assert json.loads(index.read_text())["shape"] == [11, 512, 512, 3]
    (tmp_path / ".fastconv.decoded" / "images.raw").write_bytes(b"cut short")
    assert len(everything(load_own(tmp_path))[0]) == 11


def test_where_nothing_can_be_kept_the_pictures_are_there_all_the_same(tmp_path, monkeypatch):
    large_folder(tmp_path)
    monkeypatch.setattr(
        "fastconv.data.arrangement.cache_places", lambda *_: [tmp_path / "odd" / "01.png" / "none"]
    )
    assert len(everything(load_own(tmp_path))[0]) == 12


def test_data_that_neither_disk_nor_memory_can_hold_are_refused(tmp_path, monkeypatch):
    large_folder(tmp_path)
    monkeypatch.setattr(
        "fastconv.data.arrangement.cache_places", lambda *_: [tmp_path / "odd" / "01.png" / "none"]
    )
    monkeypatch.setattr("fastconv.data.available_memory.available_memory", lambda: 2**20)
    monkeypatch.setattr("fastconv.data.available_memory._LEAST", 2**20)
    with pytest.raises(DataError, match=r"GiB of memory.*make room on the disk"):
        load_own(tmp_path)


def test_the_catalogue_knows_data_of_ones_own(tmp_path):
    images, labels = stripes(30)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    assert_holds(load("own", tmp_path / "a.npz"), images, labels)
    with pytest.raises(MissingData, match="no path of the data"):
        load("own")
