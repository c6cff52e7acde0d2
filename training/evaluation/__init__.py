"""Evaluating a model: average precision, its plots, and detections drawn next to ground truth."""
