"""Runs on disk: opening and reading them, without training."""
