"""A run for other programs and other people: ONNX files, folders to publish, model hubs."""
