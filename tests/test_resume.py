"""Runs that are killed and go on: the commands, their folders, and what they say."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soak
from safetensors.numpy import load_file

from fastconv import _files, train
from fastconv._files import remove_left_behind, replace_file
from fastconv.backends.selection import backend_state


def works(name):
    return backend_state(name).works


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A folder with the recipe, and the result of the training that nobody kills."""
    folder = tmp_path_factory.mktemp("soak")
    return folder, soak.undisturbed(folder, "--no-report")


@pytest.mark.parametrize("seed", range(3))
def test_a_training_that_is_killed_at_random_moments_comes_out_the_same(expected, seed):
    folder, result = expected
    kills = soak.random_kills(random.Random(seed), 1.5)
    found, _ = soak.disturbed(folder, kills, ("--no-report",))
    soak.assert_same(found, result, kills)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_killed_in_a_checkpoint_comes_out_the_same(expected, number):
    """Of each step one is written, and killed when two are there: nearly always within a write."""
    folder, result = expected
    shutil.rmtree(folder / "killed", ignore_errors=True)
    arguments = ["--recipe", "./recipe.toml", "--quiet", "--no-report", "--out", "killed"]
    process = subprocess.Popen(
        soak.command(*arguments, "--checkpoint-every", "1"), cwd=folder, env=soak.environment(),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(list(folder.glob("killed/checkpoints/step-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        steps = json.loads((folder / "killed" / "summary.json").read_text())["steps"]
        assert told == (
            f"fastconv.train: ended by SIGTERM after {steps} steps; go on with "
            f"python -m fastconv.train --resume killed\n"
        )
        assert (folder / "killed" / "weights.safetensors").is_file()
    found = soak.disturbed_goes_on(folder, arguments)
    soak.assert_same(found, result, number)


def test_the_page_of_a_run_that_was_killed_shows_the_same_numbers(expected):
    """Probe, history and every picture's numbers, with a page at the end."""
    folder, _ = expected
    shutil.rmtree(folder / "undisturbed")
    whole = soak.undisturbed(folder)
    shutil.rmtree(folder / "killed", ignore_errors=True)
    arguments = ["--recipe", "./recipe.toml", "--quiet", "--out", "killed"]
    process = subprocess.Popen(
        soak.command(*arguments, "--checkpoint-every", "5"), cwd=folder, env=soak.environment()
    )
    while len(list(folder.glob("killed/checkpoints/step-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    found = soak.disturbed_goes_on(folder, arguments)
    soak.assert_same(found, whole, "a kill")
    assert len([name for name in found if str(name).startswith("figures/")]) > 5


# In this process: what the command says, and what it refuses.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs ``python -m fastconv.train`` here; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCONV_THREADS", "1")
    (tmp_path / "recipe.toml").write_text(soak.RECIPE, encoding="utf-8")

    def call(*arguments):
        code = train.main(["--no-report", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


BEGIN = ("--recipe", "./recipe.toml", "--out", "run", "--backend", "numpy")


def test_a_finished_run_is_trained_longer_and_is_the_longer_one(command, tmp_path):
    constant = (
        "--set",
        "schedule.kind=constant",
        "--backend",
        "numpy",
        "--recipe",
        "./recipe.toml",
    )
    assert command(*constant, "--epochs", "3", "--out", "longer")[0] == 0
    assert command(*constant, "--epochs", "1", "--out", "run")[0] == 0
    code, out, _ = command("--resume", "run", "--epochs", "3")
    assert (code, "goes on from step 20" in out) == (0, True)
    longer, run = soak.result_of(tmp_path / "longer"), soak.result_of(tmp_path / "run")
    soak.assert_same(run, longer, "nothing")
    resumed = json.loads((tmp_path / "run" / "environment.json").read_text())["resumed"]
    assert [each["step"] for each in resumed] == [20]


def test_a_schedule_that_changes_with_the_length_is_said(command):
    assert command(*BEGIN, "--epochs", "1")[0] == 0
    _, out, _ = command("--resume", "run", "--epochs", "2")
    assert "its schedule is spread over another length: OneCycle(" in out


@pytest.mark.parametrize("other", [name for name in ("numba", "cython") if works(name)])
def test_another_backend_is_allowed_and_said(command, other):
    assert command(*BEGIN, "--steps", "9")[0] == 0
    code, out, _ = command("--resume", "run", "--steps", "12", "--backend", other)
    assert code == 0
    assert f"backend numpy before, {other} now: the result is not that of an undisturbed" in out
    code, out, _ = command("--resume", "run", "--steps", "13", "--backend", other, "--threads", "2")
    assert code == 0
    assert "threads 1 before, 2 now: the bits are the same" in out


REFUSED = [
    (("--resume", "none"), "run none: no such folder"),
    (("--resume", "runs"), "run runs: no such folder"),
    (("--resume", "run"), "has 9 steps already and is to have 9"),
    (("--resume", "run", "--steps", "4"), "has 9 steps already and is to have 4"),
    (("--resume", "run", "--seed", "3"), "seed is to become 3; expected only epochs, steps"),
    (("--resume", "run", "--recipe", "digits"), "--resume is run and --recipe is digits"),
    ((*BEGIN, "--steps", "9"), "not empty"),
    (("--recipe", "digits", "--checkpoint-every", "often"), "--checkpoint-every is 'often'"),
]  # fmt: skip


def test_what_cannot_go_on_is_refused_in_one_line(command):
    assert command(*BEGIN, "--steps", "9")[0] == 0
    for arguments, told in REFUSED:
        code, out, err = command(*arguments)
        assert (code, out) == (2, ""), arguments
        assert len(err.splitlines()) == 1
        assert any(part in err for part in told.split("|")), err


def test_another_recipe_in_the_folder_of_an_unfinished_run_is_refused(command, tmp_path):
    assert command(*BEGIN, "--steps", "9")[0] == 0
    (tmp_path / "run" / "summary.json").unlink()
    code, _, err = command(*BEGIN, "--seed", "6")
    assert code == 2
    assert "holds an unfinished run of another recipe (seed differs)" in err
    assert command(*BEGIN, "--steps", "12")[0] == 0


def test_other_data_are_refused(command, tmp_path):
    assert command(*BEGIN, "--steps", "9")[0] == 0
    file = tmp_path / "run" / "model.json"
    model = json.loads(file.read_text())
    model["data"]["training"]["labels_sha256"] = 64 * "0"
    file.write_text(json.dumps(model))
    code, _, err = command("--resume", "run", "--steps", "12")
    assert code == 2
    assert "was trained on other data than this digits, which has other training labels" in err


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(command, tmp_path):
    assert command(*BEGIN, "--steps", "30", "--checkpoint-every", "8")[0] == 0
    assert command(*BEGIN[:2], *BEGIN[4:], "--steps", "40", "--out", "whole")[0] == 0
    newest = tmp_path / "run" / "checkpoints" / "step-000000030.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    code, out, _ = command("--resume", "run", "--steps", "40")
    assert code == 0
    assert "damaged" in out
    assert "goes on from step 24" in out
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("run", "whole"))
    assert all((one[name] == other[name]).all() for name in other)


SPOILED = {
    "environment.json": [
        {"backend": 3}, {"threads": "x"}, {"options": []}, {"options": {"data_dir": 5}},
        {"resumed": {}},
    ],
    "model.json": [{"data": 7}, {"data": {"training": {}}}],
}  # fmt: skip


def test_files_of_a_run_that_somebody_changed_are_one_line_that_names_them(command, tmp_path):
    assert command(*BEGIN, "--steps", "9")[0] == 0
    for name, changes in SPOILED.items():
        file = tmp_path / "run" / name
        text = file.read_text()
        for change in changes:
            file.write_text(json.dumps({**json.loads(text), **change}))
            code, _, err = command("--resume", "run", "--steps", "12")
            assert code == 2, change
            assert f"{name} is damaged" in err, change
            assert len(err.splitlines()) == 1
        file.write_text(text)
    assert command("--resume", "run", "--steps", "12")[0] == 0


def test_a_run_without_checkpoints_is_not_gone_on_with(command, tmp_path):
    assert command(*BEGIN, "--steps", "9", "--checkpoint-every", "never")[0] == 0
    assert not (tmp_path / "run" / "checkpoints").exists()
    code, _, err = command("--resume", "run", "--steps", "12")
    assert code == 2
    assert "has no checkpoints" in err
    assert "--init-from run" in err


def test_two_processes_do_not_train_in_one_folder(expected):
    folder, _ = expected
    shutil.rmtree(folder / "shared", ignore_errors=True)
    arguments = ["--recipe", "./recipe.toml", "--quiet", "--no-report", "--out", "shared"]
    first = subprocess.Popen(
        soak.command(*arguments, "--epochs", "1000000"), cwd=folder, env=soak.environment()
    )
    try:
        while not (folder / "shared" / "recipe.toml").exists():
            assert first.poll() is None
            time.sleep(0.01)
        for more in (arguments, ["--resume", "shared"]):
            second = subprocess.run(
                soak.command(*more), cwd=folder, env=soak.environment(),
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert second.returncode == 2
            assert second.stderr == (
                "fastconv.train: output folder shared: another process is training there; wait "
                "for it, or choose another with --out\n"
            )
    finally:
        first.kill()
        first.wait()
    # The lock of the dead one holds nobody up.
    done = subprocess.run(
        soak.command(*arguments, "--epochs", "1"), cwd=folder, env=soak.environment(), check=False
    )
    assert done.returncode == 0


# Files that are replaced.


def test_a_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path):
    secret, new = tmp_path / "secret", tmp_path / "new"
    secret.write_text("old")
    secret.chmod(0o600)
    before = os.umask(0o027)
    try:
        for path in (secret, new):
            with replace_file(path) as file:
                file.write("text")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (secret, new)] == [0o600, 0o640]


def test_a_link_still_leads_where_it_led_and_a_fifo_is_written_through(tmp_path):
    real, link, fifo = tmp_path / "real", tmp_path / "link", tmp_path / "fifo"
    real.write_text("old")
    link.symlink_to(real)
    with replace_file(link, follows_links=True) as file:
        file.write("new")
    assert (link.is_symlink(), real.read_text()) == (True, "new")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with replace_file(fifo, follows_links=True) as file:
        file.write("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert fifo.is_fifo()


def test_in_a_folder_of_ours_a_link_is_replaced_and_what_it_leads_to_kept(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("precious")
    link.symlink_to(real)
    with replace_file(link) as file:
        file.write("new")
    assert (link.is_symlink(), link.read_text(), real.read_text()) == (False, "new", "precious")


def test_a_fifo_that_nobody_reads_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "_SECONDS_FOR_A_READER", 0.0)
    os.mkfifo(tmp_path / "fifo")
    with (
        pytest.raises(OSError, match="No such device or address"),
        replace_file(tmp_path / "fifo", follows_links=True) as file,
    ):
        file.write("nobody reads it")


def test_the_umask_of_the_process_is_never_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)
    with replace_file(tmp_path / "a") as file:
        file.write("text")
    assert (tmp_path / "a").read_text() == "text"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    code = (
        "import os, signal\nfrom fastconv._files import replace_file\n"
        "with replace_file('a.json') as file:\n    file.write('half')\n    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=soak.environment(), check=False)
    own = tmp_path / ".mine.tmp"
    own.write_text("own")
    assert len(list(tmp_path.iterdir())) == 2
    with replace_file(tmp_path / "b.json") as file:
        assert remove_left_behind(tmp_path) == 1
        file.write("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "b.json"]


def test_runs_begun_in_the_same_second_have_folders_of_their_own(expected):
    folder, _ = expected
    arguments = ["--recipe", "./recipe.toml", "--quiet", "--no-report", "--steps", "2"]
    started = [
        subprocess.Popen(soak.command(*arguments), cwd=folder, env=soak.environment())
        for _ in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(list(Path(folder).glob("runs/*/summary.json"))) == 3
