"""Zip archives, targets in tables, deep pictures, white ink, masks: data as people have them."""

import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from own_data_files import picture_folder, save_picture
from PIL import Image

import fastconv
from fastconv import predict
from fastconv import train as train_command
from fastconv.data import DataError, Samples, load_own
from fastconv.data.description import describe
from fastconv.data.errors import MissingData
from fastconv.data.picture_files import read_picture
from fastconv.layers import Conv2D, Dense, Flatten
from fastconv.network import NetworkError, Sequential
from fastconv.preprocessing import Preprocessing
from fastconv.runs.saved_run import load_run


def zipped(folder, file, around=""):
    """Pack a folder of pictures."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for picture in sorted(folder.rglob("*.png")):
            archive.write(picture, around + picture.relative_to(folder).as_posix())
    return file


# Archives


@pytest.mark.parametrize("around", ["", "pets/"])
def test_a_zip_archive_is_read_as_the_folder_that_it_was_made_of(tmp_path, around):
    (tmp_path / "folder").mkdir()
    picture_folder(tmp_path / "folder")
    file = zipped(tmp_path / "folder", tmp_path / "pets.zip", around)
    before = sorted(os.listdir(tmp_path))
    from_zip, from_folder = load_own(file), load_own(tmp_path / "folder")
    assert from_zip.name == "pets"
    assert from_zip.class_names == from_folder.class_names
    for part, samples in from_folder.parts.items():
        np.testing.assert_array_equal(from_zip.parts[part].images, samples.images)
        np.testing.assert_array_equal(from_zip.parts[part].labels, samples.labels)
    assert sorted(os.listdir(tmp_path)) == before  # nothing was unpacked


def test_parts_in_an_archive_are_the_parts_and_pictures_may_differ_in_size(tmp_path):
    for part, count in (("train", 12), ("test", 6)):
        (tmp_path / "folder" / part).mkdir(parents=True)
        picture_folder(tmp_path / "folder" / part, count)
    save_picture(tmp_path / "folder" / "train" / "top" / "wide.png", np.zeros((8, 12), np.uint8))
    file = zipped(tmp_path / "folder", tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a.zip \(train/top/wide.png\) is 8 x 12"):
        load_own(file)
    dataset = load_own(file, size=(8, 8), validation_fraction=0.0)
    assert (len(dataset.training), len(dataset.test)) == (13, 6)
    assert describe(file).sizes == {(8, 8): 18, (8, 12): 1}


def test_what_lies_outside_of_an_archive_by_its_name_is_only_a_name(tmp_path):
    (tmp_path / "folder").mkdir()
    picture_folder(tmp_path / "folder", 12)
    file = zipped(tmp_path / "folder", tmp_path / "a.zip")
    content = (tmp_path / "folder" / "top" / "002.png").read_bytes()
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../evil/cat.png", content)
        archive.writestr("/absolute/cat.png", content)
    listed = sorted(str(path) for path in tmp_path.rglob("*"))
    # What begins with a dot is passed over, as in a folder; the other is a class by its name.
    dataset = load_own(file, test_fraction=0.0, validation_fraction=0.0)
    assert dataset.class_names == ("/", "bottom", "middle", "top")
    assert sorted(str(path) for path in tmp_path.rglob("*")) == listed
    assert not (tmp_path.parent.parent / "evil").exists()


def forged(file, name, content, claimed):
    """An archive with a member whose entry claims another size than it has."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/a.png", content)
        archive.writestr(f"dog/{name}", content)
    data = bytearray(file.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", claimed)
    file.write_bytes(data)
    return file


def test_sizes_are_looked_at_before_anything_is_unpacked(tmp_path):
    picture = save_picture(tmp_path / "p.png", np.zeros((8, 8), np.uint8)).read_bytes()
    with pytest.raises(DataError, match=r"dog/b.png\): claims to have 3000000000 bytes; expected"):
        load_own(forged(tmp_path / "a.zip", "b.png", picture, 3_000_000_000))
    with pytest.raises(DataError, match=r"dog/b.png\): cannot be read \(damaged in the archive"):
        load_own(forged(tmp_path / "b.zip", "b.png", picture, 10))


def test_what_is_no_archive_of_pictures_is_said_in_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a.zip: is no zip archive, or damaged"):
        load_own(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("cat/notes.txt", "none")
    with pytest.raises(MissingData, match=r"b.zip: there are no pictures in this archive"):
        load_own(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    with pytest.raises(DataError, match=r"c.zip: a.png lies in no folder of a class"):
        load_own(tmp_path / "c.zip")


# Targets


def houses(file, delimiter=","):
    """A table whose two targets are linear in two features."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 2))
    rows = np.column_stack([x, x @ [1.5, -0.5] + 0.25, x @ [0.5, 2.0]])
    lines = ["rooms,area,price,rent"] + [",".join(f"{v:.17g}" for v in row) for row in rows]
    file.write_text("\n".join(lines).replace(",", delimiter) + "\n")
    return rows


def test_columns_of_a_table_may_be_targets(tmp_path):
    rows = houses(tmp_path / "houses.csv")
    dataset = load_own(
        tmp_path / "houses.csv", target=("price", "rent"), test_fraction=0.0,
        validation_fraction=0.0,
    )  # fmt: skip
    assert dataset.class_names == ()
    training = dataset.training
    np.testing.assert_allclose(training.images.reshape(-1, 2), rows[:, :2], rtol=1e-6)
    np.testing.assert_array_equal(training.labels, rows[:, 2:])


def test_columns_of_a_parquet_table_may_be_targets(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = houses(tmp_path / "houses.csv")
    names = ("rooms", "area", "price", "rent")
    table = pyarrow.table({name: rows[:, n] for n, name in enumerate(names)})
    parquet.write_table(table, tmp_path / "houses.parquet")
    dataset = load_own(
        tmp_path / "houses.parquet", target=("rent",), leave_out=("price",), test_fraction=0.0,
        validation_fraction=0.0,
    )  # fmt: skip
    np.testing.assert_array_equal(dataset.training.labels, rows[:, 3:])
    assert dataset.image_shape == (1, 1, 2)


def test_targets_of_zeros_and_ones_stay_targets(tmp_path):
    lines = ["x,a,b", *(f"{n},{n % 2},{1 - n % 2}" for n in range(20))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    dataset = load_own(tmp_path / "t.csv", target=("a", "b"))
    assert dataset.training.labels.shape[1] == 2


def test_targets_that_are_wrong_are_named(tmp_path):
    houses(tmp_path / "houses.csv")
    with pytest.raises(DataError, match=r"no column 'cost', which data.target names"):
        load_own(tmp_path / "houses.csv", target=("cost",))
    with pytest.raises(DataError, match=r"such as --set data.label='rooms', or what a regression"):
        load_own(tmp_path / "houses.csv")
    with pytest.raises(DataError, match=r"leave one of them out: classes, or the targets"):
        load_own(tmp_path / "houses.csv", target=("rent",), label="price")
    text = (tmp_path / "houses.csv").read_text().splitlines()
    text[3] = text[3].rsplit(",", 1)[0] + ",high"
    (tmp_path / "bad.csv").write_text("\n".join(text))
    with pytest.raises(DataError, match=r"row 3, column 'rent' is 'high'; expected a number"):
        load_own(tmp_path / "bad.csv", target=("rent",))


def test_one_command_trains_a_regression_on_a_table(tmp_path):
    houses(tmp_path / "houses.csv")
    out = tmp_path / "run"
    arguments = ["--data", str(tmp_path / "houses.csv"), "--target", "price", "--target", "rent"]
    more = ["--quiet", "--no-report", "--epochs", "60", "--backend", "numpy", "--out", str(out)]
    assert train_command.main([*arguments, *more]) == 0
    saved = load_run(out)
    assert saved.recipe.loss == "mean_squared_error"
    assert saved.output_shape == (2,)
    assert saved.summary["test_loss"] < 0.2  # of targets with a variance of some units


# CIFAR-100


def test_cifar_100_has_coarse_labels_too(tmp_path):
    generator = np.random.default_rng(0)
    planes = generator.integers(0, 256, (12, 3072), np.uint8)
    fine, coarse = [n % 3 for n in range(12)], [n % 2 for n in range(12)]
    for name, rows in (("train", slice(0, 9)), ("test", slice(9, 12))):
        batch = {b"data": planes[rows], b"fine_labels": fine[rows], b"coarse_labels": coarse[rows]}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {b"fine_label_names": [b"apple", b"bee", b"crab"],
             b"coarse_label_names": [b"food", b"animal"]}  # fmt: skip
    (tmp_path / "meta").write_bytes(pickle.dumps(names, protocol=2))
    dataset = load_own(tmp_path, label="coarse", validation_fraction=0.0)
    assert dataset.class_names == ("food", "animal")
    assert dataset.training.labels.tolist() == coarse[:9]
    with pytest.raises(
        DataError, match=r"data.label is 'colour'; CIFAR-100 has the labels fine and"
    ):
        load_own(tmp_path, label="colour")


# Pictures


def save_deep(file, values, kind=np.uint16):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, kind)).save(file)
    return file


def ramp(largest):
    """(8, 8) whole numbers from 0 to a largest one."""
    return np.linspace(0, largest, 64).round().reshape(8, 8)


@pytest.mark.parametrize(
    ("largest", "kind", "ending"),
    [(4095, np.uint16, "png"), (65535, np.uint16, "png"), (255, np.int32, "tif"),
     (4095, np.int32, "tif"), (2**20 - 1, np.int32, "tif")],
)  # fmt: skip
def test_pictures_of_any_depth_have_their_whole_range(tmp_path, largest, kind, ending):
    file = save_deep(tmp_path / f"a.{ending}", ramp(largest), kind)
    pixels = read_picture(file, (8, 8, 1))
    np.testing.assert_allclose(pixels[..., 0], ramp(255), atol=1.01)


def test_12_bits_in_a_folder_have_one_scale_and_that_is_said(tmp_path):
    for number in range(12):
        largest = 4095 if number == 5 else 1000  # one alone says how deep they are
        save_deep(tmp_path / "ab"[number % 2] / f"{number}.png", ramp(largest))
    dataset = load_own(tmp_path, test_fraction=0.0, validation_fraction=0.0)
    tops = sorted(int(image.max()) for image in dataset.training.images)
    assert tops == [62] * 11 + [255]  # 1000 / 4095 of 255
    assert any("taken for 12 bits; say data.bits=16" in remark for remark in dataset.remarks)
    assert dataset.bits == 12
    as_they_are = load_own(tmp_path, bits=16, test_fraction=0.0, validation_fraction=0.0)
    assert max(int(image.max()) for image in as_they_are.training.images) == 16
    assert not as_they_are.remarks


def test_white_ink_on_a_transparent_ground_is_seen(tmp_path):
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[2:6, 3:5, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "white.png")
    expected = np.where(pixels[..., 3] > 0, 255, 0)
    np.testing.assert_array_equal(read_picture(tmp_path / "white.png", (8, 8, 1))[..., 0], expected)
    pixels[..., :3] = 0
    Image.fromarray(pixels).save(tmp_path / "black.png")
    expected = np.where(pixels[..., 3] > 0, 0, 255)
    np.testing.assert_array_equal(read_picture(tmp_path / "black.png", (8, 8, 1))[..., 0], expected)


def test_ink_on_paper_for_a_network_of_chalk_on_a_board_is_hinted_at(tmp_path, capsys):
    picture_folder(tmp_path / "data")
    out = tmp_path / "run"
    arguments = ["--data", str(tmp_path / "data"), "--epochs", "1", "--quiet", "--no-report"]
    arguments += ["--batch-size", "8", "--backend", "numpy", "--out", str(out)]
    assert train_command.main(arguments) == 0
    paper = np.full((8, 8), 250, np.uint8)
    paper[3:5, 2:6] = 10
    file = save_picture(tmp_path / "paper.png", paper)
    capsys.readouterr()
    assert predict.main([str(out), str(file), "--backend", "numpy"]) == 0
    assert "paper.png: is bright at its edges, where" in (said := capsys.readouterr().err)
    assert said.count("--invert") == 1
    assert predict.main([str(out), str(file), "--invert", "--backend", "numpy"]) == 0
    assert "--invert" not in capsys.readouterr().err


# Arrays


def test_masked_arrays_are_refused_where_their_mask_would_be_lost():
    images = np.ma.masked_less(np.arange(64.0).reshape(4, 4, 4, 1), 3)
    with pytest.raises(DataError, match=r"images is a masked array, whose mask would be lost; use"):
        Samples(images, np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match=r"images is a masked array"):
        Samples.from_arrays(images, [0, 1, 0, 1])
    with pytest.raises(TypeError, match=r"conv2d: x is a masked array"):
        fastconv.conv2d(np.ma.masked_less(np.ones((1, 1, 4, 4)), 2), np.ones((1, 1, 3, 3)))
    network = Sequential([Flatten(), Dense(2)], (4, 4, 1))
    with pytest.raises(DataError, match=r"Predictor: images is a masked array"):
        fastconv.Predictor(network, backend="numpy")(images)
    bare = np.ma.array(np.zeros((2, 4, 4, 1), np.float32))
    assert fastconv.Predictor(network, backend="numpy")(bare).shape == (2, 2)


def test_floats_from_0_to_1_for_a_network_of_bytes_are_warned_of_once():
    network = Sequential([Flatten(), Dense(2)], (4, 4, 1))
    predictor = fastconv.Predictor(network, preprocessing=Preprocessing("scale"), backend="numpy")
    images = np.random.default_rng(0).uniform(size=(3, 4, 4, 1)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"preprocessing is for pixels from 0 to 255; use 255 *"):
        predictor(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor(images)
        plain = fastconv.Predictor(network, backend="numpy")
        plain(images)
        fastconv.Predictor(network, preprocessing=Preprocessing("scale"), backend="numpy")(
            255 * images
        )


def test_weights_in_pytorchs_order_are_hinted_at(tmp_path):
    x, w = np.zeros((1, 8, 8, 3)), np.zeros((5, 3, 2, 2))
    with pytest.raises(ValueError, match=r"if w is OIHW, use w.transpose\(2, 3, 1, 0\)"):
        fastconv.conv2d(x, w, layout="NHWC")
    assert fastconv.conv2d(x, w.transpose(2, 3, 1, 0), layout="NHWC").shape == (1, 7, 7, 5)
    with pytest.raises(ValueError, match=r"if w is HWIO, use w.transpose\(3, 2, 0, 1\)"):
        fastconv.conv2d(x.transpose(0, 3, 1, 2), w.transpose(2, 3, 1, 0))
    from safetensors.numpy import save_file

    network = Sequential([Conv2D(5, 2), Flatten(), Dense(4)], (8, 8, 3))
    arrays = {name: array.copy() for name, array in network.named_arrays().items()}
    turned = arrays["conv2d_1.weight"].transpose(3, 2, 0, 1).copy()
    save_file(arrays | {"conv2d_1.weight": turned}, tmp_path / "w.safetensors")
    with pytest.raises(NetworkError, match=r"in PyTorch's order, OIHW: use transpose\(2, 3, 1, 0"):
        network.load_weights(tmp_path / "w.safetensors")
