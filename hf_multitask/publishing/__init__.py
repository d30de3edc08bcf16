"""What is published, and as what: the files, their card, the code that travels, ONNX graphs."""
