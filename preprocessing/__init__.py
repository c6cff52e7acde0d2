"""From VOC to encoded records: matching, encoding, and the Beam job."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Augmentation", "Execution", "PreprocessSettings", "check", "encode_ground_truth", "preprocess"]

if TYPE_CHECKING:
    from ssd300.preprocessing.augmentation.settings import Augmentation
    from ssd300.preprocessing.encoding.targets import encode_ground_truth
    from ssd300.preprocessing.job import check, preprocess
    from ssd300.preprocessing.runners.execution import Execution
    from ssd300.preprocessing.settings import PreprocessSettings
else:  # a name is imported when it is asked for (PEP 562): some take seconds
    _MODULES = {
        "Augmentation": "augmentation.settings",
        "Execution": "runners.execution",
        "PreprocessSettings": "settings",
        "check": "job",
        "encode_ground_truth": "encoding.targets",
        "preprocess": "job",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
