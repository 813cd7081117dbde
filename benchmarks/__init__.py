"""Benchmarks: the comparison of systems, the quality of the bundled model, and speed and memory."""
