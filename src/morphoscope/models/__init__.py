"""Networks: backbones by name, heads, freezing, pretrained weights."""
