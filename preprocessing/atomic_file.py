"""Small files that are whole or absent, whenever their writer dies."""

import uuid

import tensorflow as tf


def write_atomically(path: str, text: str) -> None:
    """Writes a text file under another name and renames it: readers see all of it or nothing."""
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(text.encode())
    tf.io.gfile.rename(temporary, path, overwrite=True)
