"""Detection of sources on a picture or mosaic of the sky."""
