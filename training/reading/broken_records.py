"""Which record of a dataset cannot be read: TensorFlow's own messages name neither file nor record."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import exists, plain_message
from ssd300.datasets.record import parse

# What TensorFlow raises for a file that is damaged or gone, or an image that cannot be decoded; its message about a
# record that cannot be parsed quotes the record, which is no text.
_SIGNS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError, UnicodeDecodeError)


@contextmanager
def naming_broken_records(dataset: EncodedDataset, *splits: str, copies: bool = False) -> Iterator[None]:
    """Turns an error that a broken record causes into one that names the record.

    Nothing is read unless there is an error; then the splits are read until a record cannot be.

    Args:
        dataset: what is read within the context.
        *splits: its splits that are read.
        copies: whether their augmented copies are read, too.

    Raises:
        InputError: a record is broken; the message names its file, its number and, if it can be read, its image.
    """
    try:
        yield
    except (*_SIGNS, OSError) as error:
        if getattr(error, "errno", None) is not None:  # Pillow's errors have none, the file system's do
            raise
        variants = (dataset.files(split, copies=copies).variants for split in splits)
        broken = _first_broken(path for paths in variants for shards in paths for path in shards)
        if broken is None:
            raise
        raise InputError(broken) from None


def _first_broken(paths: Iterable[str]) -> str | None:
    """What is wrong with the first record that cannot be read; None if all can."""
    for path in paths:
        if not exists(path):
            return f"{path} is missing"
        number, named = 0, ""
        try:
            for serialized in tf.data.TFRecordDataset(path):
                named = ""
                record = parse(serialized)
                named = f" ({record['id'].numpy().decode(errors='replace')})"
                tf.io.decode_jpeg(record["image"], channels=3)
                number += 1
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            reason = plain_message(error) if isinstance(error, tf.errors.OpError) else "it is no record of this schema"
            return f"{path}: record {number}{named} cannot be read: {reason}"
    return None
