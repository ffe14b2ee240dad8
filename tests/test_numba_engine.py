"""The Numba engine: compiling, keeping what was compiled, threads, and the end of a process."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv
from fastconv.execution.config import ExecutionConfig

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed", allow_module_level=True)

import numba
from kernel_calls import KERNELS, calls_of, specs_of
from watched import run

from fastconv.backends.compiled.instructions.instruction import Instruction, arrays, encode
from fastconv.backends.compiled.instructions.kernels import BF16_KERNELS, Kernel
from fastconv.backends.compiled.instructions.layout import BARRIER, MAX_THREADS
from fastconv.backends.compiled.instructions.layouts import LAYOUTS
from fastconv.backends.compiled.lowering import lowered_kernels
from fastconv.backends.compiled.rules import split
from fastconv.backends.numba import (
    compilation,
    compiled_code,
    engine,
    fields,
    instruction_set,
    thread_pool,
    thread_pool_words,
    tile_table,
    tiles,
)
from fastconv.backends.numba.exponential import exponential, exponential_minus_one
from fastconv.backends.numba.optim import sgd_update
from fastconv.backends.numba.pointers import pointer
from fastconv.backends.numba.vector_functions import multiply_add
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of
from fastconv.backends.selection import backend_state
from fastconv.plans.operation import (
    ActivationSpec,
    DropoutSpec,
    NormSpec,
    OptimizerSpec,
    RandomSpec,
)
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.spec import DenseSpec

PACKAGE = Path(fastconv.__file__).parent
TESTS = Path(__file__).parent

compiled = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: nothing is compiled"
)
needs_threads = pytest.mark.skipif(os.name != "posix", reason="no POSIX threads: no pools")


def python(code, *, path=PACKAGE.parent, **environment):
    """Run Python in a process of its own; what it printed, its warnings among it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{TESTS}", **environment},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# What was compiled is kept.

TANH = """
    import numpy as np
    from fastconv.backends.numba import activation, compiled_code
    from fastconv.plans.operation import ActivationSpec
    x = np.array([0.5, -2.0])
    activation.activation_forward(ActivationSpec("tanh", 2), x, x, None)
    print(*np.round(x, 4), "from disk:", compiled_code._taken == set(compiled_code._addresses))
"""


@pytest.fixture
def copied(tmp_path):
    """A copy of the package that may be changed."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "recipes", "data")
    shutil.copytree(PACKAGE, tmp_path / "copy" / "fastconv", ignore=ignored)
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the code that a process compiled."""
    folder = tmp_path_factory.mktemp("kept")
    assert python(TANH, NUMBA_CACHE_DIR=str(folder)) == "0.4621 -0.964 from disk: False\n"
    return folder


