from .augmentation.settings import Augmentation as Augmentation
from .encoding.targets import encode_ground_truth as encode_ground_truth
from .job import check as check, preprocess as preprocess
from .runners.execution import Execution as Execution
from .settings import PreprocessSettings as PreprocessSettings
