"""Files of checkpoints: written so that a full disk or a kill leaves the earlier ones, and checked when read."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from ssd300.datasets.errors import StorageError

_OVERHEAD = 1 << 20  # of HDF5's own


def save_weights(model: Any, path: Path) -> None:
    """Saves weights and optimizer atomically, and next to the file its checksum, as ``sha256sum`` writes it.

    Raises:
        StorageError: the file cannot be written; none of this name appears or changes.
    """
    partial = path.with_name("partial.weights.h5")  # Keras wants this ending
    try:
        _reserve(partial, _size(model))
        model.save_weights(partial)
        digest = _digest(partial, flush=True)
        checksum_path(path).write_text(f"{digest}  {path.name}\n", encoding="ascii")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(str(path), error.strerror or str(error), "written") from None


def checksum_path(path: Path) -> Path:
    """Path of a checkpoint's checksum."""
    return path.with_name(f"{path.name}.sha256")


def load_weights(model: Any, path: Path) -> None:
    """Loads a checkpoint; one without a checksum is loaded as it is.

    Raises:
        ValueError: the file is damaged or of another model, or gone; the message names it.
    """
    try:
        if checksum_path(path).exists():
            stored = checksum_path(path).read_text(encoding="ascii", errors="replace").split()
            if not stored or stored[0] != _digest(path):
                raise ValueError("its checksum is another one")
        model.load_weights(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be loaded: {reason[0]}") from None


def _reserve(path: Path, size: int) -> None:
    """Raises OSError if the disk has no room: HDF5 crashes where it meets the end of a disk."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size(model: Any) -> int:
    """Bytes that a checkpoint of a model takes, at most."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*getattr(model, "variables", ()), *getattr(optimizer, "variables", ())]
    per_variable = 4096  # HDF5's group, header and padding
    return _OVERHEAD + sum(per_variable + variable.numpy().nbytes for variable in variables)


def _digest(path: Path, *, flush: bool = False) -> str:
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
