"""Benchmarks: what a user feels, each measured beside its peers in the same run."""
