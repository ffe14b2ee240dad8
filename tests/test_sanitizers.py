"""The C kernels under the compiler's sanitizers: of memory, of undefined behaviour, of threads."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import attack
import pytest
from sanitized_engine import (
    COMPILER,
    PACKAGE,
    SOURCES,
    BuildError,
    build_sanitized,
    library,
    variables,
)
from share_of_cases import SHARES, share_of_cases, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCES.is_dir(), reason=f"no source tree around {PACKAGE}"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux"),
    pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"{COMPILER[0]} is missing"),
]


def run(command, **options):
    options = {"capture_output": True, "text": True, "check": False, "timeout": 300} | options
    return subprocess.run(list(map(str, command)), **options)


def needs_sanitizer(name, folder):
    """Skip unless a program can be compiled with this sanitizer and run."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    made = run([*COMPILER, f"-fsanitize={name}", "-o", folder / "empty", folder / "empty.c"])
    if made.returncode:
        pytest.skip(f"{COMPILER[0]} has no -fsanitize={name}: {made.stderr.splitlines()[-1]}")
    done = run([folder / "empty"])
    if done.returncode:
        pytest.skip(f"-fsanitize={name} does not work here: {done.stderr.strip()[:200]}")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """A copy of the package whose engine is compiled with the sanitizers of memory and of C."""
    folder = tmp_path_factory.mktemp("sanitized")
    needs_sanitizer("address,undefined", folder)
    try:
        library("libasan.so")
    except BuildError as fault:
        pytest.skip(str(fault))
    if importlib.util.find_spec("Cython") is None:
        pytest.skip("Cython is not installed")
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        pytest.skip("the Python headers are missing")
    try:
        return build_sanitized(folder)
    except BuildError as fault:
        pytest.fail(str(fault))


def start_sanitized(sanitized, cases, isa):
    return start(cases, "exact", package=sanitized, FASTCONV_ISA=isa, **variables())


def needs_set(isa):
    engine = pytest.importorskip("fastconv.backends.cython._engine", exc_type=ImportError)
    there = [each["name"] for each in engine.instruction_sets()]
    if isa not in there:
        pytest.skip(f"this processor has no {isa}")


@pytest.mark.parametrize("every", SHARES)
@pytest.mark.parametrize("isa", ["avx512", "avx512vl", "avx2", "sse2", "neon", "plain"])
def test_kernels_keep_to_their_memory_and_to_defined_c(sanitized, isa, every, tmp_path_factory):
    needs_set(isa)
    done = start_sanitized(sanitized, share_of_cases(tmp_path_factory, every), isa)
    assert done.returncode == 0, done.stderr[-4000:]
    package, name, calls, kernels = done.stdout.splitlines()
    assert (package, name) == (str(sanitized / "fastconv"), isa)
    assert int(calls) > 1200 / every
    assert int(kernels) > 40


def test_attacks_on_public_functions_keep_to_their_memory(sanitized):
    command = [sys.executable, Path(attack.__file__), "--child", "1", "0", "120", "cython"]
    done = run(command, env={**os.environ, **variables(), "PYTHONPATH": str(sanitized)})
    assert done.returncode == 0, done.stderr[-4000:]
    assert "trainings with arrays that were overwritten" in done.stdout


OUTSIDE = """
import numpy as np
from fastconv.backends.cython import dense
from fastconv.spec import DenseSpec
x, w = np.ones((4, 8)), np.ones((8, 16))
y = np.empty((4, 15))  # a column too small
dense.dense_forward(DenseSpec(4, 8, 16), x, w, None, y,
                    np.empty(dense.workspace_bytes("dense_forward", DenseSpec(4, 8, 16), "float64"),
                             np.uint8))
"""


def test_the_sanitizer_would_find_a_write_outside(sanitized):
    done = run(
        [sys.executable, "-c", OUTSIDE],
        cwd=sanitized,
        env={
            **os.environ, **variables(), "PYTHONPATH": str(sanitized), "FASTCONV_ISA": "plain",
        },
    )  # fmt: skip
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


