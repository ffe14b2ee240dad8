"""Small files that claim much: refused in one line, within little memory."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconv
from fastconv.data import available_memory

if not sys.platform.startswith("linux"):
    pytest.skip("limits of memory are Linux's", allow_module_level=True)
MEBIBYTES = 300
"""More than Python, NumPy and Pillow have when they begin to read."""

READ = """
import sys
from pathlib import Path
import fuzz_readers
from file_readers import READERS
readers = {
    "csv": "file.csv", "npy": "images.npy", "idx": "file", "pictures": "file", "png": "file",
    "weights": "file", "pickled batch": "file",
}
for name in readers:
    READERS[name].seeds()
fuzz_readers.limit_memory(%d << 20)
for path in sys.argv[1:]:
    folder = Path(path)
    reader = READERS[folder.name.partition(",")[0]]
    try:
        reader.read(folder)
        print("read", flush=True)
    except Exception as fault:
        print(type(fault).__name__, str(fault)[-200:], flush=True)
"""


def npy_with_header(size):
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + b"{'descr': '|u1'"


def npy_of(shape):
    content = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + b"few"


def picture_of_one_colour(side):
    content = io.BytesIO()
    Image.new("P", (side, side)).save(content, "PNG", transparency=0)
    return content.getvalue()


NAME = b"x" * 300_000
FILES = {
    "csv, one name in many rows": (
        "file.csv", b"label,a\n" + b"cat,1\n" * 20_000 + NAME + b",1\n",
        "DataError", "has a name of 300000 characters; expected at most 1000",
    ),
    "npy, a header of 4 GiB": (
        "images.npy", npy_with_header(2**32 - 1), "DataError", "the header claims 4294967295 bytes",
    ),
    "npy, a shape of terabytes": (
        "images.npy", npy_of((2**42,)), "DataError", "which asks for 4398046511104",
    ),
    "idx, a shape of exabytes": (
        "file", struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31) + b"few",
        "DataError", "is truncated",
    ),
    "png, very many pixels": (
        "file", picture_of_one_colour(8000), "PictureError", "resize it first",
    ),
    "weights, a header of exabytes": (
        "file", struct.pack("<Q", 2**62) + b"{}", "NetworkError", "not a readable safetensors file",
    ),
    "pickled batch, bytes of terabytes": (
        "file", b"\x80\x05}X\x01\0\0\0a\x96" + struct.pack("<Q", 2**42) + b"K\x01s.",
        "DataError", "truncated or damaged",
    ),
}  # fmt: skip


def test_a_small_file_that_claims_much_takes_little_memory(tmp_path):
    folders = []
    for name, (file, content, *_) in FILES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
        assert len(content) < 1 << 20
        folders.append(str(tmp_path / name))
    root = Path(fastconv.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", READ % MEBIBYTES, *folders], cwd=Path(__file__).parent,
        env={"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (name, (*_, kind, told)), line in zip(FILES.items(), done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{kind} "), f"{name}: {line}"
        assert told in line, f"{name}: {line}"


def test_memory_is_what_the_tightest_limit_leaves(monkeypatch):
    limits = {"_of_system": 900, "_of_group": 500, "_of_process": 700}
    for name, value in limits.items():
        monkeypatch.setattr(available_memory, name, lambda value=value: value)
    assert available_memory.available_memory() == 500
    for name in limits:
        monkeypatch.setattr(available_memory, name, lambda: None)
    assert available_memory.available_memory() is None


def test_a_limit_of_the_process_is_seen():
    code = (
        "from fastconv.data.available_memory import available_memory\n"
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "print(available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 1 << 30
