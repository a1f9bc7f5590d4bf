"""Inputs of all kinds as one stream of galaxies."""
