"""The door to PyTorch: fastconv's kernels as operators and layers, and networks both ways.

Needs PyTorch 2.6 or newer (the extra ``torch``)::

    from fastconv.interop import pytorch

    print(pytorch.replace_layers(model))     # every layer that fastconv has a kernel for
    network = pytorch.from_torch(model, x)   # the whole model as a fastconv network
    model = pytorch.to_torch(network)        # and back

Every kernel is an operator ``torch.ops.fastconv.*`` that ``torch.compile`` and autograd know.
Tensors of the CPU share their memory with NumPy: nothing is copied on the way.
"""

from __future__ import annotations

from fastconv._extras import missing_extra

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.interop.pytorch", fault) from None

from fastconv.interop.pytorch import autocast as _autocast
from fastconv.interop.pytorch import functional as functional
from fastconv.interop.pytorch.activation_modules import ELU as ELU
from fastconv.interop.pytorch.activation_modules import GELU as GELU
from fastconv.interop.pytorch.activation_modules import SELU as SELU
from fastconv.interop.pytorch.activation_modules import Hardsigmoid as Hardsigmoid
from fastconv.interop.pytorch.activation_modules import Hardswish as Hardswish
from fastconv.interop.pytorch.activation_modules import LeakyReLU as LeakyReLU
from fastconv.interop.pytorch.activation_modules import LogSoftmax as LogSoftmax
from fastconv.interop.pytorch.activation_modules import Mish as Mish
from fastconv.interop.pytorch.activation_modules import PReLU as PReLU
from fastconv.interop.pytorch.activation_modules import ReLU as ReLU
from fastconv.interop.pytorch.activation_modules import ReLU6 as ReLU6
from fastconv.interop.pytorch.activation_modules import Sigmoid as Sigmoid
from fastconv.interop.pytorch.activation_modules import SiLU as SiLU
from fastconv.interop.pytorch.activation_modules import Softmax as Softmax
from fastconv.interop.pytorch.activation_modules import Softplus as Softplus
from fastconv.interop.pytorch.activation_modules import Softsign as Softsign
from fastconv.interop.pytorch.activation_modules import Tanh as Tanh
from fastconv.interop.pytorch.from_torch import from_torch as from_torch
from fastconv.interop.pytorch.layer_table import LAYERS as LAYERS
from fastconv.interop.pytorch.loss_modules import BCEWithLogitsLoss as BCEWithLogitsLoss
from fastconv.interop.pytorch.loss_modules import CrossEntropyLoss as CrossEntropyLoss
from fastconv.interop.pytorch.loss_modules import HuberLoss as HuberLoss
from fastconv.interop.pytorch.loss_modules import L1Loss as L1Loss
from fastconv.interop.pytorch.loss_modules import MSELoss as MSELoss
from fastconv.interop.pytorch.loss_modules import NLLLoss as NLLLoss
from fastconv.interop.pytorch.loss_modules import SmoothL1Loss as SmoothL1Loss
from fastconv.interop.pytorch.modules import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from fastconv.interop.pytorch.modules import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from fastconv.interop.pytorch.modules import AvgPool1d as AvgPool1d
from fastconv.interop.pytorch.modules import AvgPool2d as AvgPool2d
from fastconv.interop.pytorch.modules import BatchNorm1d as BatchNorm1d
from fastconv.interop.pytorch.modules import BatchNorm2d as BatchNorm2d
from fastconv.interop.pytorch.modules import Conv1d as Conv1d
from fastconv.interop.pytorch.modules import Conv2d as Conv2d
from fastconv.interop.pytorch.modules import ConvTranspose2d as ConvTranspose2d
from fastconv.interop.pytorch.modules import GroupNorm as GroupNorm
from fastconv.interop.pytorch.modules import InstanceNorm2d as InstanceNorm2d
from fastconv.interop.pytorch.modules import LayerNorm as LayerNorm
from fastconv.interop.pytorch.modules import Linear as Linear
from fastconv.interop.pytorch.modules import MaxPool1d as MaxPool1d
from fastconv.interop.pytorch.modules import MaxPool2d as MaxPool2d
from fastconv.interop.pytorch.modules import ReflectionPad2d as ReflectionPad2d
from fastconv.interop.pytorch.modules import Upsample as Upsample
from fastconv.interop.pytorch.modules import ZeroPad2d as ZeroPad2d
from fastconv.interop.pytorch.replacement import LayerReplacement as LayerReplacement
from fastconv.interop.pytorch.replacement import replace_layers as replace_layers
from fastconv.interop.pytorch.replacement import restore_layers as restore_layers
from fastconv.interop.pytorch.to_torch import to_torch as to_torch

_autocast.register()
