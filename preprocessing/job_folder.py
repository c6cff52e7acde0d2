"""The folder of a job: whose it is, and whether a job may start or resume in it."""

import json

import tensorflow as tf

from ssd300.datasets.encoded_dataset import COMPLETED, REJECTED, REPORT, REPORT_PAGE
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import exists, names_in, read_json, write_atomically
from ssd300.preprocessing.plan import Plan

WORK, CHECK = ".work", ".check"  # of an unfinished job, and of a check


def folder_path(path: str) -> str:
    """The path without slashes at its end; InputError for none."""
    stripped = path.rstrip("/")
    if not stripped:
        raise InputError("the output must be a folder, got an empty path or the root")
    return stripped


def is_complete(plan: Plan, output: str) -> bool:
    """Whether the folder holds the dataset of this plan; InputError if it holds another one's."""
    marker = f"{output}/{COMPLETED}"
    if not exists(marker):
        return False
    if read_json(marker)["plan"] == plan.digest():
        return True
    raise InputError(f"{output} holds another dataset, made by another plan; choose another folder or remove it")


def claim(plan: Plan, output: str) -> None:
    """Prepares the folder for this plan, new or to be resumed.

    Raises:
        InputError: the folder cannot be made, or holds something else.
    """
    work = f"{output}/{WORK}"
    path = f"{work}/plan.json"
    if exists(path):
        if read_json(path)["digest"] != plan.digest():
            raise InputError(
                f"{output} holds an unfinished job with another plan (other sources, classes, preset, seed, ...); "
                "run its own command to finish it, choose another folder or remove it"
            )
        return
    # A kill may have come before the plan was written: a work folder without one is free.
    make_folder(output, WORK)
    tf.io.gfile.makedirs(f"{work}/reports")
    write_atomically(path, json.dumps({"digest": plan.digest(), "settings": json.loads(plan.settings.to_json())}))


def make_folder(output: str, work: str) -> None:
    """Makes a folder if there is none; what an earlier check left in it may stay.

    Raises:
        InputError: it cannot be made, or holds something else.
    """
    try:
        if exists(output) and set(names_in(output)) - {work, CHECK, REPORT, REPORT_PAGE, REJECTED}:
            raise InputError(f"{output} is not empty and holds no job of ssd300; choose another folder")
        tf.io.gfile.makedirs(output)
    except tf.errors.OpError as error:
        raise InputError(f"{output} cannot be the folder of a dataset: {error.message}") from None
