"""The instruction stream of the CPU engine: records, their layouts, what each reads and writes."""
