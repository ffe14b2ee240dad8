"""A few hostile files for every reader; ``python -m tests.fuzz_readers`` reads very many."""

import json
import subprocess
import sys
import time
from pathlib import Path

import fuzz_readers
import pytest
from file_readers import READERS, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import mutated

if not sys.platform.startswith("linux"):
    pytest.skip("limits of memory are Linux's", allow_module_level=True)
FILES = 12
TEXTS = ("recipe", "csv", "run: model.json", "run: history.csv", "checkpoint's state", "npy", "idx")
"""Readers whose files are small."""
CODE = """
import json, pathlib, sys, tempfile
import fuzz_readers
tallies = {}
for name in fuzz_readers.READERS:
    with tempfile.TemporaryDirectory() as work:
        tallies[name] = fuzz_readers.read_chunk(name, 0, 0, %d, pathlib.Path(work), guided=False)
print(json.dumps(tallies))
"""


def test_every_reader_reads_or_refuses_hostile_files():
    for module in ("pyarrow", "scipy", "PIL", "safetensors"):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, "-c", CODE % FILES], cwd=Path(fuzz_readers.__file__).parent,
        env={
            **fuzz_readers.os.environ, "PYTHONPATH": str(fuzz_readers.ROOT), "FASTCONV_CHECK": "0",
        },
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    tallies = json.loads(done.stdout.splitlines()[-1])
    for name in READERS:
        assert not tallies[name]["failures"], name
        assert tallies[name]["files"] == FILES, name


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each reader, with what its files need beside them."""
    made = {name: tmp_path_factory.mktemp("hostile") for name in TEXTS}
    for name, folder in made.items():
        READERS[name].prepare(folder)
    return made


@pytest.mark.parametrize("name", TEXTS)
@settings(
    max_examples=15, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(choose=st.randoms(use_true_random=False))
def test_a_drawn_change_is_read_or_refused_in_one_line(folders, name, choose):
    seeds = READERS[name].seeds()
    content = mutated(choose.choice(seeds), seeds, choose)
    assert fuzz_readers.read_one(READERS[name], folders[name], content) in (None, "refused")


def test_a_name_of_any_length_makes_one_readable_line():
    from fastconv.data import DataError

    told = str(DataError("a name\n" * 100_000 + ": is no picture; correct the path"))
    assert len(told) < 1300
    assert told.startswith("a name a name")
    assert told.endswith("is no picture; correct the path")
    assert "\n" not in told


def test_a_content_that_reaches_a_new_line_is_noticed(tmp_path):
    lines, reader = fuzz_readers.NewLines(), READERS["idx"]
    honest = reader.seeds()[0]
    fuzz_readers.read_one(reader, tmp_path, honest, trace=lines)
    assert lines.count() > 10
    for content, is_new in ((honest, False), (honest[:-1], True), (honest[:-2], False)):
        lines.found = False
        fuzz_readers.read_one(reader, tmp_path, content, trace=lines)
        assert lines.found is is_new


# What the fuzzer is to find, it finds.

FAULTS = {
    "an error that is none for users": lambda folder: {}["a key"],
    "a message of two lines": lambda folder: refuse(),
    "too much time": lambda folder: time.sleep(60),
}


def refuse():
    from fastconv.data import DataError

    class TwoLines(DataError):
        def __str__(self):
            return "one\ntwo"

    raise TwoLines


@pytest.mark.parametrize("what", FAULTS)
def test_the_fuzzer_finds(what, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_readers, "_SECONDS", 0.2)
    found = fuzz_readers.read_one(Reader(lambda: [b""], FAULTS[what]), tmp_path, b"")
    assert found not in (None, "refused")


ESCAPES = """
import os, pathlib, subprocess, sys
import fuzz_readers
folder = pathlib.Path(sys.argv[1])
guard = fuzz_readers.Guard(folder)
attempts = [
    lambda _: os.system("true"), lambda _: subprocess.run(["true"]),
    lambda _: open(folder.parent / "outside", "w"), lambda _: os.remove(folder.parent / "kept"),
]
for attempt in attempts:
    found = fuzz_readers.read_one(
        fuzz_readers.Reader(lambda: [b""], attempt), folder, b"", guard
    )
    assert found and "Escaped" in found, found
inside = fuzz_readers.Reader(lambda: [b""], lambda _: open(folder / "inside", "w").close())
assert fuzz_readers.read_one(inside, folder, b"", guard) is None
"""


def test_programs_and_files_outside_are_stopped(tmp_path):
    (tmp_path / "kept").write_text("")
    (tmp_path / "in").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ESCAPES, str(tmp_path / "in")],
        cwd=Path(fuzz_readers.__file__).parent, capture_output=True, text=True, check=False,
        env={**fuzz_readers.os.environ, "PYTHONPATH": str(fuzz_readers.ROOT)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept").exists()
    assert not (tmp_path / "outside").exists()
