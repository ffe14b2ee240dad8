"""ONNX's own tests of backends, run against fastconv.

    python -m tests.onnx_node_tests [--kind node] [--only Conv] [--reasons]

prints how many there are, how many passed, and how many were left out, with the reasons.
"""

import argparse
import importlib
import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fastconv.interop.onnx import OnnxError
from fastconv.interop.onnx.backend import FastconvBackend

KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple")


@dataclass
class Outcome:
    """What became of some tests."""

    passed: list = field(default_factory=list)
    left_out: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)

    @property
    def count(self):
        return len(self.passed) + len(self.left_out) + len(self.failed)

    def reasons(self):
        """How often each reason was given, without the names of nodes and the numbers in it."""
        found = Counter()
        for told in self.left_out.values():
            told = re.sub(r"^\S*: (node '[^']*' \((\w+)\): )?", r"\2: ", told)
            found[re.sub(r"-?\d[\d.e+-]*", "n", told)] += 1
        return found


def node_cases(*operators):
    """Tests of nodes of some operators, by the names of onnx's modules: all take long to make."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = [importlib.import_module(f"{node.__name__}.{name}") for name in operators]
    names = [module.__name__.rpartition(".")[2].replace("_", "") for module in modules]
    return [
        case for case in node._NodeTestCases
        if case.model.graph.node[0].op_type.lower() in names
    ]  # fmt: skip


def cases_of(kind, pattern=""):
    """Tests of a kind whose names match."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the cases compute, infinities too
        cases = load_model_tests(kind=kind)
    return [case for case in cases if re.search(pattern, case.name)]


def _array(given):
    return given if isinstance(given, np.ndarray) else numpy_helper.to_array(given)


def _data(case):
    """The model of a case, and its pairs of inputs and outputs."""
    if case.model is not None:
        return case.model, case.data_sets
    folder = Path(case.model_dir)
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        both = []
        for what in ("input", "output"):
            files = sorted(data.glob(f"{what}_*.pb"), key=lambda f: int(f.stem.split("_")[1]))
            both.append([onnx.load_tensor(file) for file in files])
        sets.append(both)
    return onnx.load(folder / "model.onnx"), sets


def run_cases(cases):
    """Run tests as ONNX's own runner does, to its tolerances."""
    outcome = Outcome()
    for case in cases:
        try:
            model, data = _data(case)
            ready = FastconvBackend.prepare(model, "CPU", backend="numpy")
            for inputs, expected in data:
                if not all(isinstance(i, (np.ndarray, onnx.TensorProto)) for i in inputs):
                    raise OnnxError("model: its inputs are no arrays")
                with np.errstate(all="ignore"):
                    found = ready.run([_array(i) for i in inputs])
                assert len(found) == len(expected)
                for ours, theirs in zip(found, map(_array, expected), strict=True):
                    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
                    np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)
        except (OnnxError, NotImplementedError) as fault:
            outcome.left_out[case.name] = str(fault)
        except Exception as fault:
            outcome.failed[case.name] = f"{type(fault).__name__}: {str(fault).strip()[:300]}"
        else:
            outcome.passed.append(case.name)
    return outcome


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=KINDS, help="of tests (default: all)")
    parser.add_argument("--only", default="", help="pattern of their names")
    parser.add_argument("--reasons", action="store_true", help="print why tests were left out")
    options = parser.parse_args(arguments)
    failed = 0
    for kind in [options.kind] if options.kind else KINDS:
        outcome = run_cases(cases_of(kind, options.only))
        print(
            f"{kind}: {outcome.count} tests, {len(outcome.passed)} passed, "
            f"{len(outcome.left_out)} left out, {len(outcome.failed)} failed"
        )
        for name, told in outcome.failed.items():
            print(f"  {name}: {' '.join(told.split())}")
        if options.reasons:
            for reason, count in outcome.reasons().most_common():
                print(f"  {count:4} {reason}")
        failed += len(outcome.failed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
