"""Checking and repairing one picture and its objects, before anything is encoded."""
