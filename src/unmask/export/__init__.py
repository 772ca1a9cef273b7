"""ONNX export with a parity certificate."""
