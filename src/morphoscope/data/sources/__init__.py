"""Where the galaxies of a store come from, one module a source."""
