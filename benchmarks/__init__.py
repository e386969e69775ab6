"""Benchmarks: each a ratio measured in one run, alternating, medians over repeats."""
