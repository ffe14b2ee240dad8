"""What holds for every test."""

import os

# Plans are checked before they run, here and in every process that a test starts: whatever rewrote
# them, each read finds the value that the plan's own order gives it.
os.environ.setdefault("FASTCONV_CHECK", "1")


def pytest_collection_modifyitems(items):
    """Let the slowest tests begin: processes that share the rest then end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
