"""The sections of a recipe: one dataclass for each table of the TOML file."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from numpy.typing import NDArray

from fastconv._files import as_text
from fastconv.data.names import OWN
from fastconv.data.own_options import OwnOptions, data_name
from fastconv.initializers import INITIALIZERS, Dirac, Initializer, Whitening
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.plans.loss import Loss
from fastconv.plans.operation import AugmentSpec, InputSpec, RandomSpec
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.recipes.schema import RecipeError, used_under
from fastconv.schedules import (
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    Warmup,
)
from fastconv.spec import SpecError

if TYPE_CHECKING:
    from fastconv.momentum_schedules import MomentumSchedule

_ANY_SIZE = 2**31 - 1
_MOST_EPOCHS = 1e9
"""From one step of a schedule to the next: as good as never, and still a number of updates."""


@dataclass(frozen=True)
class DataSection(OwnOptions):
    """``[data]``: what to train on.

    The keys of :class:`fastconv.data.OwnOptions`, the path first, are for data of one's own.

    Parameters
    ----------
    dataset
        Its name; "own" for data of one's own, which ``path`` says.
    validation
        Samples to hold out of the training part; 0 for none; left out, the data set's own
        validation part if it has one.
    validation_seed
        Draws which ones; left out, the last ones are held out.
    training_samples
        Train on the first so many of those that are left; left out, on all.
    training_batches, validation_batches
        CIFAR-10 only: files such as "data_batch_1".
    training_noise, test_noise, dark_intervals, curve_seed
        Curve only: see :func:`fastconv.data.load_curve`.
    """

    dataset: str = "digits"
    validation: int | None = None
    validation_seed: int | None = None
    training_samples: int | None = None
    training_batches: tuple[str, ...] | None = used_under("dataset", "cifar10", default=None)
    validation_batches: tuple[str, ...] | None = used_under("dataset", "cifar10", default=None)
    training_noise: float | None = used_under("dataset", "curve", default=None)
    test_noise: float | None = used_under("dataset", "curve", default=None)
    dark_intervals: tuple[tuple[float, ...], ...] | None = used_under(
        "dataset", "curve", default=None
    )
    curve_seed: int | None = used_under("dataset", "curve", default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None:
            # The recipe in a run's folder finds the data from every other folder.
            path = os.path.abspath(os.path.expanduser(self.path)) if "://" not in self.path else ""
            object.__setattr__(self, "path", as_text(path) or self.path)
        for name in ("validation", "validation_seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise RecipeError(f"data.{name} is {value}; expected 0 or more")
        if self.training_samples is not None and self.training_samples < 1:
            raise RecipeError(
                f"data.training_samples is {self.training_samples}; expected 1 or more"
            )

    @property
    def name(self) -> str:
        """Name of the data set: that of the file or the folder where it is one's own."""
        if self.dataset != OWN or self.path is None:
            return self.dataset
        return data_name(self.path)

    def options(self) -> dict[str, Any]:
        """Return the options of :func:`fastconv.data.load` that this section gives.

        Raises
        ------
        RecipeError
            If one belongs to another data set.
        """
        given = {
            option: value
            for key, option in _DATA_OPTIONS.items()
            if (value := getattr(self, key)) is not None
        }
        for own in dataclasses.fields(OwnOptions):
            value = getattr(self, own.name)
            if value is None:
                continue
            if self.dataset != OWN:
                raise RecipeError(
                    f"data.{own.name} is for data of one's own, not {self.dataset}; leave it out, "
                    f'or set data.dataset = "own"'
                )
            if own.name != "path":
                given[own.name] = value
        if self.dataset == OWN:
            given["title"] = self.name
            if self.validation is not None:
                given["validation_fraction"] = 0.0  # those are held out of the whole
        return given


_DATA_OPTIONS = {
    "training_batches": "training",
    "validation_batches": "validation",
    "training_noise": "training_noise",
    "test_noise": "test_noise",
    "dark_intervals": "dark_intervals",
    "curve_seed": "seed",
}
"""Keys of ``[data]`` that one data set alone has, and the option of its loader."""


