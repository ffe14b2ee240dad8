"""A contender of bench/predictor.py in a process of its own; it answers as contender.py does.

A step is a prediction: from a batch of images that is ready in memory to an array of scores.
fastconv gets the bytes of a data set and scales them; the peers get float32 that is scaled already.
All have weights that nobody changes: fastconv's predictor is frozen.
Before it answers, each of them is held against scores of fastconv's NumPy backend.
"""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
from contender import READY_BATCHES, Step, answer
from numpy.typing import NDArray
from workload import Workload

import fastconv
from fastconv.preprocessing import Preprocessing

_TOLERANCE = 1e-3


def _batches(workload: Workload) -> list[NDArray[np.uint8]]:
    """Batches of random images."""
    generator = np.random.default_rng(0)
    shape = (workload.batch, *workload.shape)
    return [generator.integers(0, 256, shape, np.uint8) for _ in range(READY_BATCHES)]


def _predictor(workload: Workload, backend: str, threads: int) -> fastconv.Predictor:
    scale = Preprocessing("scale")
    return fastconv.Predictor(
        workload.network(), backend=backend, threads=threads, preprocessing=scale, frozen=True
    )


def _check(workload: Workload, who: str, scores: NDArray[np.float32]) -> None:
    """Raise unless the scores of the first images are those of the NumPy backend."""
    expected = _predictor(workload, "numpy", 1)(_batches(workload)[0][:4])
    error = float(np.abs(scores[:4] - expected).max() / np.abs(expected).max())
    if not error < _TOLERANCE:
        raise SystemExit(f"bench/predicting.py: {who}: scores differ by {error:.1e}")


def fastconv_backend(workload: Workload, backend: str, threads: int) -> dict[str, Step]:
    """A predictor on one of the backends."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)  # of the matrix products of the numpy backend
    predictor, batches = _predictor(workload, backend, threads), _batches(workload)
    _check(workload, backend, predictor(batches[0]))

    def run(times: int) -> None:
        for number in range(times):
            predictor(batches[number % READY_BATCHES])

    return {f"fastconv {backend}": run}


def pytorch(workload: Workload, threads: int) -> dict[str, Step]:
    """torch.inference_mode: eager in both memory formats, and compiled where it compiles."""
    import torch
    from pytorch_network import network_of, start_from

    torch.set_num_threads(threads)
    model = network_of(workload).eval()
    start_from(model, workload.network())
    scaled = [np.float32(1 / 255) * batch.transpose(0, 3, 1, 2) for batch in _batches(workload)]

    def variant(model: torch.nn.Module, memory_format: torch.memory_format) -> Step:
        made = model.to(memory_format=memory_format)
        ready = [torch.from_numpy(x).contiguous(memory_format=memory_format) for x in scaled]

        def run(times: int) -> None:
            with torch.inference_mode():
                for number in range(times):
                    made(ready[number % READY_BATCHES]).numpy()

        with torch.inference_mode():
            _check(workload, "PyTorch", made(ready[0]).numpy())
        return run

    variants = {}
    for name, memory_format in (
        ("eager NCHW", torch.contiguous_format),
        ("eager channels_last", torch.channels_last),
    ):
        variants[f"PyTorch {name}"] = variant(model, memory_format)
    try:
        compiled = torch.compile(model, dynamic=False)
        variants["PyTorch compiled"] = variant(compiled, torch.channels_last)
    except Exception as fault:  # no compiler here
        print(f"PyTorch compiled: left out, {type(fault).__name__}", file=sys.stderr)
    return variants


def onnxruntime(workload: Workload, threads: int) -> dict[str, Step]:
    """The network as PyTorch exports it."""
    import onnxruntime as ort
    import torch
    from pytorch_network import network_of, start_from

    model = network_of(workload).eval()
    start_from(model, workload.network())
    scaled = [
        np.ascontiguousarray(np.float32(1 / 255) * batch.transpose(0, 3, 1, 2))
        for batch in _batches(workload)
    ]
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs a package more.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(model, (torch.from_numpy(scaled[0]),), file, dynamo=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    _check(workload, "onnxruntime", session.run(None, {name: scaled[0]})[0])

    def run(times: int) -> None:
        for number in range(times):
            session.run(None, {name: scaled[number % READY_BATCHES]})

    return {"onnxruntime": run}


def main() -> None:
    """Get ready, then answer."""
    who, recipe, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    workload = Workload.of(recipe, batch)
    if who.startswith("fastconv-"):
        answer(fastconv_backend(workload, who.removeprefix("fastconv-"), threads))
    else:
        answer({"pytorch": pytorch, "onnxruntime": onnxruntime}[who](workload, threads))


if __name__ == "__main__":
    main()
