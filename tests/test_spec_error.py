"""A fault of a spec reaches whoever caused it under the names that they know."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import SpecError
from fastconv.layers import BatchNorm, Conv2D, ConvTranspose2D, Dropout, LeakyReLU, MaxPool2D
from fastconv.network import NetworkError
from fastconv.optimizers import Optimizer
from fastconv.recipe import RecipeError, load_recipe
from fastconv.spec import ConvSpec, PoolSpec

FAULT = SpecError("Spec", "size", -1, "an integer of 1 or more")


def test_it_has_parts_and_says_them():
    assert (FAULT.owner, FAULT.field, FAULT.value) == ("Spec", "size", -1)
    assert FAULT.expected == "an integer of 1 or more"
    assert str(FAULT) == "Spec: size is -1; expected an integer of 1 or more"
    assert FAULT.said == "size is -1; expected an integer of 1 or more"
    assert isinstance(FAULT, ValueError)


def test_a_caller_names_it_as_it_knows_it():
    assert str(FAULT.of("pool")) == "pool: size is -1; expected an integer of 1 or more"
    assert str(FAULT.of("pool", size="kernel", other="x")).startswith("pool: kernel is -1; ")
    assert str(FAULT.within("layers.3")).startswith("layers.3.size is -1; expected")
    assert str(FAULT.within("")).startswith("size is -1; expected")


def test_a_sentence_of_its_own_keeps_up_with_the_names():
    fault = SpecError("Spec", "size", (1, 2), "less", "{field} is {value!r} here; use {expected}")
    assert str(fault.of("f", size="width")) == "f: width is (1, 2) here; use less"


def test_braces_in_a_value_are_text():
    assert SpecError("f", "kind", "{field}", "x").said == "kind is '{field}'; expected x"


@pytest.mark.parametrize("copied", [copy.copy, lambda made: pickle.loads(pickle.dumps(made))])
def test_it_can_be_sent_to_another_process(copied):
    again = copied(FAULT)
    assert str(again) == str(FAULT)
    assert again.field == "size"


# Specs.


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (lambda: ConvSpec(-1, 3, 8, 8, 4, (3, 3)), "batch", -1),
        (lambda: ConvSpec(1, 3, 8, 8, 4, (3, 0)), "kernel", (3, 0)),
        (lambda: ConvSpec(1, 3, 8, 8, 4, (3, 3), padding="full"), "padding", "full"),
        (lambda: ConvSpec(1, 3, 8, 8, 4, (3, 3), groups=2), "groups", 2),
        (lambda: ConvSpec(1, 3, 8, 8, 4, (9, 3)), "kernel", (9, 3)),
        (lambda: PoolSpec(1, 3, 8, 8, (2, 2), (2, 2), ((2, 0), (0, 0))), "padding", (2, 0)),
        (lambda: PoolSpec(1, 3, 8, 8, (9, 2), (2, 2)), "kernel", (9, 2)),
        (lambda: PoolSpec(1, 3, 8, 8, (2, 2), (2, 2), ceil_mode=3), "ceil_mode", 3),
    ],
)
def test_a_spec_says_which_field_it_is(make, field, value):
    with pytest.raises(SpecError) as caught:
        make()
    assert (caught.value.field, caught.value.value) == (field, value)
    assert str(caught.value).startswith(f"{caught.value.owner}: ")
    assert caught.value.owner in ("ConvSpec", "PoolSpec")


# Callers.

X, W = np.zeros((1, 3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32)
_SPECS = r"(Conv|Pool|Dense|Norm|Activation|Softmax|Random|Dropout|Optimizer|Input|Augment)Spec"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: fastconv.conv2d(X[:, :0], W[:, :0]), "conv2d: the number of channels of x is 0"),
        (lambda: fastconv.conv2d(X[:, :, :0], W), "conv2d: the height of x is 0; expected"),
        (lambda: fastconv.conv2d(X, W[:0]), "conv2d: the number of output channels of w is 0"),
        (lambda: fastconv.conv2d(X, np.zeros((4, 3, 9, 3), np.float32)),
         "conv2d: the kernel spans 9 in height but the padded input has only 8 (8 + padding 0 + 0)"
         "; use a smaller kernel or dilation, or more padding"),
        (lambda: fastconv.conv2d(X, W, padding="full"), "conv2d: padding is 'full'; expected an"),
        (lambda: fastconv.max_pool2d(X, 9), "max_pool2d: the kernel spans 9 in height"),
        (lambda: fastconv.max_pool2d(X, 2, ceil_mode=3), "max_pool2d: ceil_mode is 3; expected Tr"),
        (lambda: fastconv.avg_pool2d(X, 2, padding=2), "avg_pool2d: padding is (2, 2) in height"),
        (lambda: fastconv.max_pool2d(X[:, :0], 2), "max_pool2d: the number of channels of x is 0"),
        (lambda: fastconv.global_avg_pool2d(X[..., :0]), "global_avg_pool2d: the width of x is 0"),
        (lambda: fastconv.leaky_relu(X, -1.0), "leaky_relu: alpha is -1.0; expected 0 or more"),
        (lambda: fastconv.dropout(X, 1.0, seed=0), "dropout: probability is 1.0; expected 0 or"),
        (lambda: fastconv.batch_norm_inference(X, *np.ones((4, 3), np.float32), epsilon=0.0),
         "batch_norm_inference: epsilon is 0.0; expected more than 0"),
        (lambda: Optimizer("adam", weight_decay=-1.0), "Optimizer: weight_decay is -1.0"),
        (lambda: Optimizer("adamw", weight_decay=-1.0), "Optimizer: weight_decay is -1.0"),
        (lambda: Optimizer("momentum", momentum=1.0), "Optimizer: momentum is 1.0; expected 0"),
        (lambda: Optimizer("lion"), "Optimizer: kind is 'lion'; expected one of sgd, momentum"),
    ],
)  # fmt: skip
def test_a_function_names_its_own_argument(call, told):
    with pytest.raises(SpecError, match=f"^{re.escape(told)}") as caught:
        call()
    assert not re.search(_SPECS, str(caught.value))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Conv2D(4, 9), "the kernel spans 9 in height"),
        (Conv2D(4, stride=0), "stride is 0; expected an integer of 1 or more"),
        (Conv2D(0), "filters is 0; expected an integer of 1 or more"),
        (Conv2D(4, groups=2), "groups is 2; expected a number that divides the input channels (3)"),
        (ConvTranspose2D(4, padding="same"), "padding is 'same'; expected numbers"),
        (ConvTranspose2D(4, stride=2, output_padding=2), "output_padding is 2 in height; expected"),
        (MaxPool2D(9), "the kernel spans 9 in height"),
        (Dropout(1.0), "probability is 1.0; expected 0 or more, below 1"),
        (LeakyReLU(-1.0), "alpha is -1.0; expected 0 or more"),
        (BatchNorm(momentum=2.0), "momentum is 2.0; expected 0 to 1"),
    ],
)
def test_a_network_names_the_layer_and_the_field(layer, told):
    said = f"layer 1 ({layer.kind}_1), input (8, 8, 3): {told}"
    with pytest.raises(NetworkError, match=f"^{re.escape(said)}"):
        fastconv.Sequential([layer], input_shape=(8, 8, 3))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"optimizer.weight_decay": -1}, "optimizer.weight_decay is -1.0; expected 0 or more"),
        ({"optimizer.lr": 0}, "optimizer.lr is 0.0; expected more than 0"),
        ({"augmentation.rotation": 500}, "augmentation.rotation is 500.0; expected 0 to 180"),
        ({"augmentation.cutout": -1}, "augmentation.cutout is -1; expected an integer of"),
        ({"schedule.kind": "step", "schedule.factor": 0}, "schedule.factor is 0.0; expected more"),
        ({"schedule.kind": "step", "schedule.every_epochs": 0}, "schedule.every_epochs is 0.0"),
        ({"schedule.kind": "cyclic", "schedule.eta_min": 1}, "schedule.eta_min is 1.0; expected 0 "
         "to eta_max (0.1)"),
        ({"initialization.kind": "normal", "initialization.std": -1},
         "initialization.std is -1.0; expected 0 or more"),
    ],
)  # fmt: skip
def test_a_recipe_names_the_key(settings, told):
    with pytest.raises(RecipeError, match=f"^recipe digits: {re.escape(told)}") as caught:
        load_recipe("digits", list(settings.items()))
    assert not re.search(_SPECS, str(caught.value))


def test_no_message_is_made_of_another_by_replacing_text():
    for path in Path(fastconv.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(rf"replace\(f?[\"']{_SPECS}", text), path