@pytest.fixture
def kept_copy(kept, tmp_path, monkeypatch):
    """The file of a kernel in a folder of one's own, where this process looks for compiled code."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    (file,) = folder.glob("activation_forward*.o")
    return file


def is_found(file):
    """Whether this process would take the code of a file."""
    return compiled_code._load(file.name.partition(".")[0]) is not None


@compiled
def test_a_second_process_takes_compiled_code_from_disk(kept):
    assert python(TANH, NUMBA_CACHE_DIR=str(kept)) == "0.4621 -0.964 from disk: True\n"


def test_only_variables_that_change_the_code_are_in_the_names_of_its_files(monkeypatch):
    def name(**variables):
        with monkeypatch.context() as patch:
            for key, value in variables.items():
                patch.setenv(key, value)
            compiled_code._surroundings_hash.cache_clear()
            return compiled_code._file_name("tanh")

    try:
        plain = name()
        others = {"NUMBA_NUM_THREADS": "3", "NUMBA_FULL_TRACEBACKS": "1", "NUMBA_CACHE_DIR": "/"}
        assert name(**others) == plain
        assert len({plain, name(NUMBA_OPT="1"), name(NUMBA_CPU_NAME="generic")}) == 3
    finally:
        compiled_code._surroundings_hash.cache_clear()


def test_of_other_surroundings_the_latest_files_are_kept(tmp_path):
    sources = compiled_code.sources_hash()
    for number in range(12):
        file = tmp_path / f"tanh.{sources}.{number:016x}.o"
        file.write_bytes(b"")
        os.utime(file, (number, number))
    (tmp_path / f"tanh.{'0' * 16}.{11:016x}.o").write_bytes(b"")
    (tmp_path / "somebody's.o").write_bytes(b"")
    own = tmp_path / compiled_code._file_name("tanh")
    own.write_bytes(b"")
    os.utime(own, (0, 0))
    compiled_code._remove_stale_files(tmp_path)
    kept = {f"tanh.{sources}.{number:016x}.o" for number in range(5, 12)}
    assert {file.name for file in tmp_path.iterdir()} == kept | {own.name, "somebody's.o"}


@compiled
def test_compiled_code_is_stale_when_another_file_of_the_backend_changes(copied, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    python(TANH, path=copied, **cache)
    # The kernel is in activation.py; what it calls is changed.
    file = copied / "fastconv" / "backends" / "numba" / "exponential.py"
    source = file.read_text(encoding="utf-8")
    assert "select(x > 0, -t, t)" in source
    file.write_text(source.replace("select(x > 0, -t, t)", "select(x > 0, t, -t)"), "utf-8")
    before = sorted((tmp_path / "cache").rglob("*.o"))
    assert python(TANH, path=copied, **cache) == "-0.4621 0.964 from disk: False\n"
    after = sorted((tmp_path / "cache").rglob("*.o"))
    assert len(after) == len(before) > 0
    assert not set(after) & set(before), "what is stale is removed"


@compiled
def test_a_cache_that_cannot_be_written_is_one_warning_that_names_the_variable(copied, tmp_path):
    file = tmp_path / "file"
    file.touch()
    # Nowhere: not where the user says, not beside the sources, not in the user's cache folder.
    (copied / "fastconv" / "backends" / "numba" / "__pycache__").touch()
    nowhere = str(file / "below")
    places = {"NUMBA_CACHE_DIR": nowhere, "XDG_CACHE_HOME": nowhere, "HOME": nowhere}
    twice = TANH + TANH.replace("tanh", "relu")
    output = python(twice, path=copied, PYTHONDONTWRITEBYTECODE="1", **places)
    assert "0.4621 -0.964 from disk: False\n" in output
    assert output.count("RuntimeWarning") == 1
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in output


@compiled
def test_a_full_disk_is_a_warning_too(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled_code, "_warned", False)
    word = numba.types.int64

    def one_more(address):
        pointer(address, np.int64)[0] += 1

    def compile_now(name):
        return compilation.compile_function(one_more, name, numba.types.void(word))

    with pytest.warns(RuntimeWarning, match=r"No space left .* NUMBA_CACHE_DIR"):
        address = compiled_code.address_of_function("one_more", compile_now)
    number = np.array([41])
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(address)(number.ctypes.data)
    assert number[0] == 42
    assert list(tmp_path.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        compiled_code.address_of_function("one_more_again", compile_now)


TRAINING = """
import sys
import numpy as np
from fastconv.execution.config import ExecutionConfig
from fastconv.runs.experiment import prepare
from fastconv.recipe import load_recipe
from fastconv.profiling.step_profile import synthetic_dataset
recipe = load_recipe("mnist-strided", [("batch_size", 5)])
dataset = synthetic_dataset(recipe, 50)
trainer = prepare(recipe, dataset=dataset, config=ExecutionConfig("numba")).trainer
trainer.train(3)
print("numba" in sys.modules)
"""


@compiled
def test_a_process_that_trains_with_kept_code_does_not_import_numba(tmp_path):
    assert python(TRAINING, NUMBA_CACHE_DIR=str(tmp_path)) == "True\n"
    assert python(TRAINING, NUMBA_CACHE_DIR=str(tmp_path)) == "False\n"


@compiled
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files here")
@pytest.mark.parametrize("part", ["folder", "file", "owner"])
def test_code_that_others_could_have_written_is_not_run(kept_copy, part):
    if part == "folder":
        kept_copy.parent.chmod(0o777)
    elif part == "file":
        kept_copy.chmod(0o666)
    elif os.geteuid() == 0:
        os.chown(kept_copy, 65534, 65534)
    else:
        pytest.skip("only the superuser gives files away")
    assert not is_found(kept_copy)


@compiled
def test_a_damaged_file_is_compiled_anew(kept_copy):
    good = kept_copy.read_bytes()
    for bad in (good[:-1], good[:-1] + b"?", b"", b"{}\n", b"[1]\nabc"):
        kept_copy.write_bytes(bad)
        assert not is_found(kept_copy), bad[-9:]
    assert python(TANH) == "0.4621 -0.964 from disk: False\n"
    assert is_found(kept_copy)
    assert python(TANH) == "0.4621 -0.964 from disk: True\n"


@compiled
def test_every_kernel_is_kept():
    engine.import_kernels()
    bytes_ = engine.target().vector_bytes
    for name in compilation._makers:
        engine.address_of(name, "float32")
    wanted = {f"{name}_float32_{bytes_}" for name in compilation._makers}
    for name in ("run", "prepare", "work"):
        thread_pool._function(name)
    wanted |= {f"thread_pool_{name}" for name in ("run", "prepare", "work")}
    run("numba", calls_of("dense.dense_forward", DenseSpec(3, 5, 7), np.float64)[0])
    tiles = {name for name in compiled_code._addresses if name.startswith("tile_deep")}
    assert tiles
    wanted |= tiles
    files = {file.name for folder in compiled_code._folders() for file in folder.glob("*.o")}
    lacking = {name for name in wanted if compiled_code._file_name(name) not in files}
    assert lacking == set()


def test_what_another_process_lacks_is_not_kept():
    assert compiled_code.can_be_linked(["PyErr_Clear", "numba_unpickle"])
    assert not compiled_code.can_be_linked(["PyErr_Clear", "numba_something_new"])


def test_asking_what_the_backend_can_do_does_not_import_numba():
    code = """
        import sys, fastconv.backends.numba as backend
        print(backend.unavailable_because(), "numba" in sys.modules)
        print(backend.description(), "numba" in sys.modules)
    """
    first, second = python(code, FASTCONV_THREADS="2").splitlines()
    assert first == "None False"
    version, name = numba.__version__, engine.target().name
    assert second == f"numba {version}, {name}, 2 threads False"


# Every kernel in plain Python, and with narrower vectors.

ALL_KERNELS = """
    import warnings
    warnings.simplefilter("error")
    import numpy as np
    from kernel_calls import KERNELS, calls_of, specs_of
    from tolerances import assert_close
    from watched import run
    from fastconv.backends.numba import compilation, compiled_code
    done = 0
    for kernel in KERNELS:
        for spec in specs_of(kernel)[:2]:
            for call in calls_of(kernel, spec, np.float32):
                expected = run("reference", call.in_float64())
                for name, actual in run("numba", call).items():
                    label, scale = f"{call}: {name}", call.scale_of(name)
                    assert_close(actual, expected[name], kernel, label, scale=scale)
                    done += 1
    in_python = {type(made).__name__ for made in compilation._kept} == {"function"}
    print(done > 50, "in Python" if in_python else "compiled", len(compiled_code._addresses) > 50)
