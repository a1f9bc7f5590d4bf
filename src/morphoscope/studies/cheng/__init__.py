"""`cheng`: VGG16 and ResNets on Galaxy10 DECaLS, what residual blocks bring."""
