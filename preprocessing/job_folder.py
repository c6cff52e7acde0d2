"""The folder of a job: whose it is, and whether a job may begin or go on in it."""

import json

import tensorflow as tf

from ssd300.datasets.files import write_atomically
from ssd300.preprocessing import identity
from ssd300.preprocessing.plan import Plan
from ssd300.preprocessing.report.summary import REJECTED, REPORT, REPORT_PAGE

WORK, CHECK = ".work", ".check"  # of an unfinished job, and of a check


def folder_path(path: str) -> str:
    """The path without slashes at its end; ValueError for none."""
    stripped = path.rstrip("/")
    if not stripped:
        raise ValueError("the output must be a folder, got an empty path or the root")
    return stripped


def is_complete(plan: Plan, output: str) -> bool:
    """Whether the folder holds the dataset of this plan; ValueError if it holds another one's."""
    marker = f"{output}/{identity.COMPLETED}"
    if not tf.io.gfile.exists(marker):
        return False
    with tf.io.gfile.GFile(marker, "rb") as file:
        if json.loads(file.read())["plan"] == plan.digest():
            return True
    raise ValueError(f"{output} holds another dataset, made by another plan; choose another folder or remove it")


def claim(plan: Plan, output: str) -> None:
    """Makes the folder ready for this plan, new or to go on with.

    Raises:
        ValueError: the folder cannot be made, or holds something else.
    """
    work = f"{output}/{WORK}"
    path = f"{work}/plan.json"
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            if json.loads(file.read())["digest"] != plan.digest():
                raise ValueError(
                    f"{output} holds an unfinished job with another plan (other sources, classes, preset, seed, ...); "
                    "run its own command to finish it, choose another folder or remove it"
                )
        return
    # A kill may have come before the plan was there: a lone work folder is nobody else's.
    make_folder(output, WORK)
    tf.io.gfile.makedirs(f"{work}/reports")
    write_atomically(path, json.dumps({"digest": plan.digest(), "settings": json.loads(plan.settings.to_json())}))


def make_folder(output: str, work: str) -> None:
    """Makes a folder, if it is not there; what an earlier check left in it may stay.

    Raises:
        ValueError: it cannot be made, or holds something else.
    """
    try:
        if tf.io.gfile.exists(output) and set(names_in(output)) - {work, CHECK, REPORT, REPORT_PAGE, REJECTED}:
            raise ValueError(f"{output} is not empty and holds no job of ssd300; choose another folder")
        tf.io.gfile.makedirs(output)
    except tf.errors.OpError as error:
        raise ValueError(f"{output} cannot be the folder of a dataset: {error.message}") from None


def names_in(folder: str) -> list[str]:
    """Names of what is in a folder."""
    return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
