"""Images of any kind: files, archives, tables, FITS, mosaics."""
