"""A run's folder: its configuration, checkpoints, history and logs."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import write_atomically
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.support.options import from_plain
from ssd300.training.settings import TrainSettings

_CHECKPOINT = re.compile(r"step-(\d+)\.weights\.h5")


@dataclass(frozen=True)
class RunConfig:
    """The whole configuration of a run."""

    settings: TrainSettings  # as given, with the preset filled in
    classes: ClassList  # of the dataset
    fingerprint: str  # of the dataset
    versions: dict[str, str]  # of the packages that count

    def model_arguments(self) -> dict[str, Any]:
        """Arguments of `SSD300`."""
        settings = self.settings
        return {
            "num_classes": len(self.classes.names) + 1,
            "preset": settings.preset,
            "width": settings.width,
            "norm": settings.norm,
        }


def read_config(path: str | Path) -> RunConfig:
    """The configuration in a run's ``config.json``; InputError if it holds none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        classes = from_plain(ClassList, content["classes"], where=f"{path}")
        settings = from_plain(TrainSettings, content["settings"], where=f"{path}")
        return RunConfig(settings, classes, content["fingerprint"], content["versions"])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the configuration of a run: {error!r}") from None


class RunDirectory:
    """The folder of a run; it need not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.history_path = self.path / "history.csv"
        self.logs_path = self.path / "tensorboard"
        self._checkpoints = self.path / "checkpoints"

    def check_free(self) -> None:
        """Checks that a new run may be made here; InputError if there is one."""
        if self.config_path.exists():
            raise InputError(f"{self.path} already holds a run; resume it, or choose another folder")

    def create(self, config: RunConfig) -> None:
        """Makes the folder and writes the configuration; InputError if there is a run already."""
        self.check_free()
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: RunConfig) -> None:
        """Writes the configuration."""
        write_atomically(str(self.config_path), json.dumps(asdict(config), indent=2))

    def read_config(self) -> RunConfig:
        """The configuration of the run; InputError if the folder holds none."""
        if not self.config_path.exists():
            raise InputError(f"{self.path} is not the folder of a run: there is no {self.config_path.name}")
        return read_config(self.config_path)

    def checkpoints(self) -> list[tuple[int, Path]]:
        """``(step, path)`` of the checkpoints, oldest first."""
        found = ((_CHECKPOINT.fullmatch(path.name), path) for path in self._checkpoints.glob("*"))
        return sorted((int(match[1]), path) for match, path in found if match)

    def newest_checkpoint(self) -> tuple[int, Path]:
        """The newest checkpoint; InputError if there is none."""
        checkpoints = self.checkpoints()
        if not checkpoints:
            raise InputError(f"{self.path} has no checkpoint yet")
        return checkpoints[-1]

    def save_checkpoint(self, model: SSD300, step: int, *, keep: int) -> Path:
        """Saves weights and optimizer atomically, and keeps only the `keep` newest checkpoints."""
        path = self._checkpoints / f"step-{step:08d}.weights.h5"
        partial = self._checkpoints / "partial.weights.h5"  # Keras wants this ending
        model.save_weights(partial)
        partial.replace(path)
        for _, old in self.checkpoints()[:-keep]:
            old.unlink()
        return path

    def load_model(self) -> tuple[SSD300, RunConfig, int]:
        """The network with the weights of the newest checkpoint, the configuration, and the checkpoint's step."""
        config = self.read_config()
        step, path = self.newest_checkpoint()
        model = SSD300(**config.model_arguments())
        model.load_weights(path)
        return model, config, step
