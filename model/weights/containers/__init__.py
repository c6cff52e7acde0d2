"""The files that other projects keep weights in, read into NumPy arrays without those projects' libraries."""
