"""Recipes by name, one module a paper."""
