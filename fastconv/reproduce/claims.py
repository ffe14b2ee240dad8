"""All claims of all reports."""

from fastconv.reproduce import (
    claims_by_hand,
    claims_perceptron,
    claims_regression,
    claims_small_networks,
    claims_softmax,
)
from fastconv.reproduce.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    *claims_by_hand.CLAIMS,
    *claims_softmax.CLAIMS,
    *claims_small_networks.CLAIMS,
    *claims_regression.CLAIMS,
    *claims_perceptron.CLAIMS,
)
"""In the order of the reports."""
