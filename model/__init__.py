"""The detector: boxes, default boxes, coder, network, loss and non-maximum suppression."""