@dataclass(frozen=True)
class PreprocessingSection:
    """``[preprocessing]``: how raw pixels become numbers of order one.

    Parameters
    ----------
    kind
        "none", "scale" (/255), "min_max" (each image to [0, 1]) or "standardize".
    per
        Of "standardize": statistics of the training set per "feature" or per "channel".
    mean, std
        Of "standardize": fixed numbers instead, one for each channel, of pixels in [0, 1].
    """

    kind: Literal["none", "scale", "min_max", "standardize"] = "scale"
    per: Literal["feature", "channel"] = used_under("kind", "standardize", default="feature")
    mean: tuple[float, ...] | None = used_under("kind", "standardize", default=None)
    std: tuple[float, ...] | None = used_under("kind", "standardize", default=None)


LossKind: TypeAlias = Literal[
    "softmax_cross_entropy", "nll", "mean_squared_error", "binary_cross_entropy_with_logits",
    "huber", "mean_absolute_error",
]  # fmt: skip

_OF_LABELS = ("softmax_cross_entropy", "nll")


@dataclass(frozen=True)
class LossSection:
    """``[loss]``: a :class:`fastconv.Loss`; ``loss = "nll"`` is one without options.

    Parameters
    ----------
    kind
        Name of the loss.
    label_smoothing, class_weights, ignore_index, delta
        Its options.
    """

    kind: LossKind = "softmax_cross_entropy"
    label_smoothing: float = used_under("kind", "softmax_cross_entropy", default=0.0)
    class_weights: tuple[float, ...] | None = used_under("kind", *_OF_LABELS, default=None)
    ignore_index: int | None = used_under("kind", *_OF_LABELS, default=None)
    delta: float = used_under("kind", "huber", default=1.0)

    def __post_init__(self) -> None:
        self.loss()  # checks the options

    def loss(self) -> Loss:
        """Return the loss that this section describes."""
        return Loss(**dataclasses.asdict(self))


