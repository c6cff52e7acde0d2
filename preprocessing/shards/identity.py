"""The identity of the dataset that a plan makes."""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict

from ssd300.datasets.encoded_dataset import Identity
from ssd300.datasets.record import VERSION
from ssd300.model.default_boxes import encoding_fields
from ssd300.preprocessing.plan import Plan


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
            "coordinates": settings.coordinates,
            "sources": list(settings.source_names),
            "pictures": hashlib.sha256(json.dumps(pictures).encode()).hexdigest(),
            "min_size": settings.min_size,
            "drop_empty": settings.drop_empty,
            "strict": settings.strict,
            "seed": settings.seed,
            "copies": {split: settings.copies for split in plan.splits if settings.number_of_copies(split)},
            "copy_augmentation": asdict(settings.copy_augmentation) if settings.copies else None,
            "verify": settings.verify,
            "record_version": VERSION,
            "code_version": importlib.metadata.version("ssd300"),
        }
    )
