from .annotation import parse_annotation as parse_annotation
from .classes import VOC as VOC, ClassList as ClassList
from .encoded_dataset import EncodedDataset as EncodedDataset
from .errors import InputError as InputError
from .sources.folder import FolderSource as FolderSource
from .sources.tfds import TfdsSource as TfdsSource
