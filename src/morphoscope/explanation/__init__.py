"""What the network looks at: saliency, Grad-CAM and Ablation-CAM maps, and whether they are right."""
