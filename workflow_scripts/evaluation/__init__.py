"""Metrics against sensitive data: for the benchmark, never inputs of a method."""
