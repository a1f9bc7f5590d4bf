"""The parts of a recipe: every field with its default and description, and values from command-line text."""

from __future__ import annotations

import contextlib
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from morphoscope.errors import UsageError
from morphoscope.versioned import load_yaml

LARGEST_NUMBER = 2**63 - 1  # beyond it, seeds and counts are errors of other packages
WIDEST = 8192  # of an image, pixels


class Part(BaseModel):
    """A frozen part of a recipe; unknown fields and infinite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic reads true as 1, so that "epochs: yes" would train for one epoch
        kinds = kinds_of(cls.model_fields[info.field_name or ""].annotation)
        items = value if isinstance(value, list | tuple) else [value]
        if bool not in kinds and any(isinstance(item, bool) for item in items):
            raise ValueError("true or false is not a value of this field")
        if any(isinstance(item, int) and abs(item) > LARGEST_NUMBER for item in items):
            raise ValueError(f"a number up to {LARGEST_NUMBER:,} was expected")
        return value


class Data(Part):
    """The galaxies to train on."""

    scheme: str | None = Field(
        default=None,
        description="label scheme that the recipe is for: galaxy10, five-class, galaxy-zoo-2; none: any",
    )
    split: str = Field(
        default="sky-grouped", description="named split (see data/splits/split.py) or a split file"
    )
    split_seed: int = Field(
        default=0, ge=0, description="seed of the split; independent of the training seed"
    )
    test: float = Field(default=0.2, ge=0.0, lt=1.0, description="fraction held out for the test")
    validation: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="fraction for validation, which selects the best epoch"
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        le=20,
        description="learn from every label and measure by cross-validation with so many folds; none: hold "
        "out galaxies for test and validation",
    )
    balance: Literal["none", "oversample", "square-root", "class-weights"] = Field(
        default="none",
        description="handling of rare classes, in the training split only; square-root: partial oversampling",
    )
    limit: int | None = Field(
        default=None, ge=1, description="largest number of training galaxies; none: all"
    )
    held_out_limit: int | None = Field(
        default=None,
        ge=1,
        description="largest number of validation galaxies, and of test galaxies; none: all",
    )
    empty_classes: bool = Field(
        default=False, description="train although the store has no galaxy of some class"
    )


class Augment(Part):
    """How an image becomes the network's input; magnitudes apply to training only.

    Geometry is one affine warp: the centre ``crop`` of the stored image is resampled once to ``size``.
    """

    size: int = Field(default=128, ge=8, le=WIDEST, description="side of the network's input, pixels")
    crop: int | None = Field(
        default=None, ge=8, le=WIDEST, description="side of the centre crop, stored pixels; none: all"
    )
    rotation: float = Field(default=180.0, ge=0, le=180, description="uniform in ±rotation, degrees")
    flip_horizontal: bool = True
    flip_vertical: bool = True
    zoom: tuple[float, float] = Field(default=(0.85, 1.18), description="crop side times uniform(low, high)")
    zoom_apart: bool = Field(
        default=False,
        description="one factor along x and one along y, as Keras draws them; galaxies change shape",
    )
    shear: float = Field(default=0.0, ge=0, lt=90, description="uniform in ±shear, degrees")
    shift: float = Field(default=0.04, ge=0, le=1, description="uniform in ±shift of the crop side, per axis")
    border: Literal["constant", "replicate", "reflect"] = Field(
        default="constant", description="fill beyond the edge of the stored image; constant: black"
    )
    brightness: float = Field(default=0.0, ge=0, description="factor 1 ± brightness")
    contrast: float = Field(default=0.0, ge=0, description="factor 1 ± contrast about mid-grey")
    channel_shift: float = Field(default=0.0, ge=0, description="±grey levels (of 255) added to each channel")
    channels_alike: bool = Field(
        default=False, description="channel_shift adds the same to all channels, as Keras does"
    )
    channel_gain: float = Field(default=0.0, ge=0, description="factor 1 ± channel_gain on each channel")
    gamma: float = Field(
        default=0.0, ge=0, description="grey levels to a power between 1 / (1 + gamma) and 1 + gamma"
    )
    saturation: float = Field(
        default=0.0, ge=0, description="distance from grey times 1 ± saturation; three channels only"
    )
    blur: float = Field(
        default=0.0, ge=0, description="Gaussian blur with a standard deviation up to this, output pixels"
    )
    noise: float = Field(
        default=0.0, ge=0, description="Gaussian noise with a standard deviation up to this, grey levels"
    )
    randaugment: int = Field(
        default=0,
        ge=0,
        le=14,
        description="operations of RandAugment for each image, after all else; 0: off; usual: 2",
    )
    randaugment_magnitude: float = Field(
        default=9.0, ge=0, le=30, description="their magnitude, from no change to RandAugment's largest"
    )
    strength: float = Field(default=1.0, ge=0, description="factor on all magnitudes, RandAugment's included")
    train_size: tuple[int, ...] = Field(
        default=(),
        description="progressive sizes, e.g. 96,128: each for an equal share of the epochs; the last is size",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Augment:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom must be two positive factors, low then high, not {self.zoom}")
        if self.train_size and self.train_size[-1] != self.size:
            raise ValueError(f"the last of train_size {self.train_size} must equal size {self.size}")
        if self.train_size and not 8 <= min(self.train_size) <= max(self.train_size) <= WIDEST:
            raise ValueError(f"train_size must be 8 to {WIDEST} throughout, not {self.train_size}")
        return self


Width = Annotated[int, Field(ge=1, le=65536)]
Kernel = Annotated[int, Field(ge=1, le=65)]


class Model(Part):
    """The network: a backbone by name and a head."""

    name: str = Field(
        default="resnet18",
        description="timm name, hf-hub:owner/name or local-dir:FOLDER (see docs/sharing.md), or "
        "residual18/34/50/101/152, baseline-cnn (layouts of this program)",
    )
    pretrained: bool = Field(default=True, description="start from ImageNet weights; false: from scratch")
    weights: str | None = Field(default=None, description="local file or folder with pretrained weights")
    start: str | None = Field(default=None, description="run to start from instead of ImageNet weights")
    frozen: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="fraction of the backbone's layers, from the input, that are frozen",
    )
    last_blocks: int | None = Field(
        default=None,
        ge=0,
        description="number of the backbone's last blocks that learn, as timm counts blocks, with the head; "
        "none: all that frozen leaves",
    )
    rest: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="starting weights of the layers that learn, if weights are pretrained",
    )
    attention: Literal[
        "none",
        "channel",
        "spatial",
        "cbam",
        "tiled-cbam",
        "cbam-residual",
        "multi-scale",
        "eca",
        "bam",
        "gam",
    ] = Field(
        default="none",
        description="in every unit of this program's layouts; on the last feature map of timm models",
    )
    reduction: int = Field(default=16, ge=1, description="reduction ratio of the channel gate")
    kernels: tuple[Kernel, ...] = Field(
        default=(), description="of baseline-cnn: sides of its four kernels, odd; none: 17, 13, 9, 7"
    )
    shortcut: Literal["standard", "projection", "none"] = Field(
        default="standard", description="of residual18 ... residual152: none makes a plain network"
    )
    biases: bool = Field(default=False, description="of residual18 ... residual152: in the convolutions")
    fused: int | None = Field(
        default=None, description="number of fused stages (of six) of tf_efficientnetv2_s; none: 3"
    )
    pool: Literal["model", "average", "flatten"] = Field(
        default="model", description="pooling of the last feature map; model: the backbone's own"
    )
    classifier: bool = Field(
        default=False, description="keep the backbone's layer of 1000 classes, before the head"
    )
    hidden: tuple[Width, ...] = Field(
        default=(), max_length=16, description="widths of the head's hidden fully connected layers"
    )
    hidden_l2: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared norm of the hidden layers' weights, added to the loss",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before every layer of the head")
    head: Literal["random", "probe"] = Field(
        default="random",
        description="starting weights of the head; probe: those of a linear probe of the training galaxies' "
        "features, where the labels are classes, measurements or vote fractions each by itself",
    )
    votes: Literal["sigmoid", "softmax", "tree"] = Field(
        default="sigmoid",
        description="how outputs become vote fractions: each by itself, by question, or by question and "
        "weighted "
        "so that the sums of the decision tree hold",
    )
    likelihood: Literal["gaussian", "student-t", "squared-error"] = Field(
        default="gaussian",
        description="of measurements, with a predicted spread; student-t: wild values weigh less. "
        "squared-error: of vote counts, which are then learned by their fractions and not by likelihood",
    )
    degrees_of_freedom: float = Field(
        default=4.0, gt=2, le=1000, description="of student-t: the fewer, the less wild values weigh"
    )
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="stochastic depth, where the backbone supports it"
    )
    normalise: Literal["model", "config", "half", "unit", "data"] = Field(
        default="model",
        description="normalisation of grey levels: as pretrained (Zoobot's encoders: 0..1), as the weights' "
        "description says, to ±1, to 0..1, or by the mean and standard deviation of the training galaxies; "
        "images of other bands than red, green and blue: model and config are the same as data",
    )
    stretch: Literal["asinh", "linear"] = Field(
        default="asinh",
        description="of stores with values as measured (float32): from values to levels inside the network, "
        "each band by the sky and the noise of the training galaxies; asinh: arcsinh(Q·x)/√Q, Q = 20",
    )

    @model_validator(mode="after")
    def _four_kernels(self) -> Model:
        if self.kernels and (len(self.kernels) != 4 or any(side % 2 == 0 for side in self.kernels)):
            raise ValueError(f"kernels must be four odd numbers, not {self.kernels}")
        return self

    @model_validator(mode="after")
    def _probe_without_hidden_layers(self) -> Model:
        if self.head == "probe" and self.hidden:
            raise ValueError("head = probe starts a head of one layer; set hidden to none, or head to random")
        return self

    @model_validator(mode="after")
    def _frozen_once(self) -> Model:
        if self.last_blocks is not None and self.frozen:
            raise ValueError("frozen and last_blocks both say which layers learn; set one of them")
        if self.last_blocks is not None and self.rest == "random":
            raise ValueError("rest = random is for frozen, not for last_blocks")
        return self

    @property
    def uses_pretrained(self) -> bool:
        """Whether any layer starts from ImageNet weights."""
        return self.pretrained and not self.start and (self.rest == "pretrained" or self.frozen > 0)


Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimiser(Part):
    """The optimiser."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0, description="not applied to biases and normalisation")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd only")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="adam and adamw")
    head_lr: float = Field(default=1.0, gt=0, description="the head's learning rate in units of lr")
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="learning rate of a block of the backbone in units of that of the next one towards the "
        "head; the last block has lr; 1: the same for all",
    )
    clip: float = Field(default=1.0, ge=0, description="largest gradient norm; 0: no limit")


