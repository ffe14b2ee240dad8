"""What layers the operators of ONNX become."""
