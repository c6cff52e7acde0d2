"""The detector: boxes, default boxes, coder, network, loss and non-maximum suppression."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["ARTICLE", "PAPER", "SSD300", "MultiBoxLoss", "detect"]

if TYPE_CHECKING:
    from ssd300.model.detection import detect
    from ssd300.model.losses import MultiBoxLoss
    from ssd300.model.spec import ARTICLE, PAPER
    from ssd300.model.ssd300 import SSD300
else:  # a name is imported when it is asked for (PEP 562): some take seconds
    _MODULES = {
        "ARTICLE": "spec",
        "PAPER": "spec",
        "SSD300": "ssd300",
        "MultiBoxLoss": "losses",
        "detect": "detection",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
