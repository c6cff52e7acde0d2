"""A list of shards in a file, so that only places in it go through Beam.

A pipeline's graph holds what it is created from, and runners limit the size of a graph (Dataflow: 10 MB); the names of
a million images would be several times that. So the graph holds the path of a list, the shuffle places in it, and a
worker reads the names of the one shard that it encodes.
"""

import json
import zlib
from collections.abc import Iterable

import tensorflow as tf

from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import retrying, sealed, storage_errors, unsealed, write_atomically
from ssd300.preprocessing.plan import Shard

Place = tuple[str, int, int, int]  # path of the list, first byte, number of bytes, their CRC


def write_shard_list(path: str, shards: Iterable[Shard]) -> None:
    """Writes the shards, one per line, and next to the file an index of its lines; StorageError if it cannot."""
    offset, places = 0, []
    with storage_errors(path), tf.io.gfile.GFile(path, "wb") as file:
        for shard in shards:
            line = f"{shard.to_json()}\n".encode()
            file.write(line)
            places.append((offset, len(line), zlib.crc32(line)))
            offset += len(line)
    write_atomically(_index(path), sealed(json.dumps(places)))


def places_in(path: str) -> list[Place]:
    """The places of all shards of a list; StorageError if it cannot be read or is damaged: it can be written again."""
    try:
        return [(path, *place) for place in json.loads(unsealed(_index(path)))]
    except InputError as error:
        raise StorageError(path, str(error)) from None


def read_shard(place: Place) -> Shard:
    """The shard at a place; StorageError if it cannot be read or is damaged."""
    path, offset, length, crc = place

    def read() -> bytes:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            return bytes(file.read(length))

    line = retrying(read, path)
    if zlib.crc32(line) != crc:
        raise StorageError(path, f"it is damaged at byte {offset}")
    return Shard.from_json(line)


def _index(path: str) -> str:
    return f"{path}.index"
