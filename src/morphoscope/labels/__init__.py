"""What labels mean: schemes as data, the Galaxy Zoo decision tree, threshold rules."""
