"""What commands print: any name under any encoding, and readers that leave before the end."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from saved_runs import CONVOLUTIONAL, TINY_RECIPE, recipe_of, save_run, shades

import fastconv
from fastconv import evaluate, predict, profile, train
from fastconv._files import as_text
from fastconv.cli import standard_streams
from fastconv.report import __main__ as report
from fastconv.report.comparison import names_of
from fastconv.reproduce import __main__ as reproduce
from fastconv.runs.run_folder import RunFolder
from fastconv.runs.saved_run import load_run
from fastconv.search import __main__ as search

PACKAGE_PARENT = Path(fastconv.__file__).parent.parent
CHINESE = "\u6570\u5b57"
NO_TEXT = os.fsdecode(b"caf\xff")
"""Name of a file whose bytes are no UTF-8."""
SHOWN = {
    CHINESE: {"utf-8": CHINESE, "other": r"\u6570\u5b57"},
    NO_TEXT: {"utf-8": r"caf\udcff", "other": r"caf\udcff"},
}
ENCODINGS = ("ascii", "cp1252", "latin-1", "utf-8")


@pytest.fixture
def strict_streams(monkeypatch):
    """Make stdout and stderr streams of an encoding that raise for what it lacks."""

    def make(encoding):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        return lambda: [each.buffer.getvalue().decode(encoding) for each in streams]

    return make


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    save_run(folder, recipe_of(CONVOLUTIONAL), shades())
    return folder


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose name is that of its file."""

    def make(name):
        path = tmp_path / f"{name}.toml"
        path.write_text(TINY_RECIPE, encoding="utf-8")
        return str(path)

    return make


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", [CHINESE, NO_TEXT], ids=["Chinese", "no text"])
class TestEveryNameIsShown:
    """Each command with a name in what it prints; the encoding may lack it."""

    @pytest.fixture
    def shown(self, name, encoding):
        return SHOWN[name]["utf-8" if encoding == "utf-8" else "other"]

    def test_by_train(self, name, encoding, shown, tmp_path, recipe, strict_streams):
        written = strict_streams(encoding)
        arguments = ["--recipe", recipe("plain"), "--steps", "2", "--no-report"]
        assert train.main([*arguments, "--out", str(tmp_path / name)]) == 0
        out, err = written()
        assert out.endswith(f"{shown}\n")
        assert err == ""
        assert (tmp_path / name / "summary.json").is_file()

    def test_by_predict(self, name, encoding, shown, saved, tmp_path, strict_streams):
        Image.new("RGB", (10, 8)).save(tmp_path / f"{name}.png")
        written = strict_streams(encoding)
        found = [str(tmp_path / f"{name}.png"), str(tmp_path / f"{name} absent.png")]
        assert predict.main([str(saved), *found]) == 2
        out, err = written()
        assert f"{shown}.png: " in out
        assert f"{shown} absent.png" in err

    def test_by_profile(self, name, encoding, shown, recipe, strict_streams):
        written = strict_streams(encoding)
        arguments = ["--backend", "numpy", "--steps", "1", "--repeats", "1"]
        assert profile.main(["--recipe", recipe(name), *arguments]) == 0
        # The recipe's name is that of its file, as text.
        assert written()[0].startswith(shown if name == CHINESE else r"caf\xff")

    @pytest.mark.parametrize(
        ("main", "arguments"),
        [
            (evaluate.main, ["{}"]),
            (report.main, ["{}"]),
            (report.main, ["{}", "{}"]),
            (search.main, ["./{}.toml"]),
            (reproduce.main, ["{}"]),
            (train.main, ["{}"]),  # an unknown argument, of which the parser complains
        ],
        ids=["evaluate", "report", "comparison", "search", "reproduce", "parser"],
    )
    def test_in_mistakes(self, name, encoding, shown, main, arguments, strict_streams):
        written = strict_streams(encoding)
        try:
            code = main([each.format(name) for each in arguments])
        except SystemExit as leaving:
            code = leaving.code
        assert code == 2
        out, err = written()
        assert out == ""
        assert err.count("\n") == 1
        # Some names are quoted as Python does, which escapes what is no character.
        assert shown in err or ascii(name)[1:-1] in err or repr(name)[1:-1] in err


