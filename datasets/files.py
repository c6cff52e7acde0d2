"""Files of this machine's disks and of any file system that TensorFlow knows; writes are atomic.

TensorFlow takes seconds to import. It is imported when a file is touched, so that settings and ``--help`` do without.
"""

import errno
import hashlib
import json
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ssd300.datasets.errors import InputError, StorageError

T = TypeVar("T")

# Errors that say that a path names no file. All others are the storage's, not the path's.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
# Errors of a storage that another attempt, a moment later, meets again.
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_NO_PLUGIN = "paths need a file-system plugin of TensorFlow, such as tensorflow-io"
_PAUSES = (0.1, 0.5, 2.0)  # seconds before another attempt at a read that failed
_PROOF = b"\0" * 65536  # a full disk takes an empty file, and often a short one


def resolve_path(path: str) -> str:
    """The absolute path that `path`, as a person types it, means; ``~`` is the home folder. URLs stay as they are.

    Links are kept: a tree is called what its user calls it.
    """
    if "://" in path or not path:
        return path
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - a Path keeps "..", and costs more


def real_path(path: str) -> str:
    """One path for one thing: without links, from the file system's root; URLs stay as they are."""
    return path if "://" in path else os.path.realpath(path)


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
    """What `operation` on the file `path` gives; it is tried again after a fault of the storage that may pass.

    Raises:
        StorageError: it failed every time, or for a reason that stays.
    """
    for pause in (*_PAUSES, None):
        try:
            return operation()
        except Exception as error:
            reason = storage_reason(error)
            if reason is None:
                raise
            if pause is None or is_lasting(reason) or _says_not_there(error):
                raise StorageError(path, reason) from None
        time.sleep(pause)
    raise AssertionError("unreachable")


@contextmanager
def storage_errors(path: str, action: str = "written") -> Iterator[None]:
    """Turns an error of the storage into a StorageError that names the file; `action` is what could not be done to it.

    TensorFlow's InvalidArgumentError passes: no file system gives it, a computation does.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        reason = storage_reason(error)
        if reason is None or type(error).__name__ == "InvalidArgumentError":
            raise
        raise StorageError(str(getattr(error, "filename", None) or path), reason, action) from None


def storage_reason(error: BaseException) -> str | None:
    """Why a storage failed, in a few words, if `error` says that one did; None for any other error."""
    if isinstance(error, StorageError):
        return error.reason
    if isinstance(error, OSError):
        return error.strerror or str(error)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        return re.sub(r"^\S*/\S*; ", "", plain_message(error))  # it begins with the path, as the temporary one
    return None


def is_lasting(reason: str) -> bool:
    """Whether a fault for this reason will be met again a moment later: a full or read-only disk, a missing plugin."""
    return _NO_PLUGIN in reason or any(os.strerror(code) in reason for code in _LASTING)


def _says_not_there(error: Exception) -> bool:
    return (isinstance(error, OSError) and error.errno in _NOT_THERE) or type(error).__name__ == "NotFoundError"


def plain_message(error: BaseException) -> str:
    """The first line of TensorFlow's message, without the names of its operations, which say nothing to a user."""
    lines = str(getattr(error, "message", error) or type(error).__name__).strip().splitlines()
    scheme = re.match(r"File system scheme '([^']*)' not implemented", lines[0])
    if scheme:
        return f"{scheme[1]}:// {_NO_PLUGIN}"
    text = re.sub(r"\{\{function_node [^}]*\}\}\s*|\{\{node [^}]*\}\}\s*", "", lines[0])
    return re.sub(r"\s*\[Op:[^\]]*\].*$", "", text).strip()


def exists(path: str) -> bool:
    """Whether there is a file or folder; StorageError if that cannot be found out."""
    return retrying(lambda: _is_folder(path), path) is not None


def is_folder(path: str) -> bool:
    """Whether there is a folder; StorageError if that cannot be found out."""
    return retrying(lambda: _is_folder(path), path) is True


