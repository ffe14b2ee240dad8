"""CuPy itself compiles the CUDA sources, on a machine without a driver.

    python cupy_without_driver.py 90 conv.cu dense.cu

has the backend ask for the instances of each source, as the first launch of one does, and CuPy add
its own options, compile, map names, and keep and find what it made on disk. What stands in is the
module that would be loaded onto a card. Prints a JSON object with what came of each source.
"""

import json
import os
import sys
import tempfile
import types

from fastconv.backends.cupy.device import CudaDevice
from fastconv.backends.cupy.sources import instances_of

NO_OPTIMISATION = ("--Ofast-compile=max",)
"""An eighth of the time."""


class Module:
    """In place of CuPy's, which a driver loads."""

    code = mapping = None

    def load(self, code):
        self.code = code

    def _set_mapping(self, mapping):
        self.mapping = mapping


def asked_for(source):
    """What the backend gives CuPy's RawModule for a source: its arguments by name."""
    device, asked = CudaDevice(), []
    card = types.SimpleNamespace(Device=lambda: types.SimpleNamespace(id=0))
    device.arrays = types.SimpleNamespace(cuda=card, RawModule=lambda **given: asked.append(given))
    device._module(source, tuple(instances_of(source, "float32", "float32")))
    return asked[0]


def compile_by_cupy(given, architecture):
    """Have CuPy compile what RawModule was given, or find it on disk; the module."""
    from cupy._core import core
    from cupy.cuda import compiler, function

    compile_module, made = compiler._compile_module_with_cache, []
    whole = function.Module

    def keeping(source, added, **more):
        compiler.function = types.SimpleNamespace(Module=Module)
        # The original asks the driver which card is current, to remember the answer for it.
        compiler._get_arch_for_options_for_nvrtc = architecture_option
        made.append(compile_module(source, added, **more))
        return whole()

    architecture_option = getattr(
        compiler._get_arch_for_options_for_nvrtc, "__wrapped__", architecture_of
    )
    compiler._compile_module_with_cache = keeping
    try:
        core.compile_with_cache(
            given["code"], given["options"] + NO_OPTIMISATION, arch=architecture,
            prepend_cupy_headers=False, name_expressions=given["name_expressions"],
        )  # fmt: skip
    finally:
        compiler._compile_module_with_cache = compile_module
        compiler.function = function
    return made[0]


def architecture_of(architecture):
    """What CuPy makes of an architecture that its compiler knows."""
    return f"-arch=sm_{architecture}", "cubin"


def main(architecture, *sources):
    """Compile sources twice each, and print what came of it."""
    import cupy

    compiled, programs = {}, []

    class Program(cupy.cuda.compiler._NVRTCProgram):
        """CuPy's, which says which options it was given in the end."""

        def compile(self, options=(), log_stream=None):
            programs.append(list(options))
            return super().compile(options, log_stream)

    cupy.cuda.compiler._NVRTCProgram = Program
    for source in sources:
        given = asked_for(source)
        first = compile_by_cupy(given, architecture)
        compilations = len(programs)
        again = compile_by_cupy(given, architecture)
        compiled[source] = {
            "wanted": list(given["name_expressions"]),
            "mapping": first.mapping,
            "mapping_again": again.mapping,
            "code": len(first.code),
            "same_code": first.code == again.code,
            "missing": [name for name in first.mapping.values() if name.encode() not in first.code],
            "options": programs[-1],
            "compiled_again": len(programs) - compilations,
        }
    json.dump({"version": cupy.__version__, "sources": compiled}, sys.stdout)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CUPY_CACHE_DIR"] = cache  # nothing that was made before
        main(*sys.argv[1:])
