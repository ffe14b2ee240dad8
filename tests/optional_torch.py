"""PyTorch where it is installed, and the mark of tests that compare with it."""

import importlib
import importlib.util
from typing import Any

import pytest

_IS_THERE = importlib.util.find_spec("torch") is not None
torch: Any = importlib.import_module("torch") if _IS_THERE else None
functional: Any = importlib.import_module("torch.nn.functional") if _IS_THERE else None
needs_torch = pytest.mark.skipif(not _IS_THERE, reason="PyTorch is not installed")
