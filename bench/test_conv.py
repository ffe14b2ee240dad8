"""``pytest bench/ --benchmark-only``: kernels by spec, backends side by side."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.selection import NAMES, backend_state, load_kernel
from fastconv.spec import ConvSpec

SPECS = [
    ConvSpec.parse(text)
    for text in (
        "g1mb1ic3ih32iw32oc32kh3kw3sh1sw1ph0pw0dh1dw1",
        "g1mb1ic32ih30iw30oc32kh3kw3sh1sw1ph0pw0dh1dw1",
        "g1mb32ic32ih14iw14oc64kh3kw3sh1sw1ph0pw0dh1dw1",
        "g1mb32ic64ih12iw12oc64kh3kw3sh1sw1ph0pw0dh1dw1",
        "g1mb32ic64ih14iw14oc128kh1kw1sh1sw1ph0pw0dh1dw1",
        "g64mb32ic64ih14iw14oc64kh3kw3sh1sw1ph1pw1dh1dw1",
        "g1mb8ic64ih28iw28oc128kh3kw3sh2sw2ph1pw1dh1dw1",
        "g1mb8ic17ih27iw27oc17kh3kw3sh1sw1ph2pw2dh2dw2",
        "g4mb8ic64ih14iw14oc64kh3kw3sh1sw1ph1pw1dh1dw1",
    )
]


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("direction", ["forward", "backward_data", "backward_weight"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_conv2d(benchmark, spec: ConvSpec, direction: str, backend: str) -> None:
    if not backend_state(backend).works:
        pytest.skip(f"{backend}: {backend_state(backend).reason}")
    generator = np.random.default_rng(0)
    x, w, dy = (
        generator.normal(size=shape).astype(np.float32)
        for shape in (spec.x_shape, spec.w_shape, spec.y_shape)
    )
    b = np.zeros(spec.out_channels, np.float32)
    arrays = {
        "forward": (x, w, b, np.empty_like(dy)),
        "backward_data": (dy, w, np.empty_like(x)),
        "backward_weight": (dy, x, np.empty_like(w), np.empty_like(b)),
    }[direction]
    started = time.perf_counter()
    kernel, workspace_bytes = load_kernel(backend, f"conv.conv2d_{direction}")
    workspace = np.empty(workspace_bytes(f"conv2d_{direction}", spec, np.float32), np.uint8)
    kernel(spec, *arrays, workspace)
    cold = time.perf_counter() - started
    benchmark.group = f"{spec} {direction}"
    benchmark(kernel, spec, *arrays, workspace)
    benchmark.extra_info.update(
        gflops=spec.flops / benchmark.stats.stats.median * 1e-9,
        threads=default_threads(),
        runs_on=backend_state(backend).reason,
        cold_seconds=cold,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
