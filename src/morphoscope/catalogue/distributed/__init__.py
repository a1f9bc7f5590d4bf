"""Predictions from several machines."""
