"""CIFAR-10 in both versions from made files, and the real one where FASTCONV_DATA has it."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import DataError, MissingData, load, load_cifar10, training_statistics

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer",
               "dog", "frog", "horse", "ship", "truck"]  # fmt: skip
BATCHES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]


def made_images(seed, count):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return images, generator.integers(0, 10, count)


MADE = {name: made_images(seed, 4) for seed, name in enumerate([*BATCHES, "test_batch"])}


def planes(images):
    """Rows as the files have them: all red values, then all green ones, then all blue ones."""
    return np.stack([images[..., c].reshape(len(images), 1024) for c in range(3)], 1).reshape(
        len(images), 3072
    )


def python_files(made=MADE):
    files = {
        name: pickle.dumps(
            {b"data": planes(images), b"labels": labels.tolist(), b"batch_label": name.encode()}, 2
        )
        for name, (images, labels) in made.items()
    }
    meta = {b"label_names": [name.encode() for name in CLASS_NAMES], b"num_vis": 3072}
    return files | {"batches.meta": pickle.dumps(meta, 2)}


def binary_files(made=MADE):
    files = {
        f"{name}.bin": b"".join(
            bytes([label]) + row.tobytes()
            for label, row in zip(labels, planes(images), strict=True)
        )
        for name, (images, labels) in made.items()
    }
    return files | {"batches.meta.txt": ("\n".join(CLASS_NAMES) + "\n\n").encode()}


def write_folder(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, files, inner):
    with tarfile.open(path, "w:gz") as archive:
        # The real archive holds its members in no order, and a read-me among them.
        for name in sorted([*files, "readme.html"], key=lambda name: name[::-1]):
            content = files.get(name, b"<html></html>")
            member = tarfile.TarInfo(f"{inner}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"


def lay_out(layout, folder):
    """Write the made images in one of the layouts; give the path to load."""
    if layout == "python folder":
        return write_folder(folder / PYTHON, python_files())
    if layout == "its parent":
        return write_folder(folder / PYTHON, python_files()).parent
    if layout == "folder with the python archive":
        return write_archive(folder / "cifar-10-python.tar.gz", python_files(), PYTHON).parent
    if layout == "python archive":
        return write_archive(folder / "cifar-10-python.tar.gz", python_files(), PYTHON)
    if layout == "binary folder":
        return write_folder(folder / BINARY, binary_files())
    if layout == "its parent, binary":
        return write_folder(folder / BINARY, binary_files()).parent
    if layout == "folder with the binary archive":
        return write_archive(folder / "cifar-10-binary.tar.gz", binary_files(), BINARY).parent
    return write_archive(folder / "cifar-10-binary.tar.gz", binary_files(), BINARY)


LAYOUTS = ["python folder", "its parent", "folder with the python archive", "python archive",
           "binary folder", "its parent, binary", "folder with the binary archive",
           "binary archive"]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_versions_give_the_same_images_in_every_layout(tmp_path, layout):
    cifar10 = load_cifar10(lay_out(layout, tmp_path))
    assert list(cifar10.class_names) == CLASS_NAMES
    expected = np.concatenate([MADE[name][0] for name in BATCHES])
    assert (cifar10.training.images == expected).all()
    assert cifar10.training.labels.tolist() == [n for b in BATCHES for n in MADE[b][1]]
    assert (cifar10.test.images == MADE["test_batch"][0]).all()
    assert cifar10.test.labels.tolist() == MADE["test_batch"][1].tolist()
    assert cifar10.validation is None


@pytest.mark.parametrize("layout", ["python archive", "binary folder"])
def test_batches_are_taken_in_the_order_asked_for(tmp_path, layout):
    cifar10 = load_cifar10(
        lay_out(layout, tmp_path), ("data_batch_4", "data_batch_1"), validation=("data_batch_2",)
    )
    expected = np.concatenate([MADE["data_batch_4"][0], MADE["data_batch_1"][0]])
    assert (cifar10.training.images == expected).all()
    assert (cifar10.validation.images == MADE["data_batch_2"][0]).all()
    assert cifar10.validation.labels.tolist() == MADE["data_batch_2"][1].tolist()


def test_batches_that_are_not_asked_for_need_not_be_there(tmp_path):
    files = python_files()
    del files["data_batch_3"]
    folder = write_folder(tmp_path / PYTHON, files)
    assert len(load_cifar10(folder, ("data_batch_1",)).training) == 4
    with pytest.raises(MissingData, match="data_batch_3 is not in"):
        load_cifar10(folder)


@pytest.mark.parametrize("files", [python_files, binary_files])
def test_batches_may_be_of_different_sizes(tmp_path, files):
    made = {name: made_images(seed, 1 + seed) for seed, name in enumerate(MADE)}
    cifar10 = load_cifar10(write_folder(tmp_path / "cifar", files(made)))
    assert len(cifar10.training) == 1 + 2 + 3 + 4 + 5
    assert (cifar10.training.images[1:3] == made["data_batch_2"][0]).all()
    assert cifar10.training.labels[1:3].tolist() == made["data_batch_2"][1].tolist()


@pytest.mark.parametrize(
    ("training", "validation", "message"),
    [
        (("data_batch_6",), (), "training holds 'data_batch_6'; expected"),
        (("test_batch",), (), "training holds 'test_batch'; expected"),
        (("data_batch_1",), ("data_batch_1",), "validation holds 'data_batch_1', which was"),
        (("data_batch_1",) * 2, (), "training holds 'data_batch_1', which was"),
        ((), (), r"training is \(\); expected at least one"),
        ("data_batch_1", (), r"training is 'data_batch_1'; .* use \('data_batch_1',\)"),
    ],
)
def test_wrong_batches_are_refused_before_anything_is_read(training, validation, message):
    with pytest.raises(ValueError, match=message):
        load_cifar10("/nowhere", training, validation)


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_missing_files_are_named_with_the_folder_and_the_fix(tmp_path, folder_is_there):
    folder = tmp_path if folder_is_there else tmp_path / "nowhere"
    with pytest.raises(MissingData) as caught:
        load_cifar10(folder)
    message = str(caught.value)
    for part in ("cifar-10-python.tar.gz", str(folder), "--data-dir", "FASTCONV_DATA"):
        assert part in message
    assert "\n" not in message


def refused(folder, files, message):
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(write_folder(folder / "cifar", files))
    assert "\n" not in str(caught.value)


def test_a_truncated_python_batch_is_refused(tmp_path):
    files = python_files()
    files["data_batch_2"] = files["data_batch_2"][:5000]
    refused(tmp_path, files, r"cifar/data_batch_2: the pickle is truncated or damaged")


def test_a_truncated_binary_batch_is_refused(tmp_path):
    files = binary_files()
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:5000]
    refused(tmp_path, files, r"data_batch_2\.bin: .*5000 bytes; expected a multiple of 3073")


class Attack:
    def __init__(self, marker):
        self.command = f"touch {marker}"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_would_run_something_is_refused_by_name(tmp_path, name, packed):
    marker = tmp_path / "marker"
    files = python_files()
    files[name] = pickle.dumps(pickle.loads(files[name]) | {b"label_names": [Attack(marker)]})
    if packed:
        path = write_archive(tmp_path / "cifar-10-python.tar.gz", files, PYTHON)
    else:
        path = write_folder(tmp_path / PYTHON, files)
    with pytest.raises(DataError, match=rf"{name}\)?: the pickle asks for '\w+\.system'"):
        load_cifar10(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data": None}, "'data' is a NoneType"),
        ({b"data": np.zeros((4, 3071), np.uint8)}, r"'data' is of shape \(4, 3071\)"),
        ({b"data": np.zeros((4, 3072), np.int16)}, "type 'i2', expected 'u1'"),
        ({b"data": np.zeros((3, 3072), np.uint8)}, "4 class numbers but 'data' holds 3 images"),
        ({b"labels": [1, 2, 3]}, "3 class numbers but 'data' holds 4 images"),
        ({b"labels": [1, 2, 3, 4.0]}, "'labels' is not a list of integers"),
        ({b"labels": [1, 2, 3, True]}, "'labels' is not a list of integers"),
        ({b"labels": [1, 2, 3, [4]]}, "'labels' is not a list of integers"),
        ({b"labels": (1, 2, 3, 4)}, "'labels' is not a list of integers"),
        ({b"labels": [1, 2, 10, 4]}, "label 10 of sample 2 is outside the 10 classes"),
        ({b"labels": [1, 2, -1, 4]}, "label -1 of sample 2 is outside the 10 classes"),
        ({b"labels": [1, 2, 2**70, 4]}, "more than 64 bits"),
    ],
)
def test_a_python_batch_with_the_wrong_contents_is_refused(tmp_path, change, message):
    files = python_files()
    files["data_batch_2"] = pickle.dumps(pickle.loads(files["data_batch_2"]) | change, 2)
    refused(tmp_path, files, f"cifar/data_batch_2: .*{message}")


def test_a_binary_label_outside_the_classes_is_named_with_its_file(tmp_path):
    files = binary_files()
    content = bytearray(files["test_batch.bin"])
    content[3073] = 255
    files["test_batch.bin"] = bytes(content)
    refused(tmp_path, files, r"test_batch\.bin: label 255 of sample 1 is outside.*truck")


@pytest.mark.parametrize("names", [None, [], [1, 2], "airplane", [b"a\x1b[2J"]])
def test_class_names_must_be_a_list_of_text(tmp_path, names):
    files = python_files() | {"batches.meta": pickle.dumps({b"label_names": names}, 2)}
    refused(tmp_path, files, r"batches\.meta: there are no class names")


def test_the_class_names_must_be_there(tmp_path):
    files = python_files()
    del files["batches.meta"]
    refused(tmp_path, files, r"cifar10: batches\.meta is not in")


def test_a_name_of_an_archive_that_fills_the_memory_is_not_read(tmp_path):
    member = tarfile.TarInfo("././@LongLink")
    member.size, member.type = 3 << 30, tarfile.GNUTYPE_LONGNAME
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DataError, match="the header of a member has 3221225472 bytes; expected at"):
        load_cifar10(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_an_archive_cut_off_anywhere_is_refused(tmp_path, share):
    path = write_archive(tmp_path / "cifar-10-python.tar.gz", python_files(), PYTHON)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"tar\.gz: the archive is truncated or damaged"):
        load_cifar10(path)


def test_an_archive_with_a_wrong_checksum_is_refused(tmp_path):
    path = write_archive(tmp_path / "cifar-10-python.tar.gz", python_files(), PYTHON)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="archive is truncated or damaged"):
        load_cifar10(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", gzip.compress(b"no archive" * 99, mtime=0)],
    ids=["nothing", "a page", "another file"],
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"truncated or damaged|is not in"):
        load_cifar10(path)


@pytest.mark.parametrize("claimed", [0, 3 << 30], ids=["zeros", "a member that is passed over"])
def test_an_archive_that_unpacks_to_very_much_is_refused_on_the_way(tmp_path, claimed):
    path = tmp_path / "cifar-10-python.tar.gz"
    member = tarfile.TarInfo("long")
    member.size = claimed
    zeros = gzip.compress(bytes(1 << 24), 9)
    with path.open("wb") as file:
        file.write(gzip.compress(member.tobuf() if claimed else b""))
        for _ in range(20):
            file.write(zeros)
    with pytest.raises(DataError, match=r"unpacks to more than \d+ bytes, 16 times its own size"):
        load_cifar10(path)


def test_members_that_are_no_plain_files_or_of_another_name_are_passed_over(tmp_path):
    files = python_files()
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, f"{PYTHON}/data_batch_1"),
            (tarfile.DIRTYPE, f"{PYTHON}/test_batch"),
            (tarfile.FIFOTYPE, "data_batch_2"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        # Nothing is unpacked, so that a member's folder is of no account.
        for name, content in (files | {"../../outside": b"x"}).items():
            member = tarfile.TarInfo(f"../../{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.iterdir())
    assert len(load_cifar10(path).training) == 20
    assert sorted(tmp_path.iterdir()) == before


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    member = tarfile.TarInfo("data_batch_1")
    member.size = 2**40
    path.write_bytes(gzip.compress(member.tobuf() + bytes(10240)))
    with pytest.raises(DataError, match=r"\(data_batch_1\): the file has 1099511627776 bytes"):
        load_cifar10(path)


MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


@pytest.fixture(scope="module")
def data_folder():
    folder = os.environ.get("FASTCONV_DATA")
    if not folder or not (Path(folder) / "cifar10").is_dir():
        pytest.skip("FASTCONV_DATA names no folder with cifar10")
    return folder


@pytest.fixture(scope="module")
def cifar10(data_folder):
    return load("cifar10", data_dir=data_folder)


def test_the_real_batches_are_those_that_were_published(data_folder):
    path = Path(data_folder) / "cifar10" / "cifar-10-python.tar.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in MD5:
                content = archive.extractfile(member).read()
                found[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert found == MD5


def test_the_real_cifar10_has_its_sizes_names_and_balanced_classes(cifar10):
    assert cifar10.training.images.shape == (50000, 32, 32, 3)
    assert cifar10.test.images.shape == (10000, 32, 32, 3)
    assert list(cifar10.class_names) == CLASS_NAMES
    assert np.bincount(cifar10.training.labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10


def test_the_real_cifar10_begins_with_a_frog_and_two_trucks(cifar10):
    names = [cifar10.class_names[label] for label in cifar10.training.labels[:3]]
    assert names == ["frog", "truck", "truck"]
    # The frog's first pixel, as published tutorials show it.
    assert cifar10.training.images[0, 0, 0].tolist() == [59, 62, 63]


def test_the_real_cifar10_has_its_known_mean_and_deviation(cifar10):
    mean, std = training_statistics(cifar10.training.images, "channel")
    np.testing.assert_allclose(mean / 255, [0.4914, 0.4822, 0.4465], atol=5.1e-5)
    np.testing.assert_allclose(std / 255, [0.2470, 0.2435, 0.2616], atol=5.1e-5)


def test_real_batches_can_be_asked_for_by_name(data_folder, cifar10):
    part = load("cifar10", data_folder, training=("data_batch_2",), validation=("data_batch_1",))
    assert (part.training.images == cifar10.training.images[10000:20000]).all()
    assert (part.validation.labels == cifar10.training.labels[:10000]).all()
