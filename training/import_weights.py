"""A run of this package from another project's trained weights."""

import json
from pathlib import Path
from typing import cast

from ssd300.datasets.classes import ClassList
from ssd300.datasets.files import write_atomically
from ssd300.model.spec import PresetName
from ssd300.model.weights.load import Channels, ImportedWeights, load_trained
from ssd300.training.preparation import versions
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings

PASSPORT = "passport.json"


def import_weights(
    file: str | Path,
    output: str | Path,
    *,
    classes: ClassList | None = None,
    channels: Channels | None = None,
    preset: PresetName | None = None,
) -> tuple[RunDirectory, ImportedWeights]:
    """Makes a run of a file of trained weights: configuration, one checkpoint of step 0, and ``passport.json``.

    `classes`, `channels` and `preset` are those of `ssd300.model.weights.load.load_trained`.

    Raises:
        InputError: the file cannot be used, or the folder holds a run already.
        StorageError: the run cannot be written.
    """
    run = RunDirectory(output)
    run.check_free()
    imported = load_trained(file, classes=classes, channels=channels, preset=preset)
    # A run's settings are those of its training, of which nothing is known but where it began.
    settings = TrainSettings(dataset="", preset=cast(PresetName, imported.spec.name), weights=str(file))
    config = RunConfig(
        settings, imported.classes, "", versions(), imported.spec, imported=imported.passport["file"]["format"]
    )
    run.save_checkpoint(imported.model, 0, keep=1)
    write_atomically(str(run.path / PASSPORT), json.dumps(imported.passport, indent=1))
    run.create(config)  # last: a folder without a configuration is no run, and may be imported into again
    return run, imported
