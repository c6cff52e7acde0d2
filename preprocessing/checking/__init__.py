"""Checking and repairing one image and its objects, before anything is encoded."""
