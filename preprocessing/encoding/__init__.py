"""Matching and encoding: from ground truth boxes to targets of the default boxes."""