class Schedule(Part):
    """The learning-rate schedule, step by step."""

    name: Literal["one-cycle", "cosine", "constant", "keras-decay"] = "one-cycle"
    warmup: float = Field(
        default=0.15, ge=0, lt=1, description="fraction of the steps over which the rate rises to lr"
    )
    final: float = Field(default=1e-3, ge=0, description="last learning rate in units of lr")
    decay: float = Field(default=0.0, ge=0, description="keras-decay: lr / (1 + decay · step)")


Share = Annotated[float, Field(ge=0, le=1)]


class Training(Part):
    """Length and conditions of the training."""

    epochs: int = Field(default=20, ge=1)
    initial_epoch: int = Field(default=0, ge=0, description="number of the first epoch, as in Keras")
    batch: int = Field(
        default=64, ge=1, le=65_536, description="galaxies per step, of all processes together"
    )
    linear_probe: bool = Field(
        default=False,
        description="fit only a linear head, to the features of model.start's network or of model.name's "
        "pretrained weights; its penalty is chosen by cross-validation, and optimiser, schedule and epochs "
        "have no effect",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    regularisation: tuple[Share, ...] = Field(
        default=(),
        description="progressive regularisation, e.g. 0.25,0.5,1: in equal parts of the epochs, dropout, "
        "drop_path, mixup, cutmix and all magnitudes of the augmentation are these shares of their values; "
        "none: 1 throughout",
    )
    mixup: float = Field(default=0.0, ge=0, description="alpha of the Beta distribution; 0: off")
    cutmix: float = Field(default=0.0, ge=0, description="alpha of the Beta distribution; 0: off")
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, smaller in the first steps; 0: off",
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many epochs without improvement; none: off"
    )
    monitor: Literal["loss", "metric"] = Field(
        default="loss", description="criterion of the best epoch: validation loss, or the scheme's metric"
    )
    restore_best: bool = Field(default=True, description="keep the weights of the best epoch")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto",
        description="auto: bf16 where the hardware supports it, but fp32 on CPUs for networks with many "
        "depthwise convolutions",
    )
    channels_last: bool = True
    compile: bool | None = Field(default=None, description="torch.compile; none: on GPUs only")
    workers: int | None = Field(
        default=None, ge=0, le=1024, description="threads that prepare batches; none: one per core"
    )

    @model_validator(mode="after")
    def _some_epochs(self) -> Training:
        if self.initial_epoch >= self.epochs:
            raise ValueError(f"initial_epoch {self.initial_epoch} must be less than epochs {self.epochs}")
        if self.regularisation and self.regularisation[-1] != 1:
            raise ValueError(f"the last share of regularisation {self.regularisation} must be 1")
        return self


