"""A mistake on any command line is exit code 2, one line on stderr, nothing on stdout, no file."""

import importlib
import re

import pytest
from PIL import Image

from fastconv import __main__ as overview
from fastconv import train

COMMANDS = {
    "fastconv.train": [],
    "fastconv.profile": [],
    "fastconv.evaluate": ["RUN"],
    "fastconv.predict": ["RUN", "PICTURE"],
    "fastconv.export": ["RUN", "network.onnx"],
    "fastconv.report": ["RUN"],
    "fastconv.search": ["regression-selu-folds"],
    "fastconv.reproduce": ["regression-selu"],
    "fastconv.verify": ["mb1ic3oc4_ih5kh3"],
    "fastconv.compare": [],
}
"""Each command, and arguments that it needs beside a mistake; RUN and PICTURE are files there."""

MISTAKES = {
    "--nonsense": ([], r"unrecognized arguments: --nonsense"),
    "--threads": (["0"], r"argument --threads: 0; expected 1 or more"),
    "--jobs": (["many"], r"argument --jobs: invalid integer value: 'many'"),
    "--backend": (["numby"], r"'numby'; expected one of auto, .*did you mean 'numpy'"),
    "--precision": (["fp8"], r"--precision: invalid choice: 'fp8'"),
    "--device": (["first"], r"--device: invalid int value: 'first'"),
    "--recipe": (["digit"], r"did you mean 'digits'"),
    "--set": (["nonsense"], r"expected key=value"),
    "--steps": (["1e3"], r"--steps: invalid integer value: '1e3'"),
    "--figures": (["jpeg"], r"--figures: invalid choice: 'jpeg'"),
    "--opset": (["17"], r"argument --opset: invalid choice: 17"),
    "--json": (["absent/x.json"], r"--json absent/x\.json: no such folder"),
}
"""An option, a wrong value, and what is told of it."""

CASES = [
    (command, option)
    for command in COMMANDS
    for option in MISTAKES
    if option == "--nonsense" or option in
    importlib.import_module(
        command if command.split(".")[1] in ("train", "profile", "evaluate", "predict", "export")
        else f"{command}.__main__"
    ).make_parser()._option_string_actions
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder of a run and a picture, by the names that stand for them."""
    folder = tmp_path_factory.mktemp("mistakes")
    run, picture = str(folder / "run"), str(folder / "picture.png")
    assert train.main(["--steps", "2", "--quiet", "--no-report", "--out", run]) == 0
    Image.new("L", (8, 8)).save(picture)
    return {"RUN": run, "PICTURE": picture}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run a command with a mistake, in an empty folder; the line that it says."""
    monkeypatch.chdir(tmp_path)

    def refused(command, arguments):
        module = importlib.import_module(command)
        if not hasattr(module, "main"):
            module = importlib.import_module(f"{command}.__main__")
        try:
            code = module.main(arguments)
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        assert code == 2, err
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert err.startswith(f"{command}: ")
        assert "Traceback" not in err
        assert list(tmp_path.iterdir()) == []
        return err

    return refused


@pytest.mark.parametrize(("command", "option"), CASES)
def test_a_wrong_option_is_one_line(command, option, refused, files):
    values, told = MISTAKES[option]
    needed = [files.get(each, each) for each in COMMANDS[command]]
    line = refused(command, [*needed, option, *values])
    assert re.search(told, line), line


@pytest.mark.parametrize("command", ["fastconv.train", "fastconv.profile"])
def test_a_word_without_its_option_is_told_of_it(command, refused):
    assert "recipe is named by --recipe lenet5" in refused(command, ["lenet5", "--threads", "1"])


def test_the_package_lists_its_commands_and_sends_a_mistake_to_one(capsys, refused):
    assert overview.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[2] for line in lines} == {*COMMANDS, "fastconv.data"}
    assert "use python -m fastconv.train" in refused("fastconv", ["train", "--epochs", "2"])
    assert "'learn'; use one of its commands" in refused("fastconv", ["learn"])


@pytest.mark.parametrize("command", [name for name, needed in COMMANDS.items() if needed])
def test_what_is_not_there_is_one_line(command, refused):
    assert "absent" in refused(command, ["absent", *COMMANDS[command][1:]])


@pytest.mark.parametrize("command", ["fastconv.train", "fastconv.profile"])
def test_a_wrong_number_of_threads_in_the_environment_is_one_line(command, refused, monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", "none")
    assert "FASTCONV_THREADS" in refused(command, [])
