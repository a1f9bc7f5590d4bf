"""`yan`: EfficientNetV2-S with CBAM on Galaxy10 DECaLS."""
