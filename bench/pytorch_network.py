"""A workload's network and update rule in PyTorch, and fastconv's weights brought there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from workload import Workload, kind_and_settings

from fastconv.network import Sequential


class Residual(nn.Module):
    """Sum of what layers and a shortcut make of the input."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) + self.shortcut(x)


def network_of(workload: Workload) -> nn.Sequential:
    """The same layers, one module each. A ValueError for those that have no counterpart here."""
    h, w, c = workload.shape
    model, _ = _modules_of(workload.layers, c)
    model(torch.zeros(2, c, h, w))  # the lazy layers learn their sizes
    return model


def _modules_of(
    layers: Iterable[tuple[str, dict[str, Any]]], channels: int
) -> tuple[nn.Sequential, int]:
    """Modules one behind the other, and the channels that come out."""
    modules: list[nn.Module] = []
    c = channels
    for kind, own in layers:
        if kind == "conv2d":
            modules.append(
                nn.Conv2d(c, own["filters"], own["kernel"], own.get("stride", 1),
                          own.get("padding", 0), bias=own.get("bias", True))
            )  # fmt: skip
        elif kind == "batch_norm":
            modules.append(nn.BatchNorm2d(c))
        elif kind == "residual":
            inner, out = _modules_of(map(kind_and_settings, own["layers"]), c)
            shortcut: nn.Module = nn.Identity()
            if own.get("shortcut"):
                shortcut, out = _modules_of(map(kind_and_settings, own["shortcut"]), c)
            modules.append(Residual(inner, shortcut))
            c = out
        elif kind == "leaky_relu":
            modules.append(nn.LeakyReLU(own["alpha"], inplace=True))
        elif kind == "relu":
            modules.append(nn.ReLU(inplace=True))
        elif kind == "max_pool2d":
            modules.append(nn.MaxPool2d(own["kernel"]))
        elif kind == "global_avg_pool2d":
            modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        elif kind == "flatten":
            modules.append(nn.Flatten())
        elif kind == "dense":
            modules.append(nn.LazyLinear(own["units"]))
        else:
            raise ValueError(f"no PyTorch layer for {kind}")
        c = own.get("filters", c)
    return nn.Sequential(*modules), c


def optimizer_of(
    workload: Workload,
    parameters: Iterable[nn.Parameter],
    *,
    fused: bool,
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """The same update rule; ``capturable``: one that a CUDA graph can hold."""
    optimizer = workload.recipe.optimizer
    if optimizer.kind == "adam":
        return torch.optim.Adam(parameters, optimizer.lr, fused=fused, capturable=capturable)
    if optimizer.kind == "sgd":
        return torch.optim.SGD(parameters, optimizer.lr, fused=fused)
    if optimizer.kind == "nesterov":
        return torch.optim.SGD(
            parameters, optimizer.lr, optimizer.momentum, weight_decay=optimizer.weight_decay,
            nesterov=True, fused=fused,
        )  # fmt: skip
    raise ValueError(f"no PyTorch update for {optimizer.kind}")


def start_from(model: nn.Sequential, network: Sequential) -> None:
    """Give the model the weights of fastconv's network."""
    with torch.no_grad():
        for number, (name, module) in enumerate(zip(network.names, model, strict=True)):
            if not hasattr(module, "weight"):
                continue
            weight = network[f"{name}.weight"]
            if weight.ndim == 4:
                weight = weight.transpose(3, 2, 0, 1)
            else:
                inputs, units = weight.shape
                if number and isinstance(model[number - 1], nn.Flatten):
                    # PyTorch flattens images channel by channel.
                    image = network.shapes[number - 1]
                    weight = weight.reshape(*image, units).transpose(2, 0, 1, 3)
                weight = weight.reshape(inputs, units).T
            module.weight.copy_(torch.from_numpy(weight.copy()))
            module.bias.copy_(torch.from_numpy(network[f"{name}.bias"].copy()))
