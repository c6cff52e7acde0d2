"""Looking at what the reader makes of records, and measuring how fast it is."""
