"""The two steps of the build that pyproject.toml cannot say.

* ``kernels/cpu`` becomes the extension module ``fastconv.backends.cython._engine``: ``engine.pyx``
  and every ``.c``, one file for each instruction set. Where that fails, the install goes on
  without it: a banner on stderr says so, and the reason is recorded in
  ``fastconv/backends/cython/_build_failure.txt``, because pip hides what a build prints. With the
  environment variable ``FASTCONV_REQUIRE_CYTHON=1`` it is an error.
* A wheel holds ``kernels/cuda`` as ``fastconv/kernels/cuda``. An editable install reads it in
  place.

The flags are those of any machine of the architecture: one wheel for all of them.
"""

import importlib.util
import os
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

PACKAGE = "fastconv.backends.cython"
FAILURE_FILE = "_build_failure.txt"
FIX = (
    "install a C compiler and the Python headers (Debian, Ubuntu: apt install gcc python3-dev; "
    "Fedora: dnf install gcc python3-devel; macOS: xcode-select --install), then install fastconv "
    "again with pip install -v --force-reinstall --no-deps --no-cache-dir"
)


def extensions():
    headers = sorted(path.as_posix() for path in Path("kernels/cpu").glob("*.h"))
    sources = sorted(path.as_posix() for path in Path("kernels/cpu").glob("*.c"))
    engine = Extension(
        f"{PACKAGE}._engine",
        sources=["kernels/cpu/engine.pyx", *sources],
        include_dirs=["kernels/cpu", "fastconv/include"],
        depends=[
            *headers,
            "kernels/cpu/dlpack.pxi",
            "kernels/cpu/kept_calls.pxi",
            "fastconv/include/fastconv.h",
            "fastconv/backends/cython/_engine.pxd",
        ],
        # A failure is ours to report, and copying to the source tree must not repeat it.
        optional=True,
    )
    engine.cython_c_in_temp = True  # no generated C beside the source
    engine.cython_include_dirs = ["."]  # its .pxd is in the package
    return [engine]


def reason_for(fault):
    """Say in one line why a module could not be built, guessing the commonest causes."""
    if importlib.util.find_spec("Cython") is None:
        return "Cython is not installed where the build runs"
    text = " ".join(str(fault).split())
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.is_file():
        return f"the Python headers are missing (no {header}): {text}"
    return f"no working C compiler: {text}"


def banner(reasons):
    """Lines that say what is missing, what works all the same, and how to get the rest."""
    rule = "*" * 88
    return "\n".join(
        [
            "",
            rule,
            "* fastconv is being installed WITHOUT its 'cython' backend.",
            "*",
            *(f"* {reason}" for reason in reasons),
            "*",
            "* Everything else works: the numpy and numba backends, training, and cupy where there",
            "* is a CUDA device. fastconv.show_config() will repeat the reason.",
            "*",
            f"* To get it: {FIX}.",
            "* FASTCONV_REQUIRE_CYTHON=1 makes this an error.",
            rule,
            "",
        ]
    )


class BuildKernels(build_ext):
    """Compile what can be compiled, and record why the rest could not be."""

    def run(self):
        self.failed = {}
        super().run()
        if not self.extensions:
            return
        for name in self.failed:
            # What an earlier build left there would be a module of another source.
            Path(self.get_ext_fullpath(name)).unlink(missing_ok=True)
        record = Path(self.get_ext_fullpath(self.extensions[0].name)).with_name(FAILURE_FILE)
        if not self.failed:
            record.unlink(missing_ok=True)
            return
        reasons = [f"{name} could not be built: {why}" for name, why in self.failed.items()]
        if os.environ.get("FASTCONV_REQUIRE_CYTHON") == "1":
            raise SystemExit(
                f"setup.py: FASTCONV_REQUIRE_CYTHON is 1 but {'; '.join(reasons)}; {FIX}"
            )
        record.parent.mkdir(parents=True, exist_ok=True)
        new = record.with_suffix(".new")
        new.write_text(f"{'; '.join(reasons)}; {FIX}\n", encoding="utf-8")
        new.replace(record)
        print(banner(reasons), file=sys.stderr, flush=True)

    def build_extension(self, ext):
        if self.compiler.compiler_type == "msvc":
            # Atomics of C11 are an experiment there, and only there with its own flag.
            ext.extra_compile_args = ["/O2", "/std:c11", "/experimental:c11atomics"]
        else:
            ext.extra_compile_args = [
                "-O3", "-g0", "-pthread", "-ffp-contract=fast",
                # Nobody reads errno or the exception flags; with them, a root is no vector.
                "-fno-math-errno", "-fno-trapping-math",
                # No exception of C++ passes here; without them a wheel is 65 KB smaller.
                "-fno-asynchronous-unwind-tables",
            ]  # fmt: skip
            ext.extra_link_args = ["-pthread"]
            if sys.platform == "linux" and "bdist_wheel" in self.distribution.commands:
                # Names of functions are for who develops them: a wheel is 45 KB smaller without.
                ext.extra_link_args.append("-Wl,-s")
        self.compiler.compile = one_by_one(type(self.compiler).compile.__get__(self.compiler))
        try:
            super().build_extension(ext)
        # Whatever it is, from a missing compiler to one that crashes: it must not end the install.
        except Exception as fault:
            self.failed[ext.name] = reason_for(fault)
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)


def one_by_one(compile_sources):
    """Compile each source by itself, as many at once as there are processors."""

    def compile_all(sources, *arguments, **options):
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            made = threads.map(lambda one: compile_sources([one], *arguments, **options), sources)
            return [path for paths in made for path in paths]

    return compile_all


class BuildPackage(build_py):
    """Copy the CUDA sources into the package that is being built."""

    def kernels(self):
        """Pairs (source, place in the built package); none in an editable install."""
        if self.editable_mode:
            return []
        target = Path(self.build_lib, "fastconv", "kernels", "cuda")
        sources = sorted(p for p in Path("kernels/cuda").iterdir() if p.suffix in (".cu", ".cuh"))
        return [(source.as_posix(), (target / source.name).as_posix()) for source in sources]

    def run(self):
        super().run()
        for source, target in self.kernels():
            self.mkpath(os.path.dirname(target))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *(target for _, target in self.kernels())]

    def get_output_mapping(self):
        return {**super().get_output_mapping(), **{new: old for old, new in self.kernels()}}


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels, "build_py": BuildPackage},
)
