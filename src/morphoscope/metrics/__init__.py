"""Scores with intervals, calibration error and conformal sets, as functions of arrays."""
