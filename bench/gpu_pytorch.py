"""PyTorch's training step on a GPU: step by step, as a CUDA graph, and compiled.

A step does what fastconv's does: it gathers uint8 images and labels by index from a data set on the
card, brings the images to a common scale, and trains on them. What fastconv does besides, adding up
loss and accuracy, is left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from pytorch_network import network_of, optimizer_of, start_from
from torch import nn
from turns import MOST_STEPS, STEPS_OF_A_PIECE, Contender, Run
from workload import Workload

from fastconv.data import training_statistics

EAGER, GRAPH, COMPILED = "PyTorch eager", "PyTorch CUDA graph", "torch.compile"
PEERS = {"eager": EAGER, "graph": GRAPH, "compile": COMPILED}
LAYOUTS = ("contiguous", "channels_last")
_WARM_UP_STEPS = 3


def set_precision(precision: str) -> None:
    """Let products of float32 numbers be exact, or made by tensor cores from TF32.

    With bf16, :class:`BatchLoss` asks for its numbers itself.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


class BatchLoss(nn.Module):
    """The mean loss of the images with these numbers.

    The data set is part of the module, so that a compiler knows that it stays where it is.
    """

    def __init__(self, workload: Workload, layout: str, precision: str, device: str) -> None:
        super().__init__()
        section = workload.recipe.preprocessing
        self._kind = section.kind
        if section.mean is not None or (self._kind == "standardize" and section.per != "channel"):
            raise ValueError("no PyTorch standardization by given numbers, or by feature")
        self._channels_last, self._precision = layout == "channels_last", precision
        self._device_kind = torch.device(device).type
        model = network_of(workload)
        start_from(model, workload.network())
        formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
        self.model = model.to(device, memory_format=formats[layout])
        images = workload.images()
        if self._kind == "standardize":
            statistics = training_statistics(images, "channel")
            for name, values in zip(("mean", "std"), statistics, strict=True):
                each = torch.from_numpy(values).float().reshape(1, -1, 1, 1)
                self.register_buffer(name, each.to(device))
        kept = torch.from_numpy(images)
        if not self._channels_last:
            kept = kept.permute(0, 3, 1, 2).contiguous()
        self.register_buffer("images", kept.to(device))
        self.register_buffer("labels", torch.from_numpy(workload.labels()).to(device))
        self._criterion = nn.CrossEntropyLoss()

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Loss of the images with the numbers ``indices``, int64 (batch,)."""
        x = self.images.index_select(0, indices)
        if self._channels_last:
            x = x.permute(0, 3, 1, 2)
        x = self._scaled(x.float())
        bf16 = self._precision == "bf16"
        with torch.autocast(self._device_kind, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return self._criterion(self.model(x), self.labels.index_select(0, indices))

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        if self._kind == "min_max":
            low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
            return (x - low) / (high - low)
        if self._kind == "standardize":
            return (x - self.mean) / self.std
        return x / 255 if self._kind == "scale" else x


class Training:
    """A training whose images, and their order, are on the card; ``in_graph``: it is recorded."""

    def __init__(
        self,
        workload: Workload,
        layout: str,
        precision: str,
        device: str = "cuda",
        in_graph: bool = False,
        compile_with: Callable[[nn.Module], Callable[..., torch.Tensor]] = lambda module: module,
    ) -> None:
        set_precision(precision)
        loss = BatchLoss(workload, layout, precision, device)
        self._loss_of = compile_with(loss)
        self._optimizer = optimizer_of(
            workload, loss.model.parameters(), fused=True, capturable=in_graph
        )
        self._all = workload.order(MOST_STEPS)
        self._order = torch.from_numpy(self._all).to(device)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)

    def step(self, indices: torch.Tensor) -> torch.Tensor:
        """Make one step with the images of these numbers; return its loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of(indices)
        loss.backward()
        self._optimizer.step()
        return loss

    def next_step(self) -> torch.Tensor:
        """Make a step with the next row of the order, which a number on the card tells."""
        indices = self._order.index_select(0, self._next)[0]
        self._next.add_(1)
        return self.step(indices)

    def begin(self, steps: int) -> None:
        """Bring the order of the next steps to the card, as a training does."""
        self._order[:steps].copy_(torch.from_numpy(self._all[:steps]))
        self._next.zero_()

    def one_by_one(self, steps: int) -> None:
        """Make steps, each launched by Python."""
        self.begin(steps)
        for number in range(steps):
            self.step(self._order[number])

    def compiled(self, steps: int) -> None:
        """The same where the compiler's own graphs keep their results in one place."""
        self.begin(steps)
        for number in range(steps):
            torch.compiler.cudagraph_mark_step_begin()
            self.step(self._order[number])

    def recorded(self) -> Run:
        """Record a piece of steps as a CUDA graph; what is returned replays it."""
        self.begin(_WARM_UP_STEPS)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                self.next_step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(STEPS_OF_A_PIECE):
                self.next_step()

        def run(steps: int) -> None:
            self.begin(steps)
            for _ in range(steps // STEPS_OF_A_PIECE):
                graph.replay()

        return run


def seconds_of(work: Callable[[], None]) -> float:
    """Time work between two events of the current stream."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def _prepared(workload: Workload, kind: str, layout: str, precision: str) -> Run:
    if kind == "graph":
        return Training(workload, layout, precision, in_graph=True).recorded()
    if kind == "eager":
        return Training(workload, layout, precision).one_by_one
    fast = functools.partial(torch.compile, mode="reduce-overhead", dynamic=False)
    return Training(workload, layout, precision, compile_with=fast).compiled


def contenders(workload: Workload, precision: str, peers: list[str]) -> list[Contender]:
    """The peers in both memory formats."""
    if "compile" in peers:
        # Other sizes are forgotten. Not in between: what is compiled would be compiled again.
        torch.compiler.reset()
    return [
        Contender(
            PEERS[kind],
            layout,
            functools.partial(_prepared, workload, kind, layout, precision),
            seconds_of,
        )
        for kind in peers
        for layout in LAYOUTS
    ]


def why_not() -> str | None:
    """Why PyTorch has no card here, or None."""
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no CUDA device"
    return None


def version() -> str:
    """PyTorch's version, and those of the libraries that it brings along."""
    cudnn = torch.backends.cudnn.version()
    return f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


def use_device(number: int) -> None:
    """Compute on the card of this number from here on."""
    torch.cuda.set_device(number)


def release() -> None:
    """Give back the memory of what is gone."""
    torch.cuda.empty_cache()
