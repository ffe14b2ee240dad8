"""PyTorch's steps, from tensors that are ready: both memory formats, with its fused update too."""

from __future__ import annotations

from typing import Any

from fastconv._extras import missing_extra

try:
    import torch
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.compare", fault) from None

from fastconv.compare.setting import LEARNING_RATE, MOMENTUM, READY_BATCHES, Setting, Steps
from fastconv.interop.pytorch import to_torch

_FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def variants(setting: Setting, threads: int) -> dict[str, Steps]:
    """Return what makes training steps, by how it does.

    Parameters
    ----------
    setting
        What is trained.
    threads
        As many at most; one is tried too.
    """
    return {
        f"{layout}{', fused update' if fused else ''}, {count} thread{'s'[: count - 1]}": _steps(
            setting, count, memory_format, fused
        )
        for count in sorted({1, threads})
        for layout, memory_format in _FORMATS.items()
        for fused in (False, True)
    }


def _steps(setting: Setting, threads: int, memory_format: Any, fused: bool) -> Steps:
    images, labels = setting.batches()
    ready = [
        torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        for batch in images
    ]
    targets = [torch.from_numpy(each) for each in labels]
    model: Any = to_torch(setting.network()).to(memory_format=memory_format).train()
    update = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, fused=fused)
    loss_of = torch.nn.CrossEntropyLoss()

    def run(steps: int) -> None:
        torch.set_num_threads(threads)
        for number in range(steps):
            update.zero_grad(set_to_none=True)
            batch = number % READY_BATCHES
            loss_of(model(ready[batch]), targets[batch]).backward()
            update.step()

    return run
