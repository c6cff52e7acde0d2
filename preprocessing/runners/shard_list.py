"""A list of shards in a file, so that only places in it go through Beam.

A pipeline's graph holds what it is created from, and runners limit the size of a graph (Dataflow: 10 MB); the names of
a million images would be several times that. So the graph holds the path of a list, the shuffle places in it, and a
worker reads the names of the one shard that it encodes.
"""

import json
from collections.abc import Iterable

import tensorflow as tf

from ssd300.preprocessing.plan import Shard

Place = tuple[str, int, int]  # path of the list, first byte, number of bytes


def write_shard_list(path: str, shards: Iterable[Shard]) -> None:
    """Writes the shards, one per line, and next to the file an index of its lines."""
    offset, places = 0, []
    with tf.io.gfile.GFile(path, "wb") as file:
        for shard in shards:
            line = f"{shard.to_json()}\n".encode()
            file.write(line)
            places.append((offset, len(line)))
            offset += len(line)
    with tf.io.gfile.GFile(_index(path), "wb") as file:
        file.write(json.dumps(places).encode())


def places_in(path: str) -> list[Place]:
    """The places of all shards of a list."""
    with tf.io.gfile.GFile(_index(path), "rb") as file:
        return [(path, offset, length) for offset, length in json.loads(file.read())]


def read_shard(place: Place) -> Shard:
    """The shard at a place."""
    path, offset, length = place
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(offset)
        return Shard.from_json(file.read(length))


def _index(path: str) -> str:
    return f"{path}.index"
