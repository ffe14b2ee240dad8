"""The IDX reader, on files written byte by byte here."""

import gzip
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import DataError, MissingData, read_idx

# Four bytes of magic number, two sizes, then 2 * 3 numbers.
PLAIN = bytes.fromhex("0000080200000002000000030001020a0bff")


def write(folder, content, name="numbers-idx2-ubyte"):
    file = folder / name
    file.write_bytes(content)
    return file


def test_a_plain_file_is_read(tmp_path):
    array = read_idx(write(tmp_path, PLAIN))
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1, 2], [10, 11, 255]]
    array[0, 0] = 7  # The array is writable, as some kernels ask for.


@pytest.mark.parametrize("name", ["numbers.gz", "numbers-without-the-ending"])
def test_a_compressed_file_is_read_whatever_its_name(tmp_path, name):
    array = read_idx(write(tmp_path, gzip.compress(PLAIN), name))
    assert array.tolist() == [[0, 1, 2], [10, 11, 255]]


@pytest.mark.parametrize(
    ("code", "letter", "dtype"),
    [(8, "B", "u1"), (9, "b", "i1"), (11, "h", "i2"), (12, "i", "i4"), (13, "f", "f4"),
     (14, "d", "f8")],
)  # fmt: skip
def test_every_type_of_number_comes_in_native_byte_order(tmp_path, code, letter, dtype):
    content = struct.pack(f">HBBI3{letter}", 0, code, 1, 3, 1, 2, 100)
    array = read_idx(write(tmp_path, content))
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert array.tolist() == [1, 2, 100]


def test_an_array_without_elements_is_read(tmp_path):
    assert read_idx(write(tmp_path, bytes.fromhex("000008020000000000000003"))).shape == (0, 3)


@given(st.integers(0, len(PLAIN) - 1))
def test_a_file_cut_off_anywhere_is_refused(tmp_path_factory, length):
    file = write(tmp_path_factory.mktemp("idx"), PLAIN[:length])
    with pytest.raises(DataError) as caught:
        read_idx(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert message.endswith("delete it and download it again")
    assert "\n" not in message


@given(st.data())
def test_a_compressed_file_cut_off_anywhere_is_refused(tmp_path_factory, data):
    compressed = gzip.compress(PLAIN * 50)
    length = data.draw(st.integers(0, len(compressed) - 1))
    file = write(tmp_path_factory.mktemp("idx"), compressed[:length])
    with pytest.raises(DataError, match=r"truncated|ends after") as caught:
        read_idx(file)
    assert str(file) in str(caught.value)


def test_what_was_found_and_expected_is_said_of_a_truncated_file(tmp_path):
    with pytest.raises(DataError, match=r"truncated: 4 bytes of data.*expected 6 .* \(2, 3\)"):
        read_idx(write(tmp_path, PLAIN[:-2]))


def test_bytes_left_over_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"left over: 7 bytes of data.*expected 6"):
        read_idx(write(tmp_path, PLAIN + b"\0"))


@pytest.mark.parametrize("magic", ["01000802", "00010802", "00000702", "3c21646f"])
def test_a_wrong_magic_number_is_named(tmp_path, magic):
    with pytest.raises(DataError, match=f"magic number is {magic}; expected 0000"):
        read_idx(write(tmp_path, bytes.fromhex(magic) + PLAIN[4:]))


@pytest.mark.parametrize("place", ["data", "checksum"])
def test_a_damaged_compressed_file_is_refused(tmp_path, place):
    compressed = bytearray(gzip.compress(np.random.default_rng(0).bytes(1000)))
    compressed[500 if place == "data" else -8] ^= 0xFF
    file = write(tmp_path, bytes(compressed))
    with pytest.raises(DataError, match="gzip file is truncated or damaged") as caught:
        read_idx(file)
    assert str(file) in str(caught.value)


def test_sizes_that_no_memory_could_hold_are_only_compared(tmp_path):
    content = bytes.fromhex("00000803ffffffffffffffffffffffff") + b"\0" * 9
    with pytest.raises(DataError, match="truncated: 9 bytes"):
        read_idx(write(tmp_path, content))


def test_a_missing_file_is_missing_data(tmp_path):
    with pytest.raises(MissingData, match="nowhere: there is no such file"):
        read_idx(tmp_path / "nowhere")


def test_a_folder_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


@pytest.mark.parametrize("dimensions", [0, 33, 255])
def test_a_number_of_dimensions_that_no_array_has_is_refused(tmp_path, dimensions):
    content = struct.pack(">HBB", 0, 8, dimensions) + struct.pack(">I", 1) * dimensions + b"x"
    with pytest.raises(DataError, match=f"has {dimensions} dimensions; expected 1 to 32"):
        read_idx(write(tmp_path, content))


def test_no_elements_of_a_shape_beyond_what_can_be_counted_are_refused(tmp_path):
    content = struct.pack(">HBBIII", 0, 8, 3, 0, 2**32 - 1, 2**32 - 1)
    with pytest.raises(DataError, match=r"the shape is \(0, 4294967295, 4294967295\)"):
        read_idx(write(tmp_path, content))


def test_a_small_gzip_file_does_not_fill_the_memory(tmp_path):
    zeros = gzip.compress(bytes(1 << 24), 9)  # 1000 times smaller; members may follow each other
    content = gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 1, 28, 28)) + zeros * 6
    with pytest.raises(DataError, match="unpacks to more than 67108864 bytes, 100 times its own"):
        read_idx(write(tmp_path, content))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a device or a pipe; expected a file"):
        read_idx(tmp_path / "pipe")