"""


def test_kernels_run_as_plain_python_without_the_compiler():
    assert python(ALL_KERNELS, NUMBA_DISABLE_JIT="1") == "True in Python True\n"


@compiled
@pytest.mark.nightly
def test_kernels_do_the_same_with_vectors_of_one_element():
    assert python(ALL_KERNELS, FASTCONV_ISA="plain") == "True compiled True\n"


# The instruction set.


def chosen():
    return instruction_set.target.__wrapped__()


def test_a_narrower_instruction_set_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("FASTCONV_ISA", "plain")
    assert (chosen().name, chosen().vector_bytes, chosen().lanes("float32")) == ("plain", 0, 1)


def test_an_unknown_instruction_set_is_an_error_that_lists_those_there_are(monkeypatch):
    monkeypatch.setenv("FASTCONV_ISA", "avx1024")
    with pytest.raises(ValueError, match=r"FASTCONV_ISA is 'avx1024'; expected one of .*plain"):
        chosen()


@pytest.mark.parametrize(
    ("features", "bytes_"),
    [
        ("+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl", 64),
        ("+avx2,+fma,+avx512f,-avx512bw", 32),
        ("+avx2,-fma", 16),
        ("", 16),
    ],
)
def test_vectors_are_as_wide_as_what_numba_may_use(monkeypatch, features, bytes_):
    monkeypatch.delenv("FASTCONV_ISA", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    assert chosen().vector_bytes == bytes_


# Instruction streams.


def sgd_stream(w, dw, rates, max_threads=1):
    """A stream of one instruction: w -= rates[step] * dw."""
    instruction = Instruction.of(
        Kernel.SGD_UPDATE, w.dtype.name, **arrays("w", "dw", "rate"), size=w.size, weights=0,
        decayed=0, l2=0.0, coupled_decay=0.0, decoupled_decay=0.0, rate_factor=1.0,
        max_threads=max_threads,
    )  # fmt: skip
    stream, relocations = encode([instruction], engine.address_of)
    for number, word, argument, skipped in relocations:
        stream[number, word] = (w, dw, rates)[argument].ctypes.data + skipped
    return stream


def test_fields_are_words_of_the_instruction():
    words = np.arange(64)
    words[48:] = np.arange(0.5, 16, 1.0).view(np.int64)
    n = fields.FieldsInPython(Kernel.MOMENTUM_UPDATE, words.ctypes.data)
    # Pointers begin with word 4, integers with word 16.
    assert (n.tile_table, n.w, n.rate, n.size, n.nesterov) == (3, 4, 7, 16, 19)
    assert (n.l2, n.momentum, n.share) == (0.5, 3.5, 4.5)
    with pytest.raises(AttributeError, match="momentum_update has no field 'beta1'"):
        n.beta1  # noqa: B018


@compiled
def test_a_kernel_reads_its_fields_by_name():
    def sizes(n, results, scale):
        to = pointer(results, np.float64)
        to[0], to[1] = n.size * scale, n.momentum

    kind = numba.types.void(fields.FieldsType(Kernel.MOMENTUM_UPDATE), numba.int64, numba.int64)
    address = compilation.compile_function(sizes, "sizes", kind).address
    words, results = np.arange(64), np.zeros(2)
    words[51] = np.array([0.75]).view(np.int64)[0]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(address)
    function(words.ctypes.data, results.ctypes.data, 10)
    assert results.tolist() == [160, 0.75]


@compiled
def test_a_field_that_a_kernel_does_not_have_is_an_error_when_it_is_compiled():
    def wrong(n):
        pointer(n.rows, np.float64)[0] = 0.0

    kind = numba.types.void(fields.FieldsType(Kernel.MOMENTUM_UPDATE))
    with pytest.raises(numba.TypingError, match="Unknown attribute 'rows' of type"):
        compilation.compile_function(wrong, "wrong", kind)


def test_a_stream_counts_its_steps():
    w, dw, rates = np.array([10.0, 20.0]), np.array([1.0, 2.0]), np.array([1.0, 2.0, 4.0])
    engine.run_stream(sgd_stream(w, dw, rates), 3, 1)
    np.testing.assert_array_equal(w, [3, 6])


def test_times_are_added_for_each_instruction():
    w, dw, rates = np.ones(1000), np.ones(1000), np.zeros(100)
    stream = np.concatenate([sgd_stream(w, dw, rates)] * 2)
    nanoseconds = np.zeros(2, np.int64)
    engine.run_stream(stream, 100, 1, nanoseconds)
    first = nanoseconds.copy()
    engine.run_stream(stream, 100, 1, nanoseconds)
    assert (first > 0).all()
    assert (nanoseconds > first).all()


@compiled
@needs_threads
def test_a_stream_uses_no_more_threads_than_it_has_work_for():
    given = np.ones(8000), np.ones(8000), np.zeros(1)
    assert engine.run_stream(sgd_stream(*given, max_threads=2), 1, 5) == 2
    assert engine.run_stream(sgd_stream(*given, max_threads=9), 1, 3) == 3
    assert engine.run_stream(sgd_stream(*given)[:0], 1, 3) == 1


@compiled
@needs_threads
def test_a_barrier_takes_time_and_one_thread_needs_none():
    assert engine.barrier_nanoseconds(2, 1000) > 0


# The same bits, whatever the threads.

LARGER = {
    "activation.activation_forward": ActivationSpec("tanh", 5003),
    "optim.adam_update": OptimizerSpec("adam", 5003, weights=2001, decayed=3005, l2=0.1),
    "dropout.dropout_forward": DropoutSpec(5003, 0.3, RandomSpec(7, 1)),
    "norm.batch_norm_forward_training": NormSpec(1500, 70),
    "norm.batch_norm_backward": NormSpec(1500, 70),
}


@pytest.fixture
def split_all(monkeypatch):
    """However little there is to do, it is split."""
    monkeypatch.setattr(split, "ELEMENTS_WORTH_A_THREAD", 1)
    caches = lowered_kernels.lower_kernel, engine._stream
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@compiled
@needs_threads
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_number_of_threads_changes_no_bit(kernel, dtype, split_all, monkeypatch):
    for spec in [*specs_of(kernel)[:6], *filter(None, [LARGER.get(kernel)])]:
        for call in calls_of(kernel, spec, dtype):
            results = []
            for threads in ("1", "2", "3"):
                monkeypatch.setenv("FASTCONV_THREADS", threads)
                results.append(run("numba", call))
            for name, alone in results[0].items():
                for together in results[1:]:
                    assert together[name].tobytes() == alone.tobytes(), f"{kernel} {spec}: {name}"


@compiled
@needs_threads
def test_python_threads_run_streams_at_once():
    steps, failures = 300, []

    def work(start):
        w, dw, rates = np.full(4000, start), np.ones(4000), np.full(steps, 0.5)
        stream = np.concatenate([sgd_stream(w, dw, rates, max_threads=2)] * 4)
        engine.run_stream(stream, steps, 2)
        if not (w == start - 4 * steps * 0.5).all():
            failures.append(start)

    workers = [threading.Thread(target=work, args=(1000.0 * n,)) for n in range(1, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not failures


def test_threads_that_make_a_table_of_tiles_at_once_are_given_the_same_one(monkeypatch):
    both_make_one = threading.Barrier(2, timeout=60)

    def zeros(*arguments):
        both_make_one.wait()
        return np.zeros(*arguments)

    monkeypatch.setattr(tile_table, "np", SimpleNamespace(zeros=zeros, int64=np.int64))
    monkeypatch.setattr(tile_table, "_tables", {})
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: tile_table.table_of("deep", "float32", 64), range(2))
    assert one is other is tile_table.table_of("deep", "float32", 64)


@compiled
@needs_threads
def test_threads_wait_at_a_barrier_for_what_the_next_instruction_reads():
    # Thread 0 reads in the second instruction what thread 1 wrote in the first.
    steps = 500
    w, middle = np.zeros(3000), np.zeros(3000)
    rates = np.full(steps, -1.0)
    ones = np.ones(3000)
    first = sgd_stream(middle, ones, rates, max_threads=2)
    second = sgd_stream(w[2000:], middle[2000:], rates, max_threads=1)
    stream = np.concatenate([first, second])
    assert stream[:, MAX_THREADS].tolist() == [2, 1]
    assert stream[:, BARRIER].tolist() == [1, 1]
    engine.run_stream(stream, steps, 2)
    assert (middle == steps).all()
    assert (w[2000:] == steps * (steps + 1) / 2).all()


@compiled
@needs_threads
def test_threads_that_fell_asleep_wake_for_the_next_job():
    w, dw, rates = np.zeros(4000), np.ones(4000), np.full(1, -1.0)
    stream = sgd_stream(w, dw, rates, max_threads=2)
    for _ in range(3):
        engine.run_stream(stream, 1, 2)
        time.sleep(0.02)
    assert (w == 3).all()
    assert all(
        each.words[thread_pool_words.WITHOUT_A_JOB] == len(each.workers)
        for each in thread_pool._free_pools
    )


# A process and its children.

TWO_THREADS = """
    import os, threading, time
    import numpy as np
    from fastconv.backends.numba import engine
    from fastconv.backends.compiled.instructions.instruction import Instruction, arrays, encode
    from fastconv.backends.compiled.instructions.kernels import Kernel
    def stream_of(w, steps):
        instruction = Instruction.of(
            Kernel.SGD_UPDATE, "float64", **arrays("w", "dw", "rate"), size=w.size, weights=0,
            decayed=0, l2=0.0, coupled_decay=0.0, decoupled_decay=0.0, rate_factor=1.0,
            max_threads=2,
        )
        stream, relocations = encode([instruction], engine.address_of)
        given = w, np.ones(w.size), np.full(steps, -1.0)
        for number, word, argument, _ in relocations:
            stream[number, word] = given[argument].ctypes.data
        return stream, given
    w = np.zeros(4000)
    stream, kept = stream_of(w, 10)
    assert engine.run_stream(stream, 10, 2) == 2
