"""Layers of a model, replaced by those of fastconv where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from fastconv.interop.pytorch.layer_table import LAYERS, reason_to_leave

_WITHOUT_ARITHMETIC = (nn.Identity, nn.Flatten, nn.Unflatten)


@dataclass(frozen=True)
class LayerReplacement:
    """What became of the layers of a model.

    Parameters
    ----------
    replaced
        Layers that fastconv computes now, by their names in the model: their classes.
    left
        Layers that stayed as they were: why.
    """

    replaced: Mapping[str, str]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.replaced)} layers replaced, {len(self.left)} left"]
        return "\n".join([*lines, *(f"{name}: {why}" for name, why in self.left.items())])


def replace_layers(model: nn.Module) -> LayerReplacement:
    """Have fastconv compute every layer of a model that it has kernels for.

    The layers stay the same objects, with their parameters, hooks and places in the model: an
    optimiser that was made before goes on, and state dicts are the same. Their class becomes that
    of :mod:`fastconv.interop.pytorch` with the same name. Calls of ``torch.nn.functional`` in a
    model's own code are not layers, and stay.

    Parameters
    ----------
    model
        The model, or a single layer; changed in place.

    Returns
    -------
    LayerReplacement
        What was replaced and what was left, with the reasons. Layers without arithmetic, such as
        ``Flatten``, are in neither.

    Raises
    ------
    TypeError
        If it is no ``torch.nn.Module``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.1))
    >>> print(replace_layers(model))
    2 layers replaced, 1 left
    2: Dropout has no counterpart in fastconv
    >>> type(model[0]).__module__
    'fastconv.interop.pytorch.modules'
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"replace_layers: model is a {type(model).__name__}; expected a torch.nn.Module"
        )
    own = set(LAYERS.values())
    replaced, left = {}, {}
    for name, module in model.named_modules():
        kind = type(module)
        if kind in own or isinstance(module, _WITHOUT_ARITHMETIC):
            continue
        if kind not in LAYERS and any(True for _ in module.children()):
            continue  # what it holds is looked at by itself
        why = reason_to_leave(module)
        place = name or "(the model)"
        if why is not None:
            left[place] = why
            continue
        module.__class__ = LAYERS[kind]
        replaced[place] = kind.__name__
    return LayerReplacement(replaced, left)


def restore_layers(model: nn.Module) -> int:
    """Undo :func:`replace_layers`: every layer of fastconv is PyTorch's again.

    Parameters
    ----------
    model
        The model, or a single layer; changed in place.

    Returns
    -------
    int
        How many there were.

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU())
    >>> _ = replace_layers(model)
    >>> restore_layers(model), type(model[0]) is nn.ReLU
    (1, True)
    """
    theirs = {own: kind for kind, own in LAYERS.items()}
    count = 0
    for module in model.modules():
        if type(module) in theirs:
            module.__class__ = theirs[type(module)]
            count += 1
    return count
