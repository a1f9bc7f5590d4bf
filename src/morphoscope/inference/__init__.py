"""From images to calibrated predictions: network, calibration, conformal sets, OOD score, ensembles."""
