"""fastconv: convolution, pooling and dense kernels with interchangeable array backends.

Public functions take and return plain arrays, NumPy's or CuPy's::

    import numpy as np
    from fastconv import conv2d, conv2d_backward

    y = conv2d(np.ones((1, 3, 32, 32)), np.ones((8, 3, 3, 3)), padding=1)

Names are imported when first used, so that ``import fastconv`` costs almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv._checkout import warn_if_shadowing

if TYPE_CHECKING:
    from fastconv.backends.configuration import get_include as get_include
    from fastconv.backends.configuration import set_threads as set_threads
    from fastconv.backends.configuration import show_config as show_config
    from fastconv.backends.explanation import explain as explain
    from fastconv.backends.selection import BackendError as BackendError
    from fastconv.backends.selection import use_backend as use_backend
    from fastconv.execution.config import ExecutionConfig as ExecutionConfig
    from fastconv.functional.activation import elu as elu
    from fastconv.functional.activation import elu_backward as elu_backward
    from fastconv.functional.activation import gelu as gelu
    from fastconv.functional.activation import gelu_backward as gelu_backward
    from fastconv.functional.activation import hard_sigmoid as hard_sigmoid
    from fastconv.functional.activation import hard_sigmoid_backward as hard_sigmoid_backward
    from fastconv.functional.activation import hard_swish as hard_swish
    from fastconv.functional.activation import hard_swish_backward as hard_swish_backward
    from fastconv.functional.activation import leaky_relu as leaky_relu
    from fastconv.functional.activation import leaky_relu_backward as leaky_relu_backward
    from fastconv.functional.activation import mish as mish
    from fastconv.functional.activation import mish_backward as mish_backward
    from fastconv.functional.activation import relu as relu
    from fastconv.functional.activation import relu6 as relu6
    from fastconv.functional.activation import relu6_backward as relu6_backward
    from fastconv.functional.activation import relu_backward as relu_backward
    from fastconv.functional.activation import selu as selu
    from fastconv.functional.activation import selu_backward as selu_backward
    from fastconv.functional.activation import sigmoid as sigmoid
    from fastconv.functional.activation import sigmoid_backward as sigmoid_backward
    from fastconv.functional.activation import silu as silu
    from fastconv.functional.activation import silu_backward as silu_backward
    from fastconv.functional.activation import softplus as softplus
    from fastconv.functional.activation import softplus_backward as softplus_backward
    from fastconv.functional.activation import softsign as softsign
    from fastconv.functional.activation import softsign_backward as softsign_backward
    from fastconv.functional.activation import tanh as tanh
    from fastconv.functional.activation import tanh_backward as tanh_backward
    from fastconv.functional.conv import conv2d as conv2d
    from fastconv.functional.conv import conv2d_backward as conv2d_backward
    from fastconv.functional.conv import conv_transpose2d as conv_transpose2d
    from fastconv.functional.conv import conv_transpose2d_backward as conv_transpose2d_backward
    from fastconv.functional.dense import dense as dense
    from fastconv.functional.dense import dense_backward as dense_backward
    from fastconv.functional.dropout import dropout as dropout
    from fastconv.functional.dropout import dropout_backward as dropout_backward
    from fastconv.functional.elementwise_loss import (
        binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    )
    from fastconv.functional.elementwise_loss import (
        binary_cross_entropy_with_logits_backward as binary_cross_entropy_with_logits_backward,
    )
    from fastconv.functional.elementwise_loss import huber as huber
    from fastconv.functional.elementwise_loss import huber_backward as huber_backward
    from fastconv.functional.elementwise_loss import mean_absolute_error as mean_absolute_error
    from fastconv.functional.elementwise_loss import (
        mean_absolute_error_backward as mean_absolute_error_backward,
    )
    from fastconv.functional.global_pool import global_max_pool2d as global_max_pool2d
    from fastconv.functional.global_pool import (
        global_max_pool2d_backward as global_max_pool2d_backward,
    )
    from fastconv.functional.group_norm import group_norm as group_norm
    from fastconv.functional.group_norm import group_norm_backward as group_norm_backward
    from fastconv.functional.group_norm import layer_norm as layer_norm
    from fastconv.functional.group_norm import layer_norm_backward as layer_norm_backward
    from fastconv.functional.loss import mean_squared_error as mean_squared_error
    from fastconv.functional.loss import mean_squared_error_backward as mean_squared_error_backward
    from fastconv.functional.loss import nll as nll
    from fastconv.functional.loss import nll_backward as nll_backward
    from fastconv.functional.loss import softmax_cross_entropy as softmax_cross_entropy
    from fastconv.functional.loss import (
        softmax_cross_entropy_backward as softmax_cross_entropy_backward,
    )
    from fastconv.functional.merge import add as add
    from fastconv.functional.merge import add_backward as add_backward
    from fastconv.functional.merge import concatenate as concatenate
    from fastconv.functional.merge import concatenate_backward as concatenate_backward
    from fastconv.functional.merge import multiply as multiply
    from fastconv.functional.merge import multiply_backward as multiply_backward
    from fastconv.functional.norm import batch_norm as batch_norm
    from fastconv.functional.norm import batch_norm_backward as batch_norm_backward
    from fastconv.functional.norm import batch_norm_inference as batch_norm_inference
    from fastconv.functional.one_dimensional import avg_pool1d as avg_pool1d
    from fastconv.functional.one_dimensional import avg_pool1d_backward as avg_pool1d_backward
    from fastconv.functional.one_dimensional import conv1d as conv1d
    from fastconv.functional.one_dimensional import conv1d_backward as conv1d_backward
    from fastconv.functional.one_dimensional import max_pool1d as max_pool1d
    from fastconv.functional.one_dimensional import max_pool1d_backward as max_pool1d_backward
    from fastconv.functional.packed_weights import PackedWeights as PackedWeights
    from fastconv.functional.packed_weights import pack_weights as pack_weights
    from fastconv.functional.pool import avg_pool2d as avg_pool2d
    from fastconv.functional.pool import avg_pool2d_backward as avg_pool2d_backward
    from fastconv.functional.pool import global_avg_pool2d as global_avg_pool2d
    from fastconv.functional.pool import global_avg_pool2d_backward as global_avg_pool2d_backward
    from fastconv.functional.pool import max_pool2d as max_pool2d
    from fastconv.functional.pool import max_pool2d_backward as max_pool2d_backward
    from fastconv.functional.prelu import prelu as prelu
    from fastconv.functional.prelu import prelu_backward as prelu_backward
    from fastconv.functional.resample import pad2d as pad2d
    from fastconv.functional.resample import pad2d_backward as pad2d_backward
    from fastconv.functional.resample import upsample2d as upsample2d
    from fastconv.functional.resample import upsample2d_backward as upsample2d_backward
    from fastconv.functional.softmax import log_softmax as log_softmax
    from fastconv.functional.softmax import log_softmax_backward as log_softmax_backward
    from fastconv.functional.softmax import softmax as softmax
    from fastconv.functional.softmax import softmax_backward as softmax_backward
    from fastconv.gradient_check import check_gradients as check_gradients
    from fastconv.many_networks.trainings import train_many as train_many
    from fastconv.network import Sequential as Sequential
    from fastconv.network_function import NetworkFunction as NetworkFunction
    from fastconv.plans.loss import Loss as Loss
    from fastconv.predictor import Predictor as Predictor
    from fastconv.recipe import load_recipe as load_recipe
    from fastconv.spec import ConvSpec as ConvSpec
    from fastconv.spec import PoolSpec as PoolSpec
    from fastconv.spec import SpecError as SpecError
    from fastconv.step_check.check import check_step as check_step
    from fastconv.trainer import Trainer as Trainer

_ORIGINS = {
    "backends.selection": "BackendError use_backend",
    "backends.configuration": "get_include set_threads show_config",
    "backends.explanation": "explain",
    "execution.config": "ExecutionConfig",
    "functional.activation": (
        "elu elu_backward gelu gelu_backward hard_sigmoid hard_sigmoid_backward hard_swish "
        "hard_swish_backward leaky_relu leaky_relu_backward mish mish_backward relu relu6 "
        "relu6_backward relu_backward selu selu_backward sigmoid sigmoid_backward silu "
        "silu_backward softplus softplus_backward softsign softsign_backward tanh tanh_backward"
    ),
    "functional.conv": "conv2d conv2d_backward conv_transpose2d conv_transpose2d_backward",
    "functional.dense": "dense dense_backward",
    "functional.dropout": "dropout dropout_backward",
    "functional.elementwise_loss": (
        "binary_cross_entropy_with_logits binary_cross_entropy_with_logits_backward huber "
        "huber_backward mean_absolute_error mean_absolute_error_backward"
    ),
    "functional.global_pool": "global_max_pool2d global_max_pool2d_backward",
    "functional.group_norm": "group_norm group_norm_backward layer_norm layer_norm_backward",
    "functional.loss": (
        "mean_squared_error mean_squared_error_backward nll nll_backward softmax_cross_entropy "
        "softmax_cross_entropy_backward"
    ),
    "functional.merge": (
        "add add_backward concatenate concatenate_backward multiply multiply_backward"
    ),
    "functional.norm": "batch_norm batch_norm_backward batch_norm_inference",
    "functional.one_dimensional": (
        "avg_pool1d avg_pool1d_backward conv1d conv1d_backward max_pool1d max_pool1d_backward"
    ),
    "functional.packed_weights": "PackedWeights pack_weights",
    "functional.pool": (
        "avg_pool2d avg_pool2d_backward global_avg_pool2d global_avg_pool2d_backward max_pool2d "
        "max_pool2d_backward"
    ),
    "functional.prelu": "prelu prelu_backward",
    "functional.resample": "pad2d pad2d_backward upsample2d upsample2d_backward",
    "functional.softmax": "log_softmax log_softmax_backward softmax softmax_backward",
    "gradient_check": "check_gradients",
    "many_networks.trainings": "train_many",
    "network": "Sequential",
    "network_function": "NetworkFunction",
    "plans.loss": "Loss",
    "predictor": "Predictor",
    "recipe": "load_recipe",
    "spec": "ConvSpec PoolSpec SpecError",
    "step_check.check": "check_step",
    "trainer": "Trainer",
}
_MODULE_OF = {name: module for module, names in _ORIGINS.items() for name in names.split()}

__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fastconv")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fastconv' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastconv.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


warn_if_shadowing()
