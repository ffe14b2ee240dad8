"""What an ExecutionConfig settles, what it refuses, and that it alone travels."""

import ast
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import BackendError, ExecutionConfig
from fastconv.backends.configuration import available_cores
from fastconv.data import Samples
from fastconv.inference import Inference
from fastconv.layers import Dense
from fastconv.optimizers import Optimizer
from fastconv.schedules import Constant


def made_trainer(**options):
    samples = Samples(np.zeros((4, 1, 1, 5), np.float32), np.zeros(4, np.int64))
    return fastconv.Trainer(
        fastconv.Sequential([Dense(3)], input_shape=(5,)), samples, batch_size=2,
        loss="softmax_cross_entropy", optimizer=Optimizer("sgd"), schedule=Constant(0.1), **options,
    )  # fmt: skip


def checked(**options):
    network = fastconv.Sequential([Dense(3)], input_shape=(5,))
    batch = np.ones((2, 5), np.float32), np.array([0, 2])
    return fastconv.check_step(network, batch, Optimizer("sgd"), verbose=False, **options)


def made_predictor(**options):
    return fastconv.Predictor(fastconv.Sequential([Dense(3)], input_shape=(5,)), **options)


def made_inference(**options):
    return Inference(fastconv.Sequential([Dense(3)], input_shape=(5,)), **options)


MAKERS = {
    "Trainer": made_trainer, "Inference": made_inference, "Predictor": made_predictor,
    "check_step": checked,
}  # fmt: skip


# What is left open is settled.


def test_what_is_left_open_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "numpy")
    monkeypatch.setenv("FASTCONV_THREADS", "3")
    config = ExecutionConfig()
    assert (config.backend, config.threads) == ("numpy", 3)
    assert (config.precision, config.device) == ("float32", None)
    assert config.why == "FASTCONV_BACKEND"


def test_without_a_word_all_cores_take_part(monkeypatch):
    monkeypatch.delenv("FASTCONV_THREADS", raising=False)
    assert ExecutionConfig("numpy").threads == available_cores()


def test_it_keeps_the_backend_that_was_in_use_when_it_was_made():
    with fastconv.use_backend("numpy"):
        config = ExecutionConfig()
    assert made_trainer(config=config).config.backend == "numpy"


def test_a_number_of_threads_may_be_numpys():
    config = ExecutionConfig("numpy", np.int64(2))
    assert config.threads == 2
    assert type(config.threads) is int


def test_it_is_a_value():
    config = ExecutionConfig("numpy", 2)
    assert config == ExecutionConfig(backend="numpy", threads=2)
    assert pickle.loads(pickle.dumps(config)) == config
    assert pickle.loads(pickle.dumps(config)).why == "asked for"
    assert dataclasses.replace(config, threads=1) == ExecutionConfig("numpy", 1)
    assert len({config, ExecutionConfig("numpy", 2)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.threads = 1


# What it refuses. Each message: the field, its value, what was expected, and the fix.

WRONG = [
    ({"backend": "nunpy"}, "backend is 'nunpy'; expected one of auto, .*; did you mean 'numpy'"),
    ({"backend": 3}, "backend is 3; expected a name, one of auto, numpy, numba, cython, cupy"),
    ({"threads": 0}, "threads is 0; expected an integer of 1 or more; leave it out for all"),
    ({"threads": -2}, "threads is -2; expected an integer of 1 or more"),
    ({"threads": "2"}, "threads is '2'; expected an integer of 1 or more"),
    ({"threads": 1.5}, "threads is 1.5; expected an integer"),
    ({"threads": True}, "threads is True; expected an integer"),
    ({"precision": "half"}, "precision is 'half'; expected one of float32, tf32, bf16; leave it"),
    ({"precision": 16}, "precision is 16; expected one of float32"),
    (
        {"precision": "bf16"},
        "precision is 'bf16' but the backend is 'numpy'; expected 'float32' there; use the backend "
        "'cython' or 'cupy', or leave the precision out",
    ),
    (
        {"device": 1},
        "device is 1 but the backend is 'numpy'; expected none there; use the backend 'cupy', or "
        "leave the device out",
    ),
    ({"device": -1}, "device is -1; expected an integer of 0 or more, the number of a CUDA device"),
    ({"device": "cuda:0"}, "device is 'cuda:0'; expected an integer"),
]


@pytest.mark.parametrize(("fields", "told"), WRONG)
@pytest.mark.parametrize("make", [ExecutionConfig, *MAKERS.values()])
def test_a_wrong_field_is_named_wherever_it_is_typed(make, fields, told):
    with pytest.raises(BackendError, match=told) as caught:
        make(**{"backend": "numpy", **fields})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("owner", MAKERS)
def test_a_field_beside_a_config_is_refused(owner):
    make = MAKERS[owner]
    told = (
        rf"{owner}: threads is 2 beside a config; .* use dataclasses.replace\(config, threads=2\)"
    )
    with pytest.raises(BackendError, match=told):
        make(threads=2, config=ExecutionConfig("numpy"))
    with pytest.raises(BackendError, match=f"{owner}: config is 'numpy'; expected an Execution"):
        make(config="numpy")


def test_the_keywords_and_a_config_say_the_same():
    assert made_trainer(backend="numpy", threads=2).config == ExecutionConfig("numpy", 2)
    assert checked(backend="numpy").backend == checked(config=ExecutionConfig("numpy")).backend


# Inside, it alone travels.

_FIELDS = {"threads", "precision"}
_TYPED_BY_USERS = {
    "Trainer.__init__",
    "train_many",
    "Inference.__init__",
    "Predictor.__init__",
    "check_step",
    "settle",
    "ExecutionConfig.__init__",
    "RunOptions.__init__",
    "NetworkFunction.__init__",
    "Sequential.__call__",
    "Sequential._function",
    "Sequential.value_and_gradient",
    "Sequential.vjp",
}
_OF_A_FIELD = {
    "_take_threads", "_take_precision", "share_threads", "SearchDisplay.show_head",
    "show_prediction", "predict",
}  # fmt: skip
"""What checks, divides or shows a field alone, or asks the model of a card about one."""
_PACKAGE = Path(fastconv.__file__).parent


def functions_of(tree, owner=""):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield owner + node.name, node
            yield from functions_of(node, owner)


def test_no_function_takes_threads_or_a_precision_loosely():
    loose = set()
    for path in _PACKAGE.rglob("*.py"):
        part = path.relative_to(_PACKAGE).parts[0]
        # Whose own business threads are, or those of another library.
        if part in ("backends", "compare", "interop", "verify") or path.name == "pool.py":
            continue
        for name, function in functions_of(ast.parse(path.read_text(encoding="utf-8"))):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            if _FIELDS & {argument.arg for argument in arguments}:
                loose.add(name)
    assert loose - _OF_A_FIELD == _TYPED_BY_USERS
