"""Catalogues made by several GPUs or machines."""
