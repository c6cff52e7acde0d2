"""Helpers that know nothing of SSD300: progress bars, drawing, HTML, quiet imports."""
