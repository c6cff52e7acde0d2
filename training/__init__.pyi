from .evaluation.average_precision import DetectionEvaluator as DetectionEvaluator
from .evaluation.evaluate import evaluate as evaluate
from .finetuning import finetune as finetune
from .fit import resume as resume, train as train
from .prediction.find_images import find_images as find_images
from .prediction.predict import predict as predict
from .reading.reader import training_batches as training_batches
from .replaying import replay as replay
from .run_directory import RunDirectory as RunDirectory
from .settings import (
    EvaluateSettings as EvaluateSettings,
    FinetuneSettings as FinetuneSettings,
    PredictSettings as PredictSettings,
    TrainSettings as TrainSettings,
)
