"""The command line, `ssd300`."""