# Two callers, each with its own program on three threads: a row that fills numbers, one that adds
# up what other threads filled, and one that adds up the sums. Any missing barrier is a race.
POOLS = r"""
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include "thread_pool.h"

enum { COUNT = 999, STEPS = 40, RUNS = 30 };

struct call {
    struct instruction_head head;
    address numbers, sums, result;
    int64_t count, no_words[WORDS - 8];
};

static void fill(const int64_t *instruction, int64_t step, int64_t thread, int64_t threads) {
    const struct call *const call = fields_of(instruction);
    int64_t *const numbers = array_at(call->numbers);
    const int64_t end = first_of(COUNT, thread + 1, threads);
    if (thread == 0 && step % 13 == 0) usleep(3000); /* the others fall asleep at the barrier */
    for (int64_t i = first_of(COUNT, thread, threads); i < end; i++) numbers[i] = i + step;
}

static void add_up(const int64_t *instruction, int64_t step, int64_t thread, int64_t threads) {
    const struct call *const call = fields_of(instruction);
    const int64_t *const numbers = array_at(call->numbers);
    int64_t *const sums = array_at(call->sums);
    (void)step;
    sums[thread] = 0;
    for (int64_t i = thread; i < COUNT; i += threads) sums[thread] += numbers[i];
}

static void total(const int64_t *instruction, int64_t step, int64_t thread, int64_t threads) {
    const struct call *const call = fields_of(instruction);
    const int64_t *const sums = array_at(call->sums);
    int64_t *const result = array_at(call->result);
    (void)step, (void)thread, (void)threads;
    for (int64_t i = 0; i < call->count; i++) *result += sums[i];
}

static void *caller(void *argument) {
    int64_t numbers[COUNT], sums[3], result, wrong = 0;
    struct call stream[3] = {0};
    int64_t nanoseconds[3] = {0};
    kernel_function *const kernels[3] = {fill, add_up, total};
    for (int i = 0; i < 3; i++) {
        stream[i].head.kernel = (address)(intptr_t)kernels[i];
        stream[i].head.max_threads = i == 2 ? 1 : 3;
        stream[i].head.barrier = 1;
        stream[i].numbers = (address)(intptr_t)numbers;
        stream[i].sums = (address)(intptr_t)sums;
        stream[i].result = (address)(intptr_t)&result;
    }
    for (int run = 0; run < RUNS; run++) {
        const int threads = 1 + run % 3; /* pools shrink and grow again */
        int64_t expected = 0;
        result = 0;
        for (int i = 0; i < 3; i++) sums[i] = 0;
        stream[2].count = threads;
        int64_t *const times = run % 2 ? nanoseconds : NULL;
        if (fastconv_run((const int64_t *)stream, 3, STEPS, threads, times) != threads) wrong++;
        for (int64_t step = 0; step < STEPS; step++)
            expected += COUNT * (COUNT - 1) / 2 + COUNT * step;
        if (result != expected) wrong++;
    }
    *(int64_t *)argument = wrong;
    return NULL;
}

int main(void) {
    pthread_t callers[2];
    int64_t wrong[2];
    for (int i = 0; i < 2; i++) pthread_create(&callers[i], NULL, caller, &wrong[i]);
    for (int i = 0; i < 2; i++) pthread_join(callers[i], NULL);
    printf("%d wrong\n", (int)(wrong[0] + wrong[1]));
    return wrong[0] + wrong[1] != 0;
}
"""


def build_pools(folder, barrier=True):
    """The program above with the thread sanitizer; without barriers it must find a race."""
    needs_sanitizer("thread", folder)
    text = POOLS if barrier else POOLS.replace("head.barrier = 1", "head.barrier = 0")
    (folder / "pools.c").write_text(text, "utf-8")
    made = run([*COMPILER, "-O1", "-g", "-pthread", "-fsanitize=thread", "-I", SOURCES,
                folder / "pools.c", SOURCES / "thread_pool.c", "-o", folder / "pools"])  # fmt: skip
    assert made.returncode == 0, made.stderr
    return run([folder / "pools"], env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"})


def test_two_pools_at_once_have_no_race(tmp_path):
    done = build_pools(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout == "0 wrong\n"


def test_the_sanitizer_would_find_a_missing_barrier(tmp_path):
    done = build_pools(tmp_path, barrier=False)
    assert done.returncode != 0
    assert "data race" in done.stderr
