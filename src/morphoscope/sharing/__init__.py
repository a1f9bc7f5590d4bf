"""Sharing runs: ONNX files, published folders, model hubs."""