def _is_folder(path: str) -> bool | None:
    """Whether the path is of a folder; None if nothing is there. Python and TensorFlow call a faulty disk empty."""
    try:
        if "://" not in path:
            return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - as above
        import tensorflow as tf

        return bool(tf.io.gfile.stat(path).is_directory)
    except ValueError:  # a null byte in the path
        return None
    except Exception as error:
        if _says_not_there(error):
            return None
        raise


def names_in(folder: str) -> list[str]:
    """Names of what is in a folder; StorageError if it cannot be listed."""
    import tensorflow as tf

    return [name.rstrip("/") for name in retrying(lambda: tf.io.gfile.listdir(folder), folder)]


def holds_anything(folder: str) -> bool:
    """Whether there is a folder that is not empty; of a folder elsewhere only whether it is there."""
    if "://" in folder:
        return is_folder(folder)
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise StorageError(folder, error.strerror or str(error)) from None


def files_below(folder: str) -> list[str]:
    """Paths, in the folder, of all files in it and its sub-folders, sorted; linked folders are followed once.

    Raises:
        UnicodeError: a name is not UTF-8.
    """
    import tensorflow as tf

    found, seen = [], set()
    for parent, folders, names in (tf.io.gfile.walk if "://" in folder else _walk)(folder):
        if (real := real_path(parent)) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        inside = parent[len(folder) :].strip("/")
        found += [f"{inside}/{name}" if inside else name for name in names]
    for path in found:
        path.encode()
    return sorted(found)


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    def fail(error: OSError) -> None:
        raise StorageError(str(error.filename), error.strerror or str(error))

    return os.walk(folder, onerror=fail, followlinks=True)


def writable_folder(path: str, *, keep: bool = True) -> None:
    """Makes a folder, if there is none, and proves that files can be written in it. If not, nothing new stays.

    Args:
        path: of the folder.
        keep: False to remove what was made in any case, where the proof alone is wanted.

    Raises:
        InputError: ``FOLDER cannot be written: REASON``.
    """
    try:
        if "://" in path:
            _prove_writable(path)
        else:
            _make_writable(Path(path), keep)
    except Exception as error:
        reason = storage_reason(error)
        if reason is None:
            raise
        raise InputError(f"{path} cannot be written: {reason}") from None


def _make_writable(folder: Path, keep: bool) -> None:
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    there = missing[-1].parent if missing else folder
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _prove_writable(str(folder))
        if keep:
            missing = []
    finally:
        for made in missing:
            with suppress(OSError):  # it was not made, or another process uses it
                made.rmdir()


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
    return re.sub(r"(\.tmp-[0-9a-f]{32})+$", "", name)


def write_atomically(path: str, content: str | bytes) -> None:
    """Writes a file under another name and renames it: it appears complete or not at all.

    Raises:
        StorageError: it could not be written; the message names it and the reason.
    """
    import tensorflow as tf

    temporary = temporary_path(path)
    with storage_errors(path):
        try:
            with tf.io.gfile.GFile(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            tf.io.gfile.rename(temporary, path, overwrite=True)
        except BaseException:
            with suppress(tf.errors.OpError):
                tf.io.gfile.remove(temporary)
            raise


def read_json(path: str) -> Any:
    """The content of a JSON file; InputError, which names the file, if there is none or it is not JSON."""
    content = read_file(path)
    if content is None:
        raise InputError(f"{path}: there is no such file")
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not JSON: {error}") from None


def sealed(text: str) -> str:
    """A text with its SHA-256 as the last line, so that `unsealed` notices any damage."""
    return f"{text}\n{sha256(text)}\n"


def unsealed(path: str) -> str:
    """The text of a file that `sealed` made; InputError, which names the file, if there is none or it is damaged."""
    text, _, digest = (read_file(path) or b"").decode(errors="replace").removesuffix("\n").rpartition("\n")
    if sha256(text) != digest:
        raise InputError(f"{path} is damaged: its checksum does not match")
    return text


def sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
