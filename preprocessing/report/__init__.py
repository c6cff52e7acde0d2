"""The report of a job: numbers, charts and the HTML page."""
