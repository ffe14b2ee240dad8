"""The instructions of the CPU engine: their layouts, and what each reads and writes."""
