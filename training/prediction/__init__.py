"""Detecting objects on images."""
