"""HTML documents: sections, tables, figures, galleries."""
