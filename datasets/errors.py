"""The error of an input that cannot be used."""


class InputError(ValueError):
    """An input cannot be used, and its user can mend it: a file, a folder, a setting, or two that do not fit together.

    The message says what was expected, what was found, and where. The command line prints it as one line; any other
    ``ValueError`` is a bug and stays a traceback.
    """
