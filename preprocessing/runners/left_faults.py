"""Faults of the storage that workers leave, wherever they run: what the launcher says when its last attempt has failed.

A worker's traceback says little to people, does not reach the launcher from everywhere, and ends a local pipeline
with all the shards that could have been encoded.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from ssd300.datasets.errors import StorageError
from ssd300.datasets.files import names_in, read_file, storage_errors, write_atomically

_ENDING = ".fault"
_LOG = logging.getLogger(__name__)


@contextmanager
def leaving_faults(folder: str, *, raising: bool) -> Iterator[None]:
    """Leaves a StorageError of what it encloses in a folder; `raising` tells whether it goes on its way then."""
    try:
        yield
    except StorageError as error:
        try:
            write_atomically(f"{folder}/{uuid.uuid4().hex}{_ENDING}", str(error))
        except StorageError:
            _LOG.error("%s", error)
        if raising:
            raise


def left_faults(folder: str) -> list[str]:
    """The messages that were left in a folder."""
    contents = (read_file(f"{folder}/{name}") for name in names_in(folder) if name.endswith(_ENDING))
    return sorted({content.decode() for content in contents if content})


def remove_faults(folder: str) -> None:
    """Removes what an earlier attempt left."""
    for name in names_in(folder):
        if name.endswith(_ENDING):
            with storage_errors(folder):
                tf.io.gfile.remove(f"{folder}/{name}")
