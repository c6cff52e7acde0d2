"""Files of this machine's disks and of any file system that TensorFlow knows; writes are atomic.

TensorFlow takes seconds to import. It is imported when a file is touched, so that settings and ``--help`` do without.
"""

import json
import uuid
from typing import Any

from ssd300.datasets.errors import InputError


def read_file(path: str) -> bytes | None:
    """The content of a file, None where there is none that can be read."""
    if "://" not in path:  # Python's own files are several times faster than TensorFlow's
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open here
                return file.read()
        except (OSError, ValueError):
            return None
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return bytes(file.read())
    except (OSError, ValueError, tf.errors.OpError):
        return None


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


def write_atomically(path: str, text: str) -> None:
    """Writes a text file under another name and renames it: it appears complete or not at all."""
    import tensorflow as tf

    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(text.encode())
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_json(path: str) -> Any:
    """The content of a JSON file; InputError if there is none, ValueError if it is not JSON."""
    content = read_file(path)
    if content is None:
        raise InputError("no such file, or it is not readable")
    return json.loads(content)
