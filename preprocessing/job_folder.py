"""The folder of a job: whose it is, and whether a job may start or resume in it."""

import json
from contextlib import suppress
from typing import Any

import tensorflow as tf

from ssd300.datasets.encoded_dataset import COMPLETED, IDENTITY, REJECTED, REPORT, REPORT_PAGE, EncodedDataset, Identity
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import (
    exists,
    final_name,
    is_folder,
    names_in,
    read_file,
    read_json,
    sha256,
    storage_errors,
    writable_folder,
    write_atomically,
)
from ssd300.preprocessing.support import lease

WORK, CHECK = ".work", ".check"  # of an unfinished job, and of a check
# What a check leaves, and under temporary names a check or job that was killed.
_LEFT = {CHECK, REPORT, REPORT_PAGE, REJECTED, lease.NAME, ".writable"}
_PLAN = f"{WORK}/plan.json"


def folder_path(path: str) -> str:
    """The path without slashes at its end; InputError for none."""
    stripped = path.rstrip("/")
    if not stripped:
        raise InputError("the output must be a folder, got an empty path or the root")
    return stripped


def refuse_unusable(output: str, work: str) -> None:
    """Checks, before anything is computed, that a job can have a folder: it leaves the folder as it is, or none.

    Args:
        output: the folder.
        work: `WORK` or `CHECK`.

    Raises:
        InputError: the folder holds something else, is in use or cannot be written; the message names it.
    """
    try:
        if work == WORK and exists(f"{output}/{COMPLETED}"):
            return  # whose dataset it is, the plan will tell
        if is_folder(output):
            _refuse_foreign(output, work)
            lease.refuse_if_held(output)
    except StorageError as error:
        raise InputError(f"{output} cannot be the folder of a dataset: {error.reason}") from None
    writable_folder(output, keep=False)


def _refuse_foreign(output: str, work: str) -> None:
    if work == WORK and exists(f"{output}/{_PLAN}"):
        return  # it will be compared
    # A kill may have come before the plan was written: a work folder without one is free.
    if {final_name(name) for name in names_in(output)} - _LEFT - {work}:
        raise InputError(f"{output} is not empty and holds no job of ssd300; choose another folder")


def is_complete(identity: Identity, output: str) -> bool:
    """Whether the folder holds the dataset of this identity; InputError if it holds another one."""
    if not exists(f"{output}/{COMPLETED}"):
        return False
    differing = _differing(identity, Identity.read(f"{output}/{IDENTITY}"))
    if differing:
        raise InputError(f"{output} holds another dataset ({differing}); choose another folder or remove it")
    return True


def complete_report(output: str) -> dict[str, Any]:
    """The report of a complete dataset; InputError, which names the file, if one of its files is damaged."""
    marker = read_json(f"{output}/{COMPLETED}")
    report = EncodedDataset.open(output).report
    digest = marker.get("report") if isinstance(marker, dict) else None
    if digest not in (None, sha256((read_file(f"{output}/{REPORT}") or b"").decode(errors="replace"))):
        raise InputError(f"{output}/{REPORT} is damaged: its checksum is not the one in {COMPLETED}")
    return report


def claim(identity: Identity, output: str, work: str) -> None:
    """Prepares a folder, whose lease is held, for a check, or for the dataset of this identity, new or to be resumed.

    Raises:
        InputError: the folder holds something else.
        StorageError: it cannot be written.
    """
    _refuse_foreign(output, work)
    path = f"{output}/{_PLAN}"
    with storage_errors(output):
        if work == CHECK:
            remove_folder(f"{output}/{CHECK}")
        elif exists(path):
            _refuse_other_job(identity, path, output)
        tf.io.gfile.makedirs(f"{output}/{work}/reports")
        if work == WORK and not exists(path):
            write_atomically(path, identity.to_json())


def _refuse_other_job(identity: Identity, path: str, output: str) -> None:
    try:
        differing = _differing(identity, Identity.read(path))
    except InputError as error:
        raise InputError(f"{output} holds an unfinished job that cannot be resumed: {error}; remove it") from None
    if differing:
        raise InputError(
            f"{output} holds an unfinished job with another plan ({differing}); "
            "run its own command to finish it, choose another folder or remove it"
        )


def _differing(wanted: Identity, found: Identity) -> str:
    """Which fields differ, in words; nothing if none does."""
    names = [name for name, value in _plain(wanted).items() if found.fields.get(name) != value]
    return f"other {', '.join(names)}" if names else "" if wanted.fingerprint == found.fingerprint else "other fields"


def _plain(identity: Identity) -> dict[str, Any]:
    return json.loads(json.dumps(identity.fields))  # with lists for tuples, as it was read


def remove_folder(folder: str) -> None:
    """Removes a folder, if it is there, with all that is in it."""
    if exists(folder):
        tf.io.gfile.rmtree(folder)


def tidy(output: str) -> None:
    """Removes what is no part of a dataset and not needed to resume its job: temporary files and an earlier check."""
    for name in names_in(output):
        if final_name(name) not in (name, lease.NAME):
            tf.io.gfile.remove(f"{output}/{name}")
    remove_folder(f"{output}/{CHECK}")


def tidy_complete(output: str) -> None:
    """Removes what a job left that was killed after its dataset was complete, if no job is in the folder any more."""
    left = {final_name(name) for name in names_in(output)} & {WORK, lease.NAME, ".writable"}
    # The dataset may be on a disk that can only be read, where all is well, too.
    with suppress(InputError, OSError, tf.errors.OpError):
        if left:
            with lease.lease(output, what="preprocess"):
                tidy(output)
                remove_folder(f"{output}/{WORK}")
