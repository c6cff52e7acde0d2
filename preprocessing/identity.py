"""The identity of an encoded dataset: what it was made with, and a fingerprint over that."""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.record import VERSION
from ssd300.model.default_boxes import digest
from ssd300.model.spec import Spec
from ssd300.preprocessing.plan import Plan

FILE_NAME = "identity.json"
# Written last: a folder without it is no dataset, whatever else is in it.
COMPLETED = "COMPLETED"


class IncompleteDatasetError(ValueError):
    """A folder is no encoded dataset, or one whose job has not ended."""


class IdentityMismatchError(ValueError):
    """A dataset was encoded for another model."""


@dataclass(frozen=True)
class Identity:
    """What a dataset was made with; plain values by name."""

    fields: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the fields."""
        return hashlib.sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()

    @property
    def classes(self) -> ClassList:
        """The class list."""
        return ClassList(tuple(self.fields["classes"]))

    @property
    def preset(self) -> str:
        """Name of the preset."""
        return self.fields["preset"]

    @property
    def copies(self) -> dict[str, int]:
        """How many augmented copies each picture has, by split; splits without any are left out."""
        return self.fields["copies"]

    def to_json(self) -> str:
        """As text, for ``identity.json``."""
        return json.dumps({"fingerprint": self.fingerprint, **self.fields}, indent=2)

    def check(self, spec: Spec, num_classes: int) -> None:
        """Checks that a model of `spec` with `num_classes` (background included) can train on the dataset.

        Raises:
            IdentityMismatchError: it names every field that differs, with both values.
        """
        expected = {**encoding_fields(spec), "number of classes": num_classes}
        got = {**self.fields, "number of classes": len(self.fields["classes"]) + 1}
        differing = [name for name in expected if expected[name] != got.get(name)]
        if differing:
            lines = [
                f"  {name}: the model expects {expected[name]!r}, the dataset has {got.get(name)!r}"
                for name in differing
            ]
            raise IdentityMismatchError("\n".join(["the dataset was encoded for another model:", *lines]))


def encoding_fields(spec: Spec) -> dict[str, Any]:
    """The fields in which a dataset and a model must agree."""
    return {
        "preset": spec.name,
        "default_boxes": digest(spec),
        "variances": None if spec.variances is None else list(spec.variances),
        "matching": spec.matching,
        "match_iou": spec.match_iou,
    }


def identity_of(plan: Plan) -> Identity:
    """The identity of the dataset that `plan` makes.

    Sources are named by their trees' folder names and a digest of their ids, so that a moved tree gives the same
    identity.
    """
    settings = plan.settings
    pictures = [[shard.split, shard.index, [name for _, name in shard.pictures]] for shard in plan.shards]
    return Identity(
        {
            **encoding_fields(settings.spec),
            "classes": list(settings.classes.names),
            "coordinates": settings.convention,
            "sources": list(settings.source_names),
            "pictures": hashlib.sha256(json.dumps(pictures).encode()).hexdigest(),
            "min_size": settings.min_size,
            "drop_empty": settings.drop_empty,
            "seed": settings.seed,
            "copies": {split: settings.copies for split in plan.splits if settings.copies_of(split)},
            "copy_augmentation": asdict(settings.copy_augmentation) if settings.copies else None,
            "verify": settings.verify,
            "record_version": VERSION,
            "code_version": importlib.metadata.version("ssd300"),
        }
    )


def read_identity(dataset: str) -> Identity:
    """The identity of the dataset in a folder.

    Raises:
        IncompleteDatasetError: the folder is no finished dataset.
        IdentityMismatchError: ``identity.json`` was changed by hand: its fingerprint does not fit.
    """
    if not tf.io.gfile.exists(f"{dataset}/{COMPLETED}"):
        raise IncompleteDatasetError(
            f"{dataset} is not a finished dataset: there is no file {COMPLETED}; run `ssd300 preprocess` to its end"
        )
    path = f"{dataset}/{FILE_NAME}"
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            fields = dict(json.loads(file.read()))
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise IncompleteDatasetError(f"{path} cannot be read: {error}") from None
    stored = fields.pop("fingerprint", None)
    identity = Identity(fields)
    if identity.fingerprint != stored:
        raise IdentityMismatchError(
            f"{path} was changed: its fingerprint is {stored}, its fields give {identity.fingerprint}"
        )
    return identity
