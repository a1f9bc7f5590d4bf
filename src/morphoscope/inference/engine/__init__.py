"""What computes a network's predictions: torch, ONNX Runtime or OpenVINO behind one interface.

Only :mod:`~morphoscope.inference.engine.torch_engine` and :mod:`~morphoscope.inference.engine.export` import
torch; the chooser imports them when they are wanted.
"""
