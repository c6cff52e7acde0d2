"""A lease on a folder: of two jobs that would write into one folder the second is refused.

The lease is a file in the folder that names its owner. The owner renews it; a lease that is not renewed any more, or
whose process is gone from this machine, is free, so a killed owner leaves none behind for long. It works on every file
system that TensorFlow knows, where locks do not.
"""

import errno
import hashlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import final_name, names_in, read_file, temporary_path, write_atomically

NAME = ".lease"
_RENEW = 10.0  # seconds between two renewals
_EXPIRY = 60.0  # seconds after which a lease that was not renewed is free
_PATIENCE = 0.3  # seconds in which two that start together see each other's lease
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_HELD: set[str] = set()  # ids of the leases that this process holds or tries to get
_LOG = logging.getLogger(__name__)


@contextmanager
def lease(folder: str, *, what: str) -> Iterator[None]:
    """Holds the lease of an existing folder for as long as the context lasts; it removes what killed holders left.

    Args:
        folder: any folder that ``tf.io.gfile`` can write to.
        what: who holds it, for the message that the second one gets, such as ``preprocess``.

    Raises:
        InputError: another process holds it; the message names the process and its host.
    """
    path = f"{folder}/{NAME}"
    own: dict[str, Any] = {"what": what, "host": platform.node(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    refuse_if_held(folder)
    _HELD.add(own["id"])
    try:
        with _held(path, own, folder):
            yield
    finally:
        _HELD.remove(own["id"])


@contextmanager
def _held(path: str, own: dict[str, Any], folder: str) -> Iterator[None]:
    try:
        if "://" in folder or not _link(path, own):
            # Of several that found it free, the last to write has it; the others see that after a moment.
            _write(path, own)
            time.sleep(_PATIENCE)
    except StorageError:  # perhaps because another one has got it, and has tidied up
        refuse_if_held(folder)
        raise
    if _read(path).get("id") != own["id"]:
        refuse_if_held(folder)
        raise InputError(f"{folder} is in use by another process that has started at the same time")
    for name in names_in(folder):
        if final_name(name) == NAME != name:
            with suppress(tf.errors.NotFoundError):
                tf.io.gfile.remove(f"{folder}/{name}")
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, own, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        with suppress(OSError, tf.errors.OpError):  # it ends by itself, and another error may be on its way
            if _read(path).get("id") == own["id"]:
                tf.io.gfile.remove(path)


def refuse_if_held(folder: str) -> None:
    """Raises InputError if another process holds the lease of a folder; the message names the process and its host."""
    held = _read(f"{folder}/{NAME}")
    if _is_free(held):
        return
    raise InputError(
        f"{folder} is in use by {held['what']}, process {held['pid']} on {held['host']}; wait until it has ended, "
        f"or choose another folder (after a crash on another machine its lease ends within {_EXPIRY:.0f} seconds)"
    )


def _link(path: str, own: dict[str, Any]) -> bool:
    """Writes the lease on this machine's disk, where of several that try at once exactly one succeeds.

    Returns:
        Whether that can be done at all: some file systems know no hard links.
    """
    new = temporary_path(path)
    _write(new, own)
    try:
        _take(path, new)
    except OSError as error:
        return error.errno not in _NO_LINKS
    finally:
        Path(new).unlink(missing_ok=True)
    return True


def _take(path: str, new: str) -> bool:
    """Gives the file `new` a second name, `path`, if there is none of that name or its owner is gone.

    A file whose owner is gone is replaced by one process alone: by the one that takes, in the same way, a file that is
    named after the old one's content.
    """
    with suppress(FileExistsError):
        os.link(new, path)
        return True
    left = read_file(path)
    if left is None or not _is_free(_parse(left)):
        return False
    claim = f"{path}.tmp-{hashlib.sha256(left).hexdigest()[:32]}"
    if not _take(claim, new):
        return False
    if taken := read_file(path) == left:
        Path(claim).replace(path)
    else:
        Path(claim).unlink(missing_ok=True)
    return taken


def _is_free(held: dict[str, Any]) -> bool:
    """Whether the owner of a lease is gone, or unknown."""
    if not held or time.time() - held["renewed"] > _EXPIRY:
        return True
    if held["host"] != platform.node():
        return False
    if held["pid"] == os.getpid():  # in a container that was started again, a predecessor may have had the same number
        return held["id"] not in _HELD
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _renew(path: str, own: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(_RENEW):
        try:
            if _read(path).get("id") != own["id"]:  # this process was stopped for so long that another one took it over
                _LOG.error("%s is now held by another process; stop this one", path)
                return
            _write(path, own)
        except StorageError as error:
            _LOG.warning("%s", error)  # a storage that fails for a moment may do it the next time


def _write(path: str, own: dict[str, Any]) -> None:
    write_atomically(path, json.dumps({**own, "renewed": time.time()}))


def _read(path: str) -> dict[str, Any]:
    """The lease in a file; empty if there is none, or none that can be understood."""
    return _parse(read_file(path) or b"{}")


def _parse(content: bytes) -> dict[str, Any]:
    try:
        held = json.loads(content)
        return held if {"what", "host", "pid", "id", "renewed"} <= held.keys() else {}
    except (ValueError, AttributeError):
        return {}
