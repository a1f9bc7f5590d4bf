"""Split a store into training, validation and test galaxies."""
