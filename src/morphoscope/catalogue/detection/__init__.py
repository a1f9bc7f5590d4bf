"""Sources found on a picture or a mosaic of the sky."""
