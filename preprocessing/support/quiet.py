"""Importing TensorFlow without the lines that it prints before anyone can set its log level, and without GPUs."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quiet_import() -> Iterator[None]:
    """Holds back what libraries print to standard error meanwhile; it is printed after all if an exception passes.

    TensorFlow's log level does not reach the messages that its C++ code prints before its logging begins.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":  # someone wants to see them
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


def import_tensorflow(
    threads: int | None = None, *, gpus: bool = True, before: Callable[[], None] = lambda: None
) -> None:
    """Imports TensorFlow and runs its first operation, quietly.

    Args:
        before: called between the two: some things must be set before any operation runs.
        gpus: False for a process that only preprocesses; see `hide_gpus`.
        threads: of its pools, None for its own choice. Several worker processes with a pool as large as the machine
            each would only push each other aside.
    """
    with quiet_import():
        import tensorflow as tf

        if not gpus:
            hide_gpus()
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        before()
        tf.constant(0)


def hide_gpus() -> None:
    """Keeps this process from ever using a GPU, if TensorFlow has not run an operation in it yet.

    TensorFlow reserves the whole memory of every GPU that it sees with its first operation, so that of several worker
    processes all but one would die, and a trainer on the same machine could not start.
    """
    import tensorflow as tf

    with suppress(RuntimeError):  # TensorFlow has begun, and keeps what it has
        tf.config.set_visible_devices([], "GPU")
