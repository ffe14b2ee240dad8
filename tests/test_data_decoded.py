"""Data sets decoded once: the same arrays, from the files as they are now."""

import json
import os

import numpy as np
import pytest

from fastconv.data import decoded as module
from fastconv.data.decoded import decoded


@pytest.fixture(autouse=True)
def everything_is_worth_keeping(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WORTH_KEEPING", 0)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")


@pytest.fixture
def file(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "numbers"
    path.write_bytes(bytes([1, 2, 3]))
    return path


class Decoder:
    """Counts how often a file is decoded."""

    def __init__(self, file):
        self.file, self.count = file, 0

    def __call__(self):
        self.count += 1
        numbers = np.frombuffer(self.file.read_bytes(), np.uint8).astype(np.int64)
        return {"numbers": numbers.reshape(1, -1)}, ["one", "zwei"]


def test_a_file_is_decoded_once(file):
    decode = Decoder(file)
    for _ in range(3):
        arrays, text = decoded("numbers", [file], decode)
        assert arrays["numbers"].tolist() == [[1, 2, 3]]
        assert arrays["numbers"].dtype == np.int64
        assert text == ["one", "zwei"]
    assert decode.count == 1
    assert sorted(path.name for path in file.parent.iterdir()) == [".numbers.decoded", "numbers"]


def test_a_file_that_has_changed_is_decoded_again(file):
    decode = Decoder(file)
    decoded("numbers", [file], decode)
    file.write_bytes(bytes([4, 5, 6]))
    os.utime(file, (1, 1))
    arrays, _ = decoded("numbers", [file], decode)
    assert arrays["numbers"].tolist() == [[4, 5, 6]]
    assert decode.count == 2
    assert decoded("numbers", [file], decode)[0]["numbers"].tolist() == [[4, 5, 6]]
    assert decode.count == 2


def test_a_file_with_another_time_and_the_same_bytes_is_not(file):
    decode = Decoder(file)
    decoded("numbers", [file], decode)
    os.utime(file, (1, 1))
    decoded("numbers", [file], decode)
    assert decode.count == 1
    index = json.loads((file.parent / ".numbers.decoded/index.json").read_text())
    assert index["sources"] == [{"name": "numbers", "size": 3, "time": 10**9}]


def test_what_is_written_into_the_arrays_stays_in_this_process(file):
    decode = Decoder(file)
    decoded("numbers", [file], decode)
    arrays, _ = decoded("numbers", [file], decode)
    arrays["numbers"][...] = 0
    assert decoded("numbers", [file], decode)[0]["numbers"].tolist() == [[1, 2, 3]]
    assert decode.count == 1


def test_a_folder_that_nobody_may_write_has_its_arrays_in_the_users_cache_folder(file, tmp_path):
    decode = Decoder(file)
    file.parent.chmod(0o555)
    for _ in range(2):
        decoded("numbers", [file], decode)
    assert decode.count == 1
    assert [path.name for path in file.parent.iterdir()] == ["numbers"]
    (kept,) = (tmp_path / "cache/decoded").iterdir()
    assert kept.name.startswith("numbers-")


@pytest.mark.parametrize("damage", ["index.json", "numbers.npy", "missing", "another shape"])
def test_damaged_arrays_are_made_again(file, damage):
    decode = Decoder(file)
    decoded("numbers", [file], decode)
    place = file.parent / ".numbers.decoded"
    if damage == "missing":
        (place / "numbers.npy").unlink()
    elif damage == "another shape":
        np.save(place / "numbers.npy", np.zeros((2, 2), np.int64))
    else:
        (place / damage).write_bytes(b"\x93NUMPY" if damage.endswith("npy") else b"{")
    assert decoded("numbers", [file], decode)[0]["numbers"].tolist() == [[1, 2, 3]]
    assert decode.count == 2
    assert decoded("numbers", [file], decode)[0]["numbers"].tolist() == [[1, 2, 3]]
    assert decode.count == 2


def test_without_a_place_for_arrays_files_are_decoded_each_time(file, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    file.parent.chmod(0o555)
    decode = Decoder(file)
    for _ in range(2):
        assert decoded("numbers", [file], decode)[0]["numbers"].tolist() == [[1, 2, 3]]
    assert decode.count == 2


def test_little_arrays_are_not_kept(file, monkeypatch):
    monkeypatch.setattr(module, "WORTH_KEEPING", 25)
    decode = Decoder(file)
    for _ in range(2):
        decoded("numbers", [file], decode)
    assert decode.count == 2
    assert [path.name for path in file.parent.iterdir()] == ["numbers"]
