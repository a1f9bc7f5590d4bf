"""Whatever holds images, as one stream of galaxies."""
