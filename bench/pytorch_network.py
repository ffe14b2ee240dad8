"""A workload's network and update rule in PyTorch, and fastconv's weights brought there."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from workload import Workload

from fastconv.network import Sequential


def network_of(workload: Workload) -> nn.Sequential:
    """The same layers, one module each. A ValueError for those that have no counterpart here."""
    modules: list[nn.Module] = []
    h, w, c = workload.shape
    image = torch.zeros(1, c, h, w)
    for kind, own in workload.layers:
        if kind == "conv2d":
            modules.append(
                nn.Conv2d(c, own["filters"], own["kernel"], own.get("stride", 1),
                          own.get("padding", 0))
            )  # fmt: skip
        elif kind == "leaky_relu":
            modules.append(nn.LeakyReLU(own["alpha"], inplace=True))
        elif kind == "relu":
            modules.append(nn.ReLU(inplace=True))
        elif kind == "max_pool2d":
            modules.append(nn.MaxPool2d(own["kernel"]))
        elif kind == "flatten":
            modules.append(nn.Flatten())
        elif kind == "dense":
            modules.append(nn.LazyLinear(own["units"]))
        else:
            raise ValueError(f"no PyTorch layer for {kind}")
        c = own.get("filters", c)
    model = nn.Sequential(*modules)
    model(image)  # the lazy layers learn their sizes
    return model


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
