"""Running a plan: Beam's pipeline and the worker processes of one machine. A new runner is added here."""
