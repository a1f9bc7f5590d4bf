"""Catalogues as files: Parquet, CSV, ECSV, FITS, VOTable, shards, HATS."""
