"""From images without labels to a table of answers."""
