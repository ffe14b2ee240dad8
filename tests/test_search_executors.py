"""Searches whose trials are trained by the workers of other libraries, and workers that die."""

import contextlib
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from saved_runs import TINY_RECIPE

pytest.importorskip("optuna")

from fastconv.search import __main__ as command
from fastconv.search.definition import load_search
from fastconv.search.engine import Engine
from fastconv.search.executors import EXECUTORS, ExecutorPool, JoblibExecutor, train_trial
from fastconv.search.study import open_storage, url_of_file
from fastconv.search.worker import Done, Lost, Task, Trainings, WorkerConfig

SEARCH = """
recipe = "small.toml"
method = "grid"
[settings]
"data.validation" = 300
[space."optimizer.lr"]
values = [0.1, 0.2, 0.4]
"""


@pytest.fixture
def search(tmp_path):
    (tmp_path / "small.toml").write_text(TINY_RECIPE, encoding="utf-8")
    (tmp_path / "tried.toml").write_text(SEARCH, encoding="utf-8")
    return load_search(str(tmp_path / "tried.toml"))


class _Watcher:
    def __init__(self):
        self.trials = []

    def on_stage(self, stage, found, wanted, space):
        pass

    def on_trial(self, trial, finished, wanted):
        self.trials.append(trial)

    def on_wait(self):
        pass


class _Fragile:
    """An executor in this process whose worker dies at some of the calls."""

    def __init__(self, dies):
        self.dies, self.calls = dies, []

    def submit(self, function, *arguments):
        self.calls.append((function, arguments))
        return len(self.calls)

    def wait(self, futures, seconds):
        return futures[:1]

    def result(self, future):
        function, arguments = self.calls[future - 1]
        return None if future in self.dies else function(*arguments)

    def close(self):
        pass


def trials_of(search, folder, dies, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "joblib", lambda jobs: _Fragile(dies))
    watcher = _Watcher()
    engine = Engine(
        search, open_storage(url_of_file(folder / "study.sqlite3"), is_shared=False),
        is_alone=True, config=WorkerConfig(search), jobs=1, watcher=watcher,
        is_interrupted=lambda: False, executor="joblib",
    )  # fmt: skip
    engine.open()
    engine.run()
    return watcher.trials


def test_a_worker_that_dies_loses_its_trial_alone_which_is_made_again(
    search, tmp_path, monkeypatch
):
    trials = trials_of(search, tmp_path, {2}, monkeypatch)
    assert {trial.state for trial in trials} == {"completed"}
    assert sorted(trial.settings["optimizer.lr"] for trial in trials) == [0.1, 0.2, 0.4]


def test_a_trial_that_takes_two_workers_along_is_given_up(search, tmp_path, monkeypatch):
    trials = trials_of(search, tmp_path, {1, 2}, monkeypatch)
    lost = [trial for trial in trials if trial.state != "completed"]
    assert [(trial.state, trial.reason) for trial in lost] == [
        ("impossible", "its worker ended, twice")
    ]
    assert len(trials) == 3


def test_a_trial_has_the_score_of_the_searchs_own_workers(search):
    config, task = WorkerConfig(search), Task(0, {"optimizer.lr": 0.2})
    assert train_trial(config, task).scores == Trainings(config).train(task).scores


@pytest.mark.skipif(find_spec("joblib") is None, reason="needs joblib")
def test_a_process_of_joblib_that_is_killed_is_replaced(search):
    joblib = JoblibExecutor(1)
    with ExecutorPool(WorkerConfig(search), 1, joblib) as pool:
        pool.start(Task(7, {"optimizer.lr": 0.2}))
        assert not pool.has_free_worker()
        (executor,) = joblib._at_work.values()
        (process,) = list(executor._processes)
        os.kill(process, signal.SIGKILL)
        messages = []
        while not messages:
            messages = list(pool.messages(10))
        assert messages == [Lost(7)]
        pool.start(Task(8, {"optimizer.lr": 0.2}))
        (done,) = pool.messages(60)
        assert isinstance(done, Done)
        assert (done.number, done.state) == (8, "completed")


def worker_of_dask(executor):
    """The process that has a trial, once it has one."""
    while not any(executor._client.processing().values()):
        time.sleep(0.05)
    (process,) = executor._client.run(os.getpid).values()
    return process


def worker_of_ray(executor):
    """The process that has a trial, once it has one: Ray gives it the name of the function."""
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cmdline").read_bytes().startswith(b"ray::_call"):
                    return int(process.name)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize(("name", "worker_of"), [("dask", worker_of_dask), ("ray", worker_of_ray)])
def test_a_worker_of_a_local_cluster_that_is_killed_is_replaced(name, worker_of, search):
    pytest.importorskip({"dask": "distributed"}.get(name, name))
    cluster = EXECUTORS[name](1)
    with ExecutorPool(WorkerConfig(search), 1, cluster) as pool:
        pool.start(Task(7, {"optimizer.lr": 0.2, "epochs": 100_000}))
        os.kill(worker_of(cluster), signal.SIGKILL)
        messages = []
        while not messages:
            messages = list(pool.messages(10))
        assert messages == [Lost(7)]
        pool.start(Task(8, {"optimizer.lr": 0.2}))
        messages = []
        while not messages:
            messages = list(pool.messages(10))
        (done,) = messages
        assert isinstance(done, Done)
        assert (done.number, done.state) == (8, "completed")
        alone = Trainings(WorkerConfig(search)).train(Task(8, {"optimizer.lr": 0.2}))
        assert done.scores == alone.scores


def test_pruning_goes_by_what_an_executor_does_not_tell(search, tmp_path, capsys):
    code = command.main([str(tmp_path / "tried.toml"), "--executor", "joblib", "--prune"])
    assert code == 2
    assert "--prune goes by lines of the history" in capsys.readouterr().err
