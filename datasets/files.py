"""Files of this machine's disks and of any file system that TensorFlow knows; writes are atomic.

TensorFlow takes seconds to import. It is imported when a file is touched, so that settings and ``--help`` do without.
"""

import errno
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ssd300.datasets.errors import InputError, StorageError

T = TypeVar("T")

# Errors that say that a path names no file. All others are the storage's, not the path's.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
_PAUSES = (0.1, 0.5, 2.0)  # seconds before another attempt at a read that failed
_PROOF = b"\0" * 65536  # a full disk takes an empty file, and often a short one


def resolve_path(path: str) -> str:
    """The absolute path that `path`, as a person types it, means; ``~`` is the home folder. URLs stay as they are.

    Links are kept: a tree is called what its user calls it.
    """
    if "://" in path or not path:
        return path
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - a Path keeps "..", and costs more


def read_file(path: str) -> bytes | None:
    """The content of a file, None where there is none.

    Raises:
        StorageError: the file could not be read, several times in a row, for another reason than that it is not there.
    """
    return retrying(lambda: _read(path), path)


def _read(path: str) -> bytes | None:
    if "://" not in path:  # Python's own files are several times faster than TensorFlow's
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open here
                return file.read()
        except ValueError:  # a null byte in the path
            return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return bytes(file.read())
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, ValueError):
        return None


def retrying(operation: Callable[[], T], path: str) -> T:
    """What `operation` on the file `path` gives; it is tried again after a fault of the storage.

    Raises:
        StorageError: it failed every time.
    """
    for pause in _PAUSES:
        try:
            return operation()
        except Exception as error:
            if storage_reason(error) is None:
                raise
        time.sleep(pause)
    try:
        return operation()
    except Exception as error:
        reason = storage_reason(error)
        if reason is None:
            raise
        raise StorageError(path, reason) from None


def storage_reason(error: BaseException) -> str | None:
    """Why a storage failed, in a few words, if `error` says that one did; None for any other error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        return plain_message(error)
    return None


def plain_message(error: BaseException) -> str:
    """The first line of TensorFlow's message, without the names of its operations, which say nothing to a user."""
    lines = str(getattr(error, "message", error) or type(error).__name__).strip().splitlines()
    scheme = re.match(r"File system scheme '([^']*)' not implemented", lines[0])
    if scheme:
        return f"{scheme[1]}:// paths need a file-system plugin of TensorFlow, such as tensorflow-io"
    text = re.sub(r"\{\{function_node [^}]*\}\}\s*|\{\{node [^}]*\}\}\s*", "", lines[0])
    return re.sub(r"\s*\[Op:[^\]]*\].*$", "", text).strip()


def exists(path: str) -> bool:
    """Whether there is a file or folder."""
    import tensorflow as tf

    return bool(tf.io.gfile.exists(path))


def is_folder(path: str) -> bool:
    """Whether there is a folder."""
    import tensorflow as tf

    return bool(tf.io.gfile.isdir(path))


def names_in(folder: str) -> list[str]:
    """Names of what is in a folder."""
    import tensorflow as tf

    return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]


def writable_folder(path: str) -> None:
    """Makes a folder, if there is none, and proves that files can be written in it. If not, nothing new stays.

    Raises:
        InputError: ``FOLDER cannot be written: REASON``.
    """
    try:
        if "://" in path:
            _prove_writable(path)
        else:
            _make_writable(Path(path))
    except Exception as error:
        reason = storage_reason(error)
        if reason is None:
            raise
        raise InputError(f"{path} cannot be written: {reason}") from None


def _make_writable(folder: Path) -> None:
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    there = missing[-1].parent if missing else folder
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _prove_writable(str(folder))
    except BaseException:
        for made in missing:
            with suppress(OSError):  # it was not made, or another process uses it
                made.rmdir()
        raise


def _prove_writable(folder: str) -> None:
    import tensorflow as tf

    tf.io.gfile.makedirs(folder)
    proof = temporary_path(f"{folder}/.writable")
    try:
        with tf.io.gfile.GFile(proof, "wb") as file:
            file.write(_PROOF)
    finally:
        with suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(proof)


def temporary_path(path: str) -> str:
    """A path next to `path` for what is to become it; `final_name` recognizes it if a killed process leaves it."""
    return f"{path}.tmp-{uuid.uuid4().hex}"


def final_name(name: str) -> str:
    """The name of the file that a file of a temporary name was to become; any other name as it is."""
    return re.sub(r"\.tmp-[0-9a-f]{32}$", "", name)


def write_atomically(path: str, text: str) -> None:
    """Writes a text file under another name and renames it: it appears complete or not at all."""
    import tensorflow as tf

    temporary = temporary_path(path)
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(text.encode())
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_json(path: str) -> Any:
    """The content of a JSON file; InputError if there is none, ValueError if it is not JSON."""
    content = read_file(path)
    if content is None:
        raise InputError("no such file, or it is not readable")
    return json.loads(content)
