"""The claims of the reports, as ``claims.toml`` declares them, and the evidence for each."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from fastconv.recipes.schema import read_dataclass
from fastconv.report.findings import Findings
from fastconv.reproduce import (
    accuracy_measures,
    prediction_measures,
    training_measures,
    weight_measures,
)
from fastconv.reproduce.claim import Claim, Evidence, Found, curves

MEASURES: dict[str, Callable[[Claim, Found], Evidence]] = {
    function.__name__: function
    for function in (
        accuracy_measures.fraction_learned,
        accuracy_measures.higher_accuracy,
        accuracy_measures.narrower_gap,
        accuracy_measures.no_lower_error,
        accuracy_measures.rising_training_error,
        prediction_measures.certainty_where_right,
        prediction_measures.likeness_by_depth,
        prediction_measures.mistakes_within_groups,
        prediction_measures.recall_of_each_class,
        prediction_measures.smaller_regression_error,
        training_measures.accuracy_in_cycles,
        training_measures.error_of_gradients,
        training_measures.instability_of_rates,
        weight_measures.number_of_parameters,
        weight_measures.smaller_weights,
        weight_measures.smoother_filters,
        weight_measures.smoother_templates,
    )
}
"""What measures a claim, by name: each says what it shows of the systems in their order."""


@dataclass(frozen=True)
class _Claims:
    claims: tuple[Claim, ...]


@functools.cache
def claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the reports."""
    source = resources.files("fastconv.reproduce") / "claims.toml"
    return read_dataclass(_Claims, tomllib.loads(source.read_text(encoding="utf-8")), "").claims


def examine(claim: Claim, found: Found) -> Evidence | None:
    """Return the evidence for a claim; None where runs that it needs are missing."""
    if not all(found.get(name) for name in claim.names):
        return None
    needed = {name: found[name] for name in claim.names}
    diverged = [name for name, runs in needed.items() if not all(_is_usable(run) for run in runs)]
    if diverged and not claim.takes_diverged:
        return Evidence("not shown", f"The training of {' and of '.join(diverged)} diverged.")
    evidence = MEASURES[claim.measure](claim, needed)
    return dataclasses.replace(evidence, items=[*evidence.items, *curves(claim, needed)])


def _is_usable(findings: Findings) -> bool:
    return findings.is_finite and findings.run.summary.get("stopped") != "diverged"
