"""Reading, fitting, evaluating, predicting, plotting, and the command line."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "DetectionEvaluator",
    "EvaluateSettings",
    "PredictSettings",
    "RunDirectory",
    "TrainSettings",
    "evaluate",
    "predict",
    "resume",
    "train",
    "training_batches",
]

if TYPE_CHECKING:
    from ssd300.training.evaluation.average_precision import DetectionEvaluator
    from ssd300.training.evaluation.evaluate import evaluate
    from ssd300.training.fit import resume, train
    from ssd300.training.prediction.predict import predict
    from ssd300.training.reading.reader import training_batches
    from ssd300.training.run_directory import RunDirectory
    from ssd300.training.settings import EvaluateSettings, PredictSettings, TrainSettings
else:  # a name is imported when it is asked for (PEP 562): some take seconds
    _MODULES = {
        "DetectionEvaluator": "evaluation.average_precision",
        "EvaluateSettings": "settings",
        "PredictSettings": "settings",
        "RunDirectory": "run_directory",
        "TrainSettings": "settings",
        "evaluate": "evaluation.evaluate",
        "predict": "prediction.predict",
        "resume": "fit",
        "train": "fit",
        "training_batches": "reading.reader",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