Views = Literal[1, 2, 4, 8, 16, 24, 48]
VIEWS: tuple[int, ...] = get_args(Views)
MIRRORED = (2, 16, 48)
"""Numbers of views with mirror images among them."""


class Evaluation(Part):
    """Predictions with the finished network."""

    views: Views = Field(
        default=1,
        description="test-time augmentation: number of rotated (4, 8) and mirrored (2, 16) views, each at "
        "three scales (24, 48)",
    )
    sure: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="classes in several views: a galaxy that the first view gives a class at least this "
        "probability gets no other, which saves their time; null: every galaxy gets all",
    )
    scale: Literal["trained", "auto"] = Field(
        default="trained",
        description="framing of images by 'predict': as in the training, or auto: cropped or padded where "
        "the central galaxy is much smaller or larger than the training's; a store's images stay as they are",
    )
    batch: int = Field(default=64, ge=1, le=65_536, description="images (times views) per forward pass")
    calibrate: bool = Field(
        default=True, description="calibrate probabilities and votes on the validation galaxies"
    )


def kinds_of(annotation: Any) -> set[Any]:
    """The types in an annotation: {int, NoneType} for ``int | None``, {tuple} for any tuple."""
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*(kinds_of(option) for option in get_args(annotation)))
    return {get_origin(annotation) or annotation}


def parsed(text: str, annotation: Any) -> Any:
    """The value for a field of this type from the text of ``--set``.

    Raises:
        UsageError: it is not YAML.
    """
    kinds = kinds_of(annotation)
    if type(None) in kinds and text.lower() in ("", "none", "null", "~"):
        return None
    if kinds <= {int, float, type(None)}:  # not by YAML 1.1, where 1e-3 is text, 010 is 8 and 12:30 is 750
        return _number(text)
    if str in kinds and not text.startswith(("'", '"')):
        return text
    if tuple in kinds and not text.startswith("["):
        text = f"[{text}]"
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"'{text}' cannot be read as a value") from error


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text  # which pydantic refuses with the field's name
