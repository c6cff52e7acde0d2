"""A run's folder: its configuration, checkpoints, history and logs."""

import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import sha256, writable_folder, write_atomically
from ssd300.model.spec import PAPER, Spec, earlier_spec
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.support.options import check_fields, from_plain
from ssd300.preprocessing.support.outputs import local_path
from ssd300.training.checkpoint_files import checksum_path, load_weights, save_weights
from ssd300.training.settings import TrainSettings

_LOG = logging.getLogger(__name__)
_CHECKPOINT = re.compile(r"step-(\d+)\.weights\.h5")


@dataclass(frozen=True)
class RunConfig:
    """The whole configuration of a run."""

    settings: TrainSettings  # as given, with the preset filled in
    classes: ClassList  # of the dataset
    fingerprint: str  # of the dataset
    versions: dict[str, str]  # of the packages that count
    spec: Spec = PAPER  # of the network, its input and its output
    imported: str | None = None  # format of the weights' file, of a run that was not trained but imported

    @property
    def own_dataset(self) -> str:
        """Folder of the dataset that the run was trained on; InputError if it was imported and has none."""
        if self.imported is not None:
            raise InputError("the run holds imported weights and has no dataset of its own; name one")
        return self.settings.dataset

    def model_arguments(self) -> dict[str, Any]:
        """Arguments of `SSD300`."""
        settings = self.settings
        return {
            "num_classes": len(self.classes.names) + 1,
            "preset": self.spec,
            "width": settings.width,
            "norm": settings.norm,
        }


@dataclass(frozen=True)
class Best:
    """What is known of the best weights of a run, in ``best.json``."""

    step: int
    mAP: float  # VOC 2007, on the run's validation split

    def __post_init__(self) -> None:
        check_fields(self)


def read_config(path: str | Path, *, may_be_edited: bool = True) -> RunConfig:
    """The configuration in a run's ``config.json``.

    Args:
        path: of the file.
        may_be_edited: whether a file that is not as it was written will do, as it does for a new run.

    Raises:
        InputError: the file holds no configuration, or another one than was written.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        classes = from_plain(ClassList, content["classes"], where=f"{path}")
        settings = from_plain(TrainSettings, content["settings"], where=f"{path}")
        # Runs of earlier versions name a preset and no more.
        spec = Spec.from_plain(content["spec"]) if "spec" in content else earlier_spec(settings.preset or "paper")
        config = RunConfig(
            settings, classes, content["fingerprint"], content["versions"], spec, content.get("imported")
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the configuration of a run: {error!r}") from None
    if not may_be_edited and "checksum" in content and content["checksum"] != _checksum(content):
        raise InputError(f"{path} was edited or is damaged: its checksum does not match; a run keeps its settings")
    return config


def _checksum(content: dict[str, Any]) -> str:
    return sha256(json.dumps({name: value for name, value in content.items() if name != "checksum"}, sort_keys=True))


class RunDirectory:
    """The folder of a run; it need not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = local_path(str(path), "the folder of a run")
        self.config_path = self.path / "config.json"
        self.history_path = self.path / "history.csv"
        self.logs_path = self.path / "tensorboard"
        self._checkpoints = self.path / "checkpoints"
        self._best, self._best_weights = self.path / "best.json", self.path / "best.weights.h5"

    def check_free(self) -> None:
        """Checks that a new run may be made here; InputError if there is one, or none can be written."""
        if self.config_path.exists():
            raise InputError(f"{self.path} already holds a run; resume it, or choose another folder")
        writable_folder(str(self.path), keep=False)

    def create(self, config: RunConfig) -> None:
        """Makes the folder and writes the configuration; InputError if there is a run already."""
        self.check_free()
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: RunConfig) -> None:
        """Writes the configuration."""
        plain = {**asdict(config), "spec": config.spec.to_plain()}
        content = json.loads(json.dumps(plain))  # with lists for tuples, as it will be read
        write_atomically(str(self.config_path), json.dumps({**content, "checksum": _checksum(content)}, indent=2))

    def read_config(self) -> RunConfig:
        """The configuration of the run; InputError if the folder holds none."""
        if not self.config_path.exists():
            above = (one for one in list(self.path.parents)[:2] if (one / self.config_path.name).exists())
            hint = "".join(f"; {one} is one" for one in above)
            raise InputError(f"{self.path} is not the folder of a run: there is no {self.config_path.name}{hint}")
        return read_config(self.config_path, may_be_edited=False)

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

    def save_checkpoint(self, model: SSD300, step: int, *, keep: int, keep_every: int | None = None) -> Path:
        """Saves weights and optimizer atomically; keeps the `keep` newest checkpoints and multiples of `keep_every`."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        path = self._checkpoints / f"step-{step:08d}.weights.h5"
        save_weights(model, path)
        for number, old in self.checkpoints()[:-keep]:
            if keep_every is None or number % keep_every:
                old.unlink()
                checksum_path(old).unlink(missing_ok=True)
        return path

    def save_best(self, model: SSD300, best: Best) -> None:
        """Saves the weights of a network, without its optimizer, as the best of the run."""
        save_weights(keras.Model(model.inputs, model.outputs), self._best_weights)
        write_atomically(str(self._best), json.dumps(asdict(best), indent=2))

    def read_best(self) -> Best | None:
        """The best weights' step and mAP; None if there are none, or the file is damaged."""
        if not self._best.exists():
            return None
        try:
            return from_plain(Best, json.loads(self._best.read_text(encoding="utf-8")), where=f"{self._best}")
        except ValueError as error:
            _LOG.warning("%s is damaged and ignored: %s", self._best, error)
            return None

    def load_newest(self, model: SSD300) -> int:
        """Loads the newest checkpoint that is not damaged into a model, and returns its step.

        Raises:
            InputError: there is no checkpoint, or none that can be loaded.
        """
        _ = self.newest_checkpoint()
        reasons = []
        for step, path in reversed(self.checkpoints()):
            try:
                load_weights(model, path)
            except ValueError as error:
                _LOG.warning("%s; the checkpoint before it is used, if there is one", error)
                reasons.append(str(error))
            else:
                return step
        raise InputError(f"no checkpoint of {self.path} can be loaded: {'; '.join(reasons)}")

    def load_step(self, model: SSD300, step: int) -> int:
        """Loads the checkpoint of a step into a model, and returns the step; InputError if that cannot be done."""
        paths = dict(self.checkpoints())
        if step not in paths:
            raise InputError(
                f"{self.path} has no checkpoint of step {step:,}, but of {', '.join(f'{n:,}' for n in sorted(paths))}"
            )
        try:
            load_weights(model, paths[step])
        except ValueError as error:
            raise InputError(str(error)) from None
        return step

    def load_model(self) -> tuple[SSD300, RunConfig, int]:
        """The network with the best weights, the configuration, and the step; if none were kept, with the newest.

        Those that are damaged are passed over, with a warning.
        """
        config, best = self.read_config(), self.read_best()
        if best is None:
            _ = self.newest_checkpoint()  # before a model is built for nothing
        model = SSD300(**config.model_arguments())
        if best is not None:
            try:
                load_weights(model, self._best_weights)
            except ValueError as error:
                _LOG.warning("%s; the newest checkpoint is used", error)
            else:
                return model, config, best.step
        return model, config, self.load_newest(model)