def test_classes_are_shown_by_evaluate_under_any_encoding(tmp_path, recipe, strict_streams):
    folder = tmp_path / "run"
    assert (
        train.main(["--recipe", recipe("x"), "--quiet", "--no-report", "--out", str(folder)]) == 0
    )
    model = json.loads((folder / "model.json").read_text())
    model["class_names"] = [CHINESE, "\ud800", *"23456789"]
    (folder / "model.json").write_text(json.dumps(model))
    written = strict_streams("cp1252")
    assert evaluate.main([str(folder), "--any-data"]) == 0
    assert r"\u6570\u5b57" in written()[0]
    assert r"\ud800" in written()[0]


def test_a_page_compares_runs_whose_folders_names_are_no_text(tmp_path, saved):
    folders = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9", b"caf\xff")]
    for folder in folders:
        shutil.copytree(saved, folder)
    assert names_of([load_run(folder) for folder in folders]) == [r"caf\xe9", r"caf\xff"]
    assert report.main([str(folder) for folder in folders]) == 0
    assert r"caf\xe9" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_what_was_typed_in_a_locale_without_utf_8_is_the_text_that_was_meant():
    assert as_text(CHINESE.encode("utf-8").decode("ascii", "surrogateescape")) == CHINESE
    assert as_text(NO_TEXT) == r"caf\xff"
    assert as_text("plain") == "plain"


def test_a_run_of_any_name_gets_a_folder_that_the_file_system_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert re.fullmatch(r"-a-\d{8}-\d{6}", RunFolder.new(f"{CHINESE}a").path.name)


@pytest.mark.parametrize("errors", ["replace", "xmlcharrefreplace"])
def test_a_way_of_the_users_own_that_does_not_fail_stays(errors, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
    monkeypatch.setattr(sys, "stdout", stream)
    with standard_streams.any_text():
        print(CHINESE, flush=True)
    expected = {"replace": b"??\n", "xmlcharrefreplace": b"&#25968;&#23383;\n"}[errors]
    assert stream.buffer.getvalue() == expected


def test_afterwards_the_streams_are_as_before(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with standard_streams.any_text():
        assert stream.errors == "backslashreplace"
    assert stream.errors == "strict"


# As a user runs it.


def start(arguments, folder, **more):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **more.pop("variables", {})}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE,
        **more,
    )  # fmt: skip


def test_a_finished_run_gets_its_report_whatever_the_terminal_can_show(tmp_path, recipe):
    arguments = ["fastconv.train", "--recipe", recipe(CHINESE), "--out", CHINESE]
    process = start(
        arguments, tmp_path, stdout=subprocess.PIPE, variables={"PYTHONIOENCODING": "cp1252"}
    )
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert rf"report: \u6570\u5b57{os.sep}report.html".encode() in out
    assert (tmp_path / CHINESE / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["fastconv.train", "--list-recipes"], ""),
        (["fastconv.train", "--list-recipes"], "1"),
        (["fastconv.train", "--help"], ""),
        (["fastconv.reproduce", "--list"], ""),
        (["fastconv.search", "--list"], "1"),
        (["fastconv.train", "--steps", "1", "--no-report"], ""),
    ],
    ids=" ".join,
)
def test_a_reader_that_leaves_is_no_mistake(arguments, unbuffered, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(arguments, tmp_path, stdout=writer, variables={"PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    _, err = process.communicate(timeout=120)
    assert err == b""
    assert process.returncode == 141  # as of any program that SIGPIPE ends


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_said_in_one_line(tmp_path):
    with open("/dev/full", "wb") as full:
        process = start(["fastconv.train", "--list-recipes"], tmp_path, stdout=full)
        _, err = process.communicate(timeout=120)
    assert err == b"fastconv.train: output: No space left on device\n"
    assert process.returncode == 2
