"""ONNX with a parity certificate."""
