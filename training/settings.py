"""The settings of training, evaluation, prediction and inspection; a run's defaults are the paper's solver."""

from dataclasses import dataclass
from typing import Literal

from ssd300.datasets.errors import InputError
from ssd300.model.spec import LocalizationLoss, PresetName
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION, Augmentation
from ssd300.preprocessing.support.options import check_fields, option

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"]
VGG16_WEIGHTS = ("imagenet", "imagenet-full", "none")  # starts that are no paths
LARGEST_SEED = 2**32 - 1  # that NumPy takes
LARGEST_BATCH, MOST_STEPS = 65_536, 10**9


def check_copies(augmentation: Augmentation, copies: bool) -> None:
    """Checks that augmented copies would not be expanded or cropped again; InputError if they would."""
    if copies and augmentation.has_geometry:
        raise InputError("augmented copies are expanded and cropped already; the augmentation must have neither step")


@dataclass(frozen=True)
class TrainSettings:
    """How to train on an encoded dataset."""

    dataset: str = option()
    split: str = option("train", "split to train on", group="data")
    validation_split: str | None = option(
        None, "split whose loss, or mAP with --keep-best, is computed after each epoch", shown="none"
    )
    batch_size: int = option(32, "images per step", at_least=1, at_most=LARGEST_BATCH)
    seed: int = option(0, "seed of the weights, the order and the augmentation", at_least=0, at_most=LARGEST_SEED)
    data_service: str | None = option(
        None, "address of a tf.data service whose workers read and augment, such as grpc://host:5000", metavar="ADDRESS"
    )
    augmentation: Augmentation = PAPER_AUGMENTATION
    copies: bool = False  # read one of each image's variants per epoch, itself and the dataset's augmented copies

    preset: PresetName | None = option(None, "default boxes, matching and coder", group="model", shown="the dataset's")
    width: float = option(1.0, "channels relative to the paper's", above=0, at_most=8)
    norm: Literal["none", "batch"] = option("none", "normalization after each convolution")
    weights: str = option(
        "imagenet",
        "VGG16's weights: imagenet (convolutions, downloaded by Keras), imagenet-full (fc6 and fc7 too, 553 MB), a "
        "file of Keras's VGG16, or none",
        metavar="WEIGHTS",
        path=VGG16_WEIGHTS,
    )
    init_from: str | None = option(
        None,
        "folder of a run, trained or imported, to start from instead; classes of the same name keep their weights",
        metavar="RUN",
        local=True,
    )
    precision: Precision = option("float32", "Keras's dtype policy; auto is the fastest on this machine")
    freeze: int = option(
        0, "number of VGG16's five blocks, from the first on, that keep their weights", at_least=0, at_most=5
    )
    rescale: bool = option(
        False, "start fc6 to conv11_2 at outputs of a root mean square of 1, measured on the first batch"
    )
    jit_compile: bool = option(False, "compile the step with XLA: faster on GPUs, slower on CPUs", negatable=True)
    devices: Literal["all", "one"] = option(
        "all", "all local GPUs, each with an equal share of every batch, or one; TF_CONFIG names several hosts"
    )
    accumulate: int = option(
        1,
        "batches that make one update, as one batch so many times as large would, in the memory of one",
        at_least=1,
        at_most=LARGEST_BATCH,
    )
    steps_per_execution: int = option(
        1, "steps that the device makes before Python looks again", at_least=1, at_most=MOST_STEPS
    )

    steps: int = option(120_000, "total number of steps", group="solver", at_least=1, at_most=MOST_STEPS)
    optimizer: Literal["sgd", "adam"] = option("sgd", "sgd has momentum .9")
    learning_rate: float = option(1e-3, "initial learning rate", above=0)
    warmup_steps: int = option(0, "steps over which the learning rate rises from 0", at_least=0, at_most=MOST_STEPS)
    schedule: Literal["step", "cosine", "constant"] = option(
        "step", "step divides the rate by ten at 2/3 and 5/6 of the steps; cosine ends at zero"
    )
    schedule_steps: int | None = option(
        None, "length of the schedule", at_least=1, at_most=MOST_STEPS, shown="all steps of the new run"
    )
    negatives_per_empty_image: int = option(
        0,
        "hard negatives that an image without a match adds to the loss; Caffe's loss has none",
        at_least=0,
        at_most=8732,
    )
    weight_decay: float = option(5e-4, "coupled weight decay, of kernels and conv4_3_norm's scale", at_least=0)
    localization_loss: LocalizationLoss = option(
        "smooth-l1", "of matched boxes: smooth-l1 of the offsets, or 1 - GIoU or 1 - CIoU of the decoded boxes"
    )
    label_smoothing: float = option(
        0.0, "share of the target probability that is spread over all classes", at_least=0, below=1
    )
    clip_norm: float | None = option(None, "limit of the gradients' global norm", above=0, shown="off")
    ema: float | None = option(
        None,
        "keep an exponential moving average of the weights, with this momentum, such as .999; checkpoints hold it",
        metavar="MOMENTUM",
        above=0,
        below=1,
        shown="off",
    )

    checkpoint_steps: int | None = option(
        None,
        "steps between checkpoints",
        group="checkpoints",
        at_least=1,
        at_most=MOST_STEPS,
        shown="an epoch, at least 100 and at most 2,000",
    )
    keep_checkpoints: int = option(3, "number of newest checkpoints to keep", at_least=1, at_most=100_000)
    keep_every: int | None = option(
        None,
        "keep the checkpoints of multiples of this step too",
        metavar="STEPS",
        at_least=1,
        at_most=MOST_STEPS,
        shown="off",
    )
    keep_best: bool = option(
        False, "compute the validation split's mAP after each epoch; keep the best weights, which all commands then use"
    )
    patience: int | None = option(
        None,
        "stop after this many epochs without a better mAP; needs --keep-best",
        metavar="EPOCHS",
        at_least=1,
        at_most=MOST_STEPS,
        shown="off",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_copies(self.augmentation, self.copies)
        if self.init_from is not None and self.weights not in ("imagenet", "none"):
            raise InputError(f"a run starts from the weights {self.weights} or from the run {self.init_from}, not both")
        if self.keep_best and self.validation_split is None:
            raise InputError("keep_best needs a validation_split to compute the mAP on")
        if self.patience is not None and not self.keep_best:
            raise InputError("patience needs keep_best: it counts epochs without a better mAP")
        for name in ("steps", "checkpoint_steps"):
            if (getattr(self, name) or 0) % self.steps_per_execution:
                raise InputError(
                    f"{name} must be a multiple of steps_per_execution, got {getattr(self, name)} and "
                    f"{self.steps_per_execution}"
                )

    @property
    def images_per_step(self) -> int:
        """Images of an update."""
        return self.batch_size * self.accumulate


@dataclass(frozen=True)
class FinetuneSettings:
    """What to fine-tune; the recipe follows from it (`ssd300.training.finetuning`)."""

    dataset: str = option(help="folder of an encoded dataset", positional=True, path=True)
    start: str = option(
        "imagenet",
        "what to start from: the folder of a run, trained or imported; imagenet or imagenet-full (VGG16's weights, "
        "downloaded by Keras); or a file of Keras's VGG16",
        flag="from",
        metavar="RUN|imagenet",
        path=VGG16_WEIGHTS,
    )
    minutes: float = option(
        60.0, "time limit, which shortens the training; 0 for no limit", at_least=0, at_most=1_000_000
    )
    steps: int | None = option(
        None,
        "number of steps instead",
        at_least=1,
        at_most=MOST_STEPS,
        shown="40 epochs and at least 1,000, or what the minutes allow",
    )
    split: str = option("train", "split to train on")
    validation_split: str | None = option(
        None, "split to choose the best weights by", shown="validation, or a held-out fifth of the training images"
    )
    batch_size: int = option(8, "images per step", at_least=1, at_most=LARGEST_BATCH)
    seed: int = option(0, "seed of the weights, the order and the augmentation", at_least=0, at_most=LARGEST_SEED)
    precision: Precision = option("auto", "Keras's dtype policy; auto is the fastest on this machine")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class EvaluateSettings:
    """How to evaluate a run."""

    split: str = option("test", "split to evaluate on")
    batch_size: int = option(16, "images per batch", at_least=1, at_most=LARGEST_BATCH)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class PredictSettings:
    """How to detect objects on images."""

    threshold: float = option(0.5, "minimum score of a detection", at_least=0, at_most=1)
    batch_size: int = option(8, "images per batch", at_least=1, at_most=LARGEST_BATCH)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class InspectSettings:
    """Which records of a dataset to draw, and how the reader augments them."""

    split: str = option("train", "split to read")
    images: int = option(6, "rows of the contact sheet", at_least=1, at_most=100)
    seed: int = option(0, "seed of the choice of images and of the augmentation", at_least=0, at_most=LARGEST_SEED)
    batch_size: int = option(32, "images per batch, for the rates", at_least=1, at_most=LARGEST_BATCH)
    seconds: float = option(
        3.0, "time to measure each stage for; 0 draws the contact sheet only", at_least=0, at_most=3600
    )
    augmentation: Augmentation = PAPER_AUGMENTATION
    copies: bool = False  # show a different variant of an image, itself or an augmented copy, in each epoch

    def __post_init__(self) -> None:
        check_fields(self)
        check_copies(self.augmentation, self.copies)
