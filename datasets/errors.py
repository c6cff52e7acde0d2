"""The errors that the command line prints as one line; everything else is a bug and stays a traceback."""


class InputError(ValueError):
    """An input cannot be used, and the user can fix it: a file, a folder, a setting, or two that do not fit together.

    The message says what was expected, what was found, and where.
    """


class JobError(RuntimeError):
    """A preprocessing job failed: shards are missing, or too many images were rejected."""


class TrainingError(RuntimeError):
    """Training failed: a loss became NaN or infinite."""
