"""Which galaxies a network learns from, is chosen by, and is measured on."""
