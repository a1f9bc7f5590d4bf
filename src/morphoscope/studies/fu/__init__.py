"""`fu`: DenseNet-121 with frozen ImageNet layers."""
