"""Pascal VOC on disk: its trees, annotations and classes, and the schema of the encoded records."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["VOC", "ClassList", "EncodedDataset", "FolderSource", "InputError", "TfdsSource", "parse_annotation"]

if TYPE_CHECKING:
    from ssd300.datasets.annotation import parse_annotation
    from ssd300.datasets.classes import VOC, ClassList
    from ssd300.datasets.encoded_dataset import EncodedDataset
    from ssd300.datasets.errors import InputError
    from ssd300.datasets.sources.folder import FolderSource
    from ssd300.datasets.sources.tfds import TfdsSource
else:  # a name is imported when it is asked for (PEP 562): some take seconds
    _MODULES = {
        "ClassList": "classes",
        "EncodedDataset": "encoded_dataset",
        "FolderSource": "sources.folder",
        "InputError": "errors",
        "TfdsSource": "sources.tfds",
        "VOC": "classes",
        "parse_annotation": "annotation",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
