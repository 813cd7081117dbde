"""Benchmarks of the quality of the bundled drug-drug interaction model."""
