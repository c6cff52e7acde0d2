"""The errors that the command line prints as one line; everything else is a bug and stays a traceback."""


class InputError(ValueError):
    """An input cannot be used, and the user can fix it: a file, a folder, a setting, or two that do not fit together.

    The message says what was expected, what was found, and where.
    """


class JobError(RuntimeError):
    """A preprocessing job failed: shards are missing, or too many images were rejected."""


class TrainingError(RuntimeError):
    """Training failed: a loss became NaN or infinite."""


class StorageError(OSError):
    """A file could not be read or written, several times in a row if that may help: a disk, a mount, a network.

    Nothing is known about the content of a file that could not be read, so it is never counted as a fault of the data.
    """

    def __init__(self, path: str, reason: str, action: str = "read") -> None:
        super().__init__(f"{path} could not be {action}: {reason}")
        self.path, self.reason, self.action = path, reason, action

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.path, self.reason, self.action)
