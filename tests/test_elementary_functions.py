"""The exponential and the error function in C and CUDA, beside the C library's in float64."""

import math
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.numpy.by_formula import error_function

C = Path(fastconv.__file__).parent.parent / "kernels" / "cpu"
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")

IN_C = """
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define INLINE static inline __attribute__((unused))
#define TYPED(name) name##_float32
#define REAL float
#include "exponential.h"
#include "activation_formulas.h"
#define EXPONENTIAL exponential_float32
#define ERROR_FUNCTION error_function_float32
"""
IN_CUDA = """
#include <cuda_host_shim.h>
#include <cstdint>
#include "activation_formulas.cuh"
#define EXPONENTIAL fastconv::exponential<float>
#define ERROR_FUNCTION fastconv::error_function<float>
"""
MAIN = """
/* In float64; near 0, where most floats are, by the first terms of the series, which take less
 * time: the next one is below 2^-66 of the sum. */
static double exact_exponential(double x) {
    if (fabs(x) >= 0x1p-12) return exp(x);
    return 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)));
}

static double exact_error_function(double x) {
    if (fabs(x) >= 0x1p-6) return erf(x);
    const double s = x * x, sum = 1. / 3 - s * (1. / 10 - s * (1. / 42 - s / 216));
    return 1.12837916709551257390 * x * (1 - s * sum);
}

/* The error in units of the last place that a float of this size has; infinite for NaN. */
static double error_of(float got, double exact) {
    uint64_t bits;
    memcpy(&bits, &exact, sizeof bits);
    int64_t place = (int64_t)(bits >> 52 & 2047) - 23; /* of the exponent, which all here have */
    if (place < 1023 - 149) place = 1023 - 149;
    bits = (uint64_t)place << 52;
    double unit;
    memcpy(&unit, &bits, sizeof unit);
    const double error = fabs((double)got - exact) / unit;
    return error == error ? error : INFINITY;
}

/* The largest error over every step-th float of both signs from 2^-30 up to a limit. */
static double worst(int is_exponential, float limit, uint32_t step) {
    double most = 0;
    for (uint32_t bits = (127u - 30) << 23;; bits += step) {
        float x;
        memcpy(&x, &bits, sizeof x);
        if (x > limit) return most;
        double above, below;
        if (is_exponential) {
            above = error_of(EXPONENTIAL(x), exact_exponential(x));
            below = error_of(EXPONENTIAL(-x), exact_exponential(-(double)x));
        } else {
            const double exact = exact_error_function(x);
            above = error_of(ERROR_FUNCTION(x), exact);
            below = error_of(ERROR_FUNCTION(-x), -exact);
        }
        most = above > most ? above : most;
        most = below > most ? below : most;
    }
}

/* How far the series above are from the C library, where they take its place, in parts of 2^-52. */
static double worst_of_series(void) {
    double most = 0;
    for (double x = 0x1p-30; x < 0x1p-6; x *= 1.001) {
        for (int negative = 0; negative < 2; negative++, x = -x) {
            const double off = fabs(exact_error_function(x) / erf(x) - 1);
            const double other = fabs(x) < 0x1p-12 ? fabs(exact_exponential(x) / exp(x) - 1) : 0;
            most = off > most ? off : most;
            most = other > most ? other : most;
        }
    }
    return most / 0x1p-52;
}

int main(int count, char **arguments) {
    (void)count;
    const uint32_t step = (uint32_t)atoi(arguments[1]);
    printf("%g %g\\n", worst(1, 88.f, step), worst(0, 5.f, step));
    printf("%g %g %g %g\\n", EXPONENTIAL(-INFINITY), EXPONENTIAL(INFINITY),
           ERROR_FUNCTION(-INFINITY), ERROR_FUNCTION(INFINITY));
    printf("%g %g\\n", EXPONENTIAL(NAN), ERROR_FUNCTION(NAN));
    printf("%g %d\\n", ERROR_FUNCTION(-0.f), signbit(ERROR_FUNCTION(-0.f)) != 0);
    printf("%g\\n", worst_of_series());
    return 0;
}
"""


@pytest.fixture(scope="module", params=["c", "c with fma", "cuda"])
def program(request, tmp_path_factory):
    """A program that measures the functions of one of the sources."""
    folder = tmp_path_factory.mktemp("functions")
    if request.param == "cuda":
        compiler, text, name = ["g++", "-std=c++17"], IN_CUDA, "measure.cpp"
        flags = ["-I", Path(__file__).parent, "-I", kernel_folder()]
    else:
        if not C.is_dir():
            pytest.skip("no source tree around the package")
        compiler, text, name, flags = COMPILER, IN_C, "measure.c", ["-I", C]
        if request.param == "c with fma":
            flags += ["-march=native"]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is missing")
    (folder / name).write_text(text + MAIN, encoding="utf-8")
    made = folder / "measure"
    flags += ["-O2", "-ffp-contract=fast", folder / name, "-o", made, "-lm"]
    done = subprocess.run([*compiler, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def measured(program, step):
    done = subprocess.run([program, str(step)], capture_output=True, text=True, check=True)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_both_functions_are_within_two_units_in_the_last_place(program):
    (of_exponential, of_error_function), limits, nans, zero, (of_series,) = measured(program, 257)
    assert of_exponential <= 2
    assert of_error_function <= 2
    assert limits == [0, np.inf, -1, 1]
    assert np.isnan(nans).all()
    assert zero == [0, 1]  # minus zero stays one
    assert of_series <= 4  # of a double: the yardstick itself


@pytest.mark.nightly
def test_both_functions_are_within_two_units_in_the_last_place_for_every_float(program):
    assert max(measured(program, 1)[0]) <= 2


def test_the_error_function_of_numpy_is_that_of_the_c_library():
    bits = np.arange((127 - 20) << 23, 130 << 23, 9973, dtype=np.uint32)
    x = bits.view(np.float32)
    exact = np.vectorize(math.erf)(x.astype(np.float64))
    unit = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(error_function(x) - exact) / unit).max() <= 2
    wide = x.astype(np.float64)
    np.testing.assert_allclose(error_function(wide), exact, rtol=1e-15)
    np.testing.assert_array_equal(error_function(-x), -error_function(x))
