"""Data sets by name: where their files are looked for, and what is said when they are not."""

import gzip
import struct

import numpy as np
import pytest

from fastconv.data import DATASETS, DataError, MissingData, catalogue, load


def write_mnist(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    images = struct.pack(">IIII", 0x803, count, 2, 2) + bytes(4 * count)
    labels = struct.pack(">II", 0x801, count) + bytes(count)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


@pytest.fixture(autouse=True)
def no_folder_of_ones_own(monkeypatch):
    """Neither the user's folder nor a download has a part in these tests."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)

    def refuse(name, files):
        raise AssertionError(f"{name} would have been downloaded")

    monkeypatch.setattr(catalogue, "download", refuse)


def test_the_names_are_these():
    assert DATASETS == ("digits", "mnist", "cifar10", "curve")


def test_files_are_found_in_the_folder_of_their_data_set(tmp_path):
    write_mnist(tmp_path / "mnist", 3)
    assert len(load("mnist", tmp_path).training) == 3


def test_files_are_found_in_the_given_folder_itself(tmp_path):
    write_mnist(tmp_path, 3)
    assert len(load("mnist", str(tmp_path)).training) == 3


def test_the_environment_names_a_folder_and_the_argument_goes_before_it(tmp_path, monkeypatch):
    write_mnist(tmp_path / "one" / "mnist", 1)
    write_mnist(tmp_path / "two" / "mnist", 2)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "one"))
    assert len(load("mnist").training) == 1
    assert len(load("mnist", tmp_path / "two").training) == 2


def test_a_folder_may_begin_with_the_sign_for_home(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist", 3)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load("mnist", "~").training) == 3


@pytest.mark.parametrize("variable", [None, ""])
def test_without_a_folder_the_files_are_downloaded(tmp_path, monkeypatch, variable):
    if variable is not None:
        monkeypatch.setenv("FASTCONV_DATA", variable)
    write_mnist(tmp_path, 4)
    asked = []

    def download(name, files):
        asked.append((name, len(files)))
        return tmp_path

    monkeypatch.setattr(catalogue, "download", download)
    assert len(load("mnist").training) == 4
    assert asked == [("mnist", 4)]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("given_by", ["--data-dir", "FASTCONV_DATA"])
def test_a_folder_that_is_not_there_is_named_and_nothing_is_downloaded(
    tmp_path, monkeypatch, name, given_by
):
    folder = tmp_path / "nowhere"
    if given_by == "FASTCONV_DATA":
        monkeypatch.setenv("FASTCONV_DATA", str(folder))
    with pytest.raises(MissingData) as caught:
        load(name, folder if given_by == "--data-dir" else None)
    message = str(caught.value)
    assert f"{name}: the data folder {folder} (from {given_by}) is not there" in message
    assert str(folder / name) in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_folder_without_the_files_is_named_and_nothing_is_downloaded(tmp_path, name):
    with pytest.raises(MissingData, match=f"{name}: .* in {tmp_path}; put"):
        load(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "nearest"), [("minst", "mnist"), ("CIFAR-10", "cifar10"), ("digit", "digits")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(DataError, match=f"name is '{name}'; .*did you mean '{nearest}'"):
        load(name)


def test_digits_need_no_folder(tmp_path):
    assert load("digits", tmp_path / "nowhere").name == "digits"


def test_options_go_to_the_data_set(tmp_path):
    with pytest.raises(ValueError, match="data_batch_9"):
        load("cifar10", tmp_path, training=("data_batch_9",))
    with pytest.raises(TypeError, match="trainig"):
        load("mnist", tmp_path, trainig=("data_batch_9",))


def test_a_loaded_part_is_ready_for_the_kernels(tmp_path):
    write_mnist(tmp_path, 3)
    training = load("mnist", tmp_path).training
    for array in (training.images, training.labels):
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert training.labels.dtype == np.int64
