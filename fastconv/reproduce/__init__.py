"""Five course reports reproduced: ``python -m fastconv.reproduce``."""