"""


@compiled
@needs_threads
def test_a_process_with_idle_threads_ends():
    assert python(TWO_THREADS + "    print(w[0])") == "10.0\n"


@compiled
@needs_threads
def test_a_process_ends_while_a_stream_runs():
    code = """
    v = np.zeros(4000)
    stream, kept = stream_of(v, 10**6)
    def run(stream, kept):
        engine.run_stream(stream, 10**6, 2)
    threading.Thread(target=run, args=(stream, kept), daemon=True).start()
    while v[0] == 0:
        time.sleep(0.001)
    print("the end")
    """
    assert python(TWO_THREADS + code) == "the end\n"


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_of_fork_starts_threads_of_its_own():
    code = """
    child = os.fork()
    if child == 0:
        ran = engine.run_stream(stream, 10, 2)
        os._exit(ran if (w == 20).all() else 99)
    _, status = os.waitpid(child, 0)
    ran = engine.run_stream(stream, 10, 2)
    print(os.waitstatus_to_exitcode(status), ran, (w == 20).all())
    """
    assert python(TWO_THREADS + code, PYTHONWARNINGS="ignore") == "2 2 True\n"


# The exponential, in units in the last place of the exact result.


def applied(function, x):
    """A function of vectors, compiled for an array of its own."""
    real = x.dtype.type
    end, y = x.size, np.empty_like(x)

    def apply(source, to):
        lanes = lanes_of(real)
        for i in range(0, end, lanes):
            count = min(lanes, end - i)
            v = function(load(pointer(source, real), i, count))
            store(pointer(to, real), i, v, count)

    word = numba.types.int64
    numba.cfunc(numba.types.void(word, word))(apply).ctypes(x.ctypes.data, y.ctypes.data)
    return y


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("function", "exact"), [(exponential, np.exp), (exponential_minus_one, np.expm1)]
)
def test_exponentials_are_within_two_units_in_the_last_place(function, exact, dtype):
    limit = 104 if dtype == np.float32 else 745.5
    tiny = np.logspace(-30, 0, 2000)
    x = np.concatenate([np.linspace(-limit, limit, 40000), tiny, -tiny]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.longdouble))
        nearest = expected.astype(dtype)
        got = applied(function, x)
        finite = np.isfinite(nearest)
        np.testing.assert_array_equal(got[~finite], nearest[~finite])
        error = np.abs(got[finite] - expected[finite]) / np.spacing(np.abs(nearest[finite]))
    assert error.max() <= 2


@compiled
def test_a_multiply_add_is_rounded_once():
    @compilation.inlined
    def rest_of_square(v):
        return multiply_add(v, v, -(v * v))

    # (1 + 2^-20)^2 = 1 + 2^-19 + 2^-40; the last term does not fit into a float32 beside 1.
    x = np.full(5, 1 + 2.0**-20, np.float32)
    np.testing.assert_array_equal(applied(rest_of_square, x), np.full(5, 2.0**-40, np.float32))


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_keep_nan_and_infinities(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0], dtype)
    np.testing.assert_array_equal(applied(exponential, x), [np.nan, np.inf, 0, 1])
    np.testing.assert_array_equal(applied(exponential_minus_one, x), [np.nan, np.inf, -1, 0])


def test_the_contract_is_met_by_way_of_the_engine():
    w, dw = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    sgd_update(OptimizerSpec("sgd", 2, 2, 2), w, dw, np.array([0.5]), None)
    np.testing.assert_array_equal(w, [0.5, 1.5])


# Every kernel of the C engine, and a whole recipe.


def test_there_is_a_kernel_for_each_of_the_c_engine():
    if not backend_state("cython").works:
        pytest.skip(f"cython: {backend_state('cython').reason}")
    from fastconv.backends.cython import _engine

    (last,) = _engine.instruction_sets()[-1:]
    names = {kernel for kernel, _ in _engine.kernel_addresses(last["name"])}
    engine.import_kernels()
    assert len(names) > 40
    assert set(compilation._makers) == names - BF16_KERNELS  # which are in C alone


def losses(backend, threads, steps=50):
    """The loss of each of some steps of cifar10-deep over 10 samples, and the weights behind."""
    recipe = load_recipe("cifar10-deep", [("seed", 3)])
    trainer = prepare(
        recipe,
        dataset=synthetic_dataset(recipe, 10),
        config=ExecutionConfig(backend, threads=threads),
    ).trainer
    # A small rate: where two numbers are nearly equal, a max pool takes another one because of the
    # last bit, and from there networks that learn fast go different ways.
    rates = np.full(1, 2e-5)
    batch = recipe.batch_size
    order = np.arange(steps * batch).reshape(steps, 1, batch) % 10
    found = [trainer.runner.run(row, rates, step)[0] for step, row in enumerate(order)]
    return np.array(found), trainer.runner.buffer("parameters").copy()


@compiled
@needs_threads
def test_a_recipe_trains_to_the_same_bits_on_two_threads():
    (alone, weights), (together, others) = losses("numba", 1), losses("numba", 2)
    assert alone.tobytes() == together.tobytes()
    assert weights.tobytes() == others.tobytes()


@compiled
@pytest.mark.parametrize("other", ["cython", "numpy"])
def test_a_recipe_trains_as_on_another_backend(other):
    if not backend_state(other).works:
        pytest.skip(f"{other}: {backend_state(other).reason}")
    (actual, weights), (expected, others) = losses("numba", 1), losses(other, 1)
    # Rounding alone, while the pools take the same numbers; later a few of them take others.
    np.testing.assert_allclose(actual[:10], expected[:10], rtol=3e-4)
    np.testing.assert_allclose(actual, expected, rtol=3e-3)
    np.testing.assert_allclose(weights, others, rtol=1e-3, atol=5e-5)
    assert expected[-10:].sum() < 0.9 * expected[:10].sum(), "something was learned"


def test_a_recipe_trains_as_plain_python_without_the_compiler():
    code = """
        from test_numba_engine import losses
        print(*losses("numba", 1, steps=1)[0], *losses("numpy", 1, steps=1)[0])
    """
    actual, expected = map(float, python(code, NUMBA_DISABLE_JIT="1").split())
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("columns", "last_row", "outputs", "expected"),
    [
        (28, 28, 32, {(14, 2)}),
        (30, 30, 32, {(14, 2), (2, 2)}),
        (28, 5, 40, {(14, 2), (14, 1), (5, 2), (5, 1)}),
        (28, 28, 7, {(14, 1)}),
    ],
)
def test_only_the_tiles_that_an_instruction_needs_are_compiled(
    columns, last_row, outputs, expected
):
    others = dict.fromkeys(LAYOUTS[Kernel.CONV_TILES].words, 0)
    sizes = {"columns": columns, "last_columns": last_row, "outputs": outputs}
    tile = {"vectors": 2, "tile_rows": 14}  # vectors of 16 lanes
    instruction = Instruction.of(Kernel.CONV_TILES, "float32", **others | sizes | tile)
    assert tiles._sizes(instruction, 16) == expected