@dataclass(frozen=True)
class AugmentationSection:
    """``[augmentation]``: random changes to training images.

    Parameters
    ----------
    mode
        "step": drawn again for every image of every batch; "append": one transformed copy of the
        training set is appended before training.
    flip, crop, rotation, shear, translation, cutout
        See :class:`fastconv.plans.operation.AugmentSpec`.
    brightness, contrast, saturation, erase, erase_area
        See :class:`fastconv.plans.jitter.JitterSpec`; in the mode "step". The area left out, 0.33.
    crop_padding, alternating_flip, resized_crop, mixup, cutmix
        See :class:`fastconv.preprocessing.Augmentation`; in the mode "step".
    """

    mode: Literal["step", "append"] = "step"
    flip: bool = False
    crop: int = 0
    rotation: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    cutout: int = 0
    brightness: float = used_under("mode", "step", default=0.0)
    contrast: float = used_under("mode", "step", default=0.0)
    saturation: float = used_under("mode", "step", default=0.0)
    erase: float = used_under("mode", "step", default=0.0)
    erase_area: float | None = used_under("mode", "step", default=None)
    crop_padding: Literal["zero", "reflect"] = used_under("mode", "step", default="zero")
    alternating_flip: bool = used_under("mode", "step", default=False)
    resized_crop: float = used_under("mode", "step", default=0.0)
    mixup: float = used_under("mode", "step", default=0.0)
    cutmix: float = used_under("mode", "step", default=0.0)

    def __post_init__(self) -> None:
        self._check((_ANY_SIZE, _ANY_SIZE, 1))  # checks the numbers

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Raise a RecipeError where images of this shape are too small for what is asked for."""
        try:
            self._check(image_shape)
        except SpecError as fault:
            raise RecipeError(str(fault.within("augmentation"))) from None

    def _check(self, image_shape: tuple[int, int, int]) -> None:
        values = dataclasses.asdict(self)
        moving = ("flip", "crop", "rotation", "shear", "translation", "cutout")
        place = InputSpec(1, *image_shape), RandomSpec(0, 0)
        AugmentSpec(*place, **{name: values[name] for name in moving})
        colours = ("brightness", "contrast", "saturation", "erase")
        if any(values[name] for name in colours) or self.erase_area is not None:
            from fastconv.plans.jitter import JitterSpec

            area = 1.0 if self.erase_area is None else self.erase_area
            JitterSpec(*place, self.brightness, self.contrast, self.saturation, self.erase, area)
        if (changes := self.augmentation()).crops:
            from fastconv.plans.augmentation import CropSpec

            CropSpec(*place, crop=changes.mirrored_crop, least_area=changes.resized_crop)
        if self.erase_area is not None and not self.erase:
            raise RecipeError(
                "augmentation.erase_area does nothing without augmentation.erase; leave it out, or "
                "set the probability of erasing"
            )

    def augmentation(self) -> Augmentation:
        """Return the changes without the mode."""
        values = dataclasses.asdict(self)
        del values["mode"]
        if self.erase_area is None:
            del values["erase_area"]
        return Augmentation(**values)


CLASS_METRICS = (
    "macro_precision", "macro_recall", "macro_f1", "top_2_accuracy", "top_3_accuracy",
    "top_5_accuracy",
)  # fmt: skip
REGRESSION_METRICS = ("mean_absolute_error", "root_mean_squared_error", "r2")


@dataclass(frozen=True)
class ValidationSection:
    """``[validation]``: what is measured at each validation, and what follows from it.

    Parameters
    ----------
    metrics
        Measured beside loss and accuracy: see :mod:`fastconv.metrics`.
    metric
        "loss", "accuracy" or one of ``metrics``: by which the best weights are chosen.
    patience
        Validations without a better one after which the training stops; left out, it does not.
    least_change
        A metric must change by more than this to be better.
    best
        "none"; "keep": the best weights are written to best.safetensors; "restore": also, they are
        what the run ends with.
    """

    metrics: tuple[str, ...] = ()
    metric: str = "loss"
    patience: int | None = None
    least_change: float = 0.0
    best: Literal["none", "keep", "restore"] = "none"

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in CLASS_METRICS + REGRESSION_METRICS:
                raise RecipeError(
                    f"validation.metrics holds {name!r}; expected some of "
                    f"{', '.join(CLASS_METRICS + REGRESSION_METRICS)}"
                )
        known = ("loss", "accuracy", *self.metrics)
        if self.metric not in known:
            raise RecipeError(
                f"validation.metric is {self.metric!r}; expected one of {', '.join(known)}; name "
                f"others in validation.metrics too"
            )
        if self.patience is not None and self.patience < 1:
            raise RecipeError(f"validation.patience is {self.patience}; expected 1 or more")
        if not self.least_change >= 0:
            raise RecipeError(f"validation.least_change is {self.least_change}; expected 0 or more")

    @property
    def chooses(self) -> bool:
        """Whether anything depends on which validation is the best."""
        return self.patience is not None or self.best != "none"


_DRAWN = ("normal", "he", "glorot", "lecun")
_DISTRIBUTED = ("he", "glorot", "lecun")
_WHITENED_IMAGES = 5000
"""Training images whose patches whitening filters are made of: the first so many."""


def _drawing(section: InitializationSection | InitializationGroup) -> Initializer:
    """Return the initialiser of a section whose kind is one of ``_DRAWN``."""
    options: dict[str, Any] = {
        name: value
        for name in ("std", "distribution")
        if (value := getattr(section, name)) is not None
    }
    made: Initializer = INITIALIZERS[section.kind](**options)
    return made


@dataclass(frozen=True)
class InitializationGroup:
    """``[[initialization.groups]]``: weights that begin in another way than the rest.

    Parameters
    ----------
    names
        Pattern of their names, such as ``conv2d_1.weight``.
    kind
        One of those of ``[initialization]``, or "dirac": the first filters pass their channel on,
        and the others are drawn as ``[initialization]`` says; or "whitening": see
        :class:`fastconv.initializers.Whitening`.
    std, distribution
        As in ``[initialization]``.
    epsilon
        Of "whitening"; left out, 5e-4.
    """

    names: str
    kind: Literal["normal", "he", "glorot", "lecun", "dirac", "whitening"]
    std: float | None = used_under("kind", "normal", default=None)
    distribution: Literal["normal", "uniform"] | None = used_under(
        "kind", *_DISTRIBUTED, default=None, instead={"normal": "initialization.groups.std"}
    )
    epsilon: float | None = used_under("kind", "whitening", default=None)

    def __post_init__(self) -> None:
        if self.kind in _DRAWN:
            _drawing(self)
        if self.epsilon is not None and not self.epsilon > 0:
            raise SpecError("Whitening", "epsilon", self.epsilon, "more than 0")

    def initializer(self, rest: Initializer, images: NDArray[Any] | None) -> Initializer:
        """Return the initialiser that this group describes.

        Parameters
        ----------
        rest
            Draws what it does not say.
        images
            Preprocessed; None: whitening filters are drawn by ``rest``.
        """
        if self.kind == "dirac":
            return Dirac(rest)
        if self.kind == "whitening":
            if images is None:
                return rest
            return Whitening(images) if self.epsilon is None else Whitening(images, self.epsilon)
        return _drawing(self)


@dataclass(frozen=True)
class InitializationSection:
    """``[initialization]``: the first weights.

    Parameters
    ----------
    kind
        "normal", "he", "glorot" or "lecun".
    std
        Of "normal".
    distribution
        Of the others: "normal" or "uniform"; left out, the usual one.
    groups
        Weights that begin in another way: the first group that has a name counts.
    """

    kind: Literal["normal", "he", "glorot", "lecun"] = "he"
    std: float | None = used_under("kind", "normal", default=None)
    distribution: Literal["normal", "uniform"] | None = used_under(
        "kind", *_DISTRIBUTED, default=None, instead={"normal": "initialization.std"}
    )
    groups: tuple[InitializationGroup, ...] = ()

    def __post_init__(self) -> None:
        _drawing(self)  # checks the numbers

    def initializer(
        self, images: NDArray[Any] | None = None, preprocessing: Preprocessing | None = None
    ) -> Initializer | dict[str, Initializer]:
        """Return the initialiser that this section describes, or those by patterns of names.

        Parameters
        ----------
        images, preprocessing
            Training images, and what happens to them, for whitening filters; None where weights
            that are known will take the place of those that are drawn.
        """
        rest = _drawing(self)
        if not self.groups:
            return rest
        whitened = None
        if images is not None and any(group.kind == "whitening" for group in self.groups):
            first = images[:_WHITENED_IMAGES]
            whitened = (preprocessing or Preprocessing()).apply(first)
        by_names: dict[str, Initializer] = {}
        for group in self.groups:
            by_names.setdefault(group.names, group.initializer(rest, whitened))
        by_names.setdefault("*", rest)
        return by_names


_AVERAGED = ("momentum", "nesterov")
_WITH_MOMENTUM = (*_AVERAGED, "rmsprop", "muon")
_ADAM = ("adam", "adamw", "nadam", "lamb")
_DIVIDING = (*_ADAM, "muon")


@dataclass(frozen=True)
class GroupSection(ParameterGroup):
    """``[[optimizer.groups]]``: :class:`fastconv.optimizers.ParameterGroup`, with rates of its own.

    Parameters
    ----------
    lr
        Their learning rate, in place of ``optimizer.lr``.
    schedule
        ``[optimizer.groups.schedule]``, in place of ``[schedule]``; not of the kind "plateau".
    """

    schedule: ScheduleSection | None = None  # type: ignore[assignment]  # what makes one
    lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr is None:
            return
        if self.frozen:
            fix = "nothing beside frozen = true, which updates nothing; leave it out"
            raise SpecError("ParameterGroup", "lr", self.lr, fix)
        if not self.lr > 0:
            raise SpecError("ParameterGroup", "lr", self.lr, "more than 0")

    def _check_schedule(self) -> None:
        if self.schedule is not None:
            self._check_kind(self.schedule)

    def _check_kind(self, section: ScheduleSection) -> None:
        if section.kind == "plateau":
            raise RecipeError(
                f"the schedule of optimizer.groups {self.names!r} is a plateau; expected a "
                f"function of the step; give the group a schedule of another kind"
            )
        if section.kind == "cyclic" and self.lr is not None:
            raise RecipeError(
                f"the lr of optimizer.groups {self.names!r} does nothing under a schedule of kind "
                f"'cyclic'; use its eta_min and eta_max, or a schedule of another kind"
            )

    def group(
        self, lr: float, schedule: ScheduleSection, steps_per_epoch: int, total: int
    ) -> ParameterGroup:
        """Return the group over a recipe of ``total`` steps.

        Parameters
        ----------
        lr, schedule
            Of all others: what the group has not of its own.
        steps_per_epoch, total
            Updates of an epoch, and of all.

        Raises
        ------
        RecipeError
            If its rates are not functions of the step.
        """
        values = {f.name: getattr(self, f.name) for f in fields(ParameterGroup)}
        if self.lr is not None or self.schedule is not None:
            section = self.schedule or schedule
            self._check_kind(section)
            values["schedule"] = section.schedule(self.lr or lr, steps_per_epoch, total)
        return ParameterGroup(**values)


@dataclass(frozen=True)
class OptimizerSection(Optimizer):
    """``[optimizer]``: the learning rate, and :class:`fastconv.optimizers.Optimizer`.

    The schedule "cyclic" has rates of its own in place of ``lr``.
    """

    momentum: float | None = used_under(
        "kind", *_WITH_MOMENTUM, default=None, instead=dict.fromkeys(_ADAM, "optimizer.beta1")
    )
    averaged: bool = used_under("kind", *_AVERAGED, default=False)
    nesterov: bool = used_under(
        "kind", "muon", default=True, instead={"momentum": "optimizer.kind = 'nesterov'"}
    )
    newton_schulz_steps: int = used_under("kind", "muon", default=5)
    normalize_weights: bool = used_under("kind", "muon", default=False)
    beta1: float = used_under(
        "kind", *_DIVIDING, default=0.9, instead=dict.fromkeys(_AVERAGED, "optimizer.momentum")
    )
    beta2: float = used_under(
        "kind", *_DIVIDING, default=0.999, instead={"rmsprop": "optimizer.alpha"}
    )
    epsilon: float | None = used_under("kind", *_DIVIDING, "rmsprop", "adagrad", default=None)
    alpha: float = used_under("kind", "rmsprop", default=0.99)
    centered: bool = used_under("kind", "rmsprop", default=False)
    momentum_decay: float = used_under("kind", "nadam", default=0.004)
    decay_mode: Literal["coupled", "decoupled"] = used_under(
        "kind", "sgd", *_AVERAGED, "adam", "rmsprop", "adagrad", "nadam", default="coupled",
        instead={
            kind: f"optimizer.weight_decay, which {kind} decouples"
            for kind in ("adamw", "lamb", "muon")
        },
    )  # fmt: skip
    groups: tuple[GroupSection, ...] = ()
    lr: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > 0:
            raise SpecError("Optimizer", "lr", self.lr, "more than 0")

    def optimizer(self, schedule: ScheduleSection, steps_per_epoch: int, total: int) -> Optimizer:
        """Return the update rule over a recipe of ``total`` steps, with the groups' schedules.

        Parameters
        ----------
        schedule
            That of the recipe, for groups that say no more than their learning rate.
        steps_per_epoch, total
            Updates of an epoch, and of all.
        """
        if all(group.lr is None and group.schedule is None for group in self.groups):
            return self
        groups: Any = [
            group.group(self.lr, schedule, steps_per_epoch, total) for group in self.groups
        ]
        return replace(self, groups=tuple(groups))


@dataclass(frozen=True)
class MomentumScheduleSection:
    """``[momentum_schedule]``: the momentum of each step; see :mod:`fastconv.momentum_schedules`.

    Parameters
    ----------
    kind
        "one_cycle", "linear" or "cosine".
    base_momentum, max_momentum, rise
        Of one_cycle, over the whole recipe.
    start, final
        Of linear and cosine.
    epochs
        Of these: after so many it is ``final``; left out, at the end of the recipe.
    """

    kind: Literal["one_cycle", "linear", "cosine"] = "one_cycle"
    base_momentum: float = used_under("kind", "one_cycle", default=0.85)
    max_momentum: float = used_under("kind", "one_cycle", default=0.95)
    rise: float = used_under("kind", "one_cycle", default=0.3)
    start: float = used_under("kind", "linear", "cosine", default=0.85)
    final: float = used_under("kind", "linear", "cosine", default=0.95)
    epochs: float | None = used_under("kind", "linear", "cosine", default=None)

    def __post_init__(self) -> None:
        if self.epochs is not None and not 0 < self.epochs <= _MOST_EPOCHS:
            expected = f"more than 0, at most {_MOST_EPOCHS:g}"
            raise SpecError("momentum_schedule", "epochs", self.epochs, expected)
        self.schedule(1, 1)  # checks the numbers

    def schedule(self, steps_per_epoch: int, total: int) -> MomentumSchedule:
        """Return the schedule over a recipe of ``total`` steps.

        Parameters
        ----------
        steps_per_epoch, total
            Updates of an epoch, and of all.
        """
        # Only where it is used.
        from fastconv.momentum_schedules import CosineMomentum, LinearMomentum, OneCycleMomentum

        total = max(1, total)
        if self.kind == "one_cycle":
            return OneCycleMomentum(total, self.rise, self.base_momentum, self.max_momentum)
        if self.epochs is not None:
            total = max(1, round(self.epochs * steps_per_epoch))
        made = LinearMomentum if self.kind == "linear" else CosineMomentum
        return made(self.start, self.final, total)


@dataclass(frozen=True)
class ScheduleSection:
    """``[schedule]``: how the learning rate changes; see :mod:`fastconv.schedules`.

    Parameters
    ----------
    kind
        "constant", "step", "exponential", "cosine", "polynomial", "one_cycle", "cyclic" or
        "plateau".
    every_epochs
        Of step and exponential: epochs between (or per) multiplication by ``factor``.
    factor
        Of step, exponential and plateau.
    final
        Of cosine and polynomial: the last learning rate.
    power
        Of polynomial.
    rise, start_divisor, final_divisor
        Of one_cycle.
    eta_min, eta_max, n_s
        Of cyclic, which does not use ``optimizer.lr``.
    patience, threshold, least
        Of plateau: validations without an improvement by the share ``threshold`` before the rate is
        reduced, down to ``least``.
    warmup_epochs, warmup_start
        Epochs of a linear rise in front of the schedule, and the share of its first rate from which
        it rises; left out, no rise, and 0.01.
    """

    kind: Literal[
        "constant", "step", "exponential", "cosine", "polynomial", "one_cycle", "cyclic", "plateau"
    ] = "constant"
    every_epochs: float = used_under("kind", "step", "exponential", default=1.0)
    factor: float = used_under("kind", "step", "exponential", "plateau", default=0.1)
    final: float = used_under(
        "kind", "cosine", "polynomial", default=0.0,
        instead={
            "one_cycle": "schedule.final_divisor",
            "cyclic": "schedule.eta_min",
            "plateau": "schedule.least",
        },
    )  # fmt: skip
    power: float = used_under("kind", "polynomial", default=1.0)
    rise: float = used_under("kind", "one_cycle", default=0.3, instead={"cyclic": "schedule.n_s"})
    start_divisor: float = used_under(
        "kind", "one_cycle", default=25.0, instead={"cyclic": "schedule.eta_min"}
    )
    final_divisor: float = used_under(
        "kind", "one_cycle", default=1e4,
        instead={"cosine": "schedule.final", "cyclic": "schedule.eta_min"},
    )  # fmt: skip
    eta_min: float = used_under(
        "kind", "cyclic", default=1e-5,
        instead={"cosine": "schedule.final", "one_cycle": "schedule.start_divisor"},
    )  # fmt: skip
    eta_max: float = used_under(
        "kind", "cyclic", default=1e-1,
        instead=dict.fromkeys(
            ("constant", "step", "exponential", "cosine", "polynomial", "one_cycle", "plateau"),
            "optimizer.lr",
        ),
    )  # fmt: skip
    n_s: int = used_under("kind", "cyclic", default=500, instead={"one_cycle": "schedule.rise"})
    patience: int = used_under("kind", "plateau", default=10)
    threshold: float = used_under("kind", "plateau", default=1e-4)
    least: float = used_under(
        "kind", "plateau", default=0.0,
        instead={"cosine": "schedule.final", "cyclic": "schedule.eta_min"},
    )  # fmt: skip
    warmup_epochs: float | None = None
    warmup_start: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.every_epochs <= _MOST_EPOCHS:
            expected = f"more than 0, at most {_MOST_EPOCHS:g}; use schedule.kind=constant for none"
            raise SpecError("schedule", "every_epochs", self.every_epochs, expected)
        if self.warmup_epochs is None:
            if self.warmup_start is not None:
                raise RecipeError(
                    "schedule.warmup_start does nothing without schedule.warmup_epochs; leave it "
                    "out, or say how long the warm-up is"
                )
        elif not self.warmup_epochs > 0:
            raise SpecError("schedule", "warmup_epochs", self.warmup_epochs, "more than 0")
        else:
            self._warmup(Constant(1.0), 1)
        self._schedule(1.0, 1, 1)  # checks the numbers of this kind

    def schedule(self, lr: float, steps_per_epoch: int, total: int) -> Schedule:
        """Return the schedule over a recipe of ``total`` steps.

        Raises
        ------
        RecipeError
            If the warm-up takes all of them.
        """
        if self.warmup_epochs is None:
            return self._schedule(lr, steps_per_epoch, total)
        steps = max(1, round(self.warmup_epochs * steps_per_epoch))
        if steps >= total:
            raise RecipeError(
                f"schedule.warmup_epochs is {self.warmup_epochs}, {steps} steps, but the recipe "
                f"has {total} steps; make it shorter, or train for longer"
            )
        return self._warmup(self._schedule(lr, steps_per_epoch, total - steps), steps)

    def _warmup(self, schedule: Schedule, steps: int) -> Warmup:
        if self.warmup_start is None:
            return Warmup(schedule, steps)
        return Warmup(schedule, steps, self.warmup_start)

    def _schedule(self, lr: float, steps_per_epoch: int, total: int) -> Schedule:
        every = max(1, round(self.every_epochs * steps_per_epoch))
        if self.kind == "step":
            return Step(lr, every, self.factor)
        if self.kind == "exponential":
            return Exponential(lr, every, self.factor)
        if self.kind == "cosine":
            return Cosine(lr, total, self.final)
        if self.kind == "polynomial":
            return Polynomial(lr, total, self.power, self.final)
        if self.kind == "one_cycle":
            return OneCycle(lr, total, self.rise, self.start_divisor, self.final_divisor)
        if self.kind == "cyclic":
            return Cyclic(self.eta_min, self.eta_max, self.n_s)
        if self.kind == "plateau":
            return Plateau(lr, self.factor, self.patience, self.threshold, self.least)
        return Constant(lr)
