"""The errors that the command line prints as one line; everything else is a bug and stays a traceback."""


class InputError(ValueError):
    """An input cannot be used, and its user can mend it: a file, a folder, a setting, or two that do not fit together.

    The message says what was expected, what was found, and where.

    >>> from ssd300.datasets import ClassList, InputError
    >>> try:
    ...     ClassList(())
    ... except InputError as error:
    ...     print(error)
    a class list needs at least one class, got none
    """


class JobError(RuntimeError):
    """A preprocessing job went wrong: shards are missing, or too many images were rejected."""


class TrainingError(RuntimeError):
    """A training went wrong: a loss became NaN or infinite."""
