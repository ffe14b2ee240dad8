"""Recipes: TOML files that say everything about a training run."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from fastconv._errors import UserError
from fastconv._files import as_text
from fastconv.data import DATASETS
from fastconv.data.names import OWN
from fastconv.layers import LAYERS, NESTED, OWN_KINDS, Layer
from fastconv.network import Sequential
from fastconv.optimizers import SCHEDULABLE, Optimizer
from fastconv.plans.loss import Loss
from fastconv.recipes.recipe_sections import (
    AugmentationSection,
    DataSection,
    InitializationSection,
    LossKind,
    LossSection,
    MomentumScheduleSection,
    OptimizerSection,
    PreprocessingSection,
    ScheduleSection,
    ValidationSection,
)
from fastconv.recipes.schema import RecipeError, nearest, one_of, read_dataclass, unused_keys
from fastconv.recipes.shipped_files import read_toml, shipped_names
from fastconv.spec import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastconv.momentum_schedules import MomentumSchedule
    from fastconv.preprocessing import Preprocessing

_CHOOSING = frozenset(
    {
        "data.dataset", "loss.kind", "preprocessing.kind", "initialization.kind", "optimizer.kind",
        "schedule.kind", "momentum_schedule.kind",
    }
)  # fmt: skip
"""Keys that say which others do something."""
EARLIER_NAMES = {"deviation": "std"}
"""Names in the files of runs of earlier versions, and what they are called now."""
_CLASSES = "classes"
"""In place of a number of units: as many as the data have classes."""


@dataclass(frozen=True)
class Recipe:
    """All that a run depends on.

    Parameters
    ----------
    name, description
        For people; the description says where the recipe comes from.
    layers
        Tables with a ``kind`` and that layer's own keys.
    epochs, steps
        Length of the run: one of the two.
    batch_size
        Samples in a pass, and in a step but for ``accumulate``.
    last_batch
        "drop" what is left of an epoch behind its whole batches, or "keep" it as a step of its own.
    accumulate
        Passes whose gradients are averaged for one step.
    shards
        Equal parts of a batch that are made apart, for training by several workers: what comes out
        does not depend on how many these are; left out, the batch is made as a whole.
    sync_batch_norm
        Of shards: batch normalisation by the statistics of the whole batch, not of each shard.
    average_weights
        What is kept of a moving average of the weights in each step, such as 0.999: the averaged
        network is validated, tested and saved; left out, none.
    seed
        Of weights, shuffling, dropout and augmentation.
    loss
        Name of the loss.
    validate_every
        Steps between validations and lines of the history; left out, once an epoch.
    evaluate_train
        Also evaluate the finished network on the plain training set.
    data, preprocessing, augmentation, initialization, optimizer, schedule, validation
        The sections.
    loss_options
        The section ``[loss]``, where the loss is no name alone.
    momentum_schedule
        The section ``[momentum_schedule]``; left out, the momentum stays as the optimiser has it.
    """

    name: str
    layers: tuple[dict[str, Any], ...]
    description: str = ""
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 32
    last_batch: Literal["drop", "keep"] = "drop"
    accumulate: int = 1
    shards: int | None = None
    sync_batch_norm: bool = False
    average_weights: float | None = None
    seed: int = 0
    loss: LossKind = "softmax_cross_entropy"
    validate_every: int | None = None
    evaluate_train: bool = False
    data: DataSection = field(default_factory=DataSection)
    preprocessing: PreprocessingSection = field(default_factory=PreprocessingSection)
    augmentation: AugmentationSection = field(default_factory=AugmentationSection)
    initialization: InitializationSection = field(default_factory=InitializationSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    validation: ValidationSection = field(default_factory=ValidationSection)
    loss_options: LossSection | None = None
    momentum_schedule: MomentumScheduleSection | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise RecipeError(
                f"epochs is {self.epochs} and steps is {self.steps}; a recipe has one of the two"
            )
        for name in ("epochs", "steps", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"{name} is {value}; expected 1 or more")
        if self.batch_size < 1:
            raise RecipeError(f"batch_size is {self.batch_size}; expected 1 or more")
        if self.accumulate < 1:
            raise RecipeError(f"accumulate is {self.accumulate}; expected 1 or more")
        if self.accumulate > 1 and self.last_batch == "keep":
            raise RecipeError(
                f"last_batch is 'keep' beside accumulate = {self.accumulate}; use one of the two"
            )
        self._check_shards()
        if self.average_weights is not None and not 0 < self.average_weights < 1:
            raise RecipeError(
                f"average_weights is {self.average_weights}; expected a number between 0 and 1, "
                f"such as 0.999"
            )
        if not 0 <= self.seed < 2**64:
            raise RecipeError(f"seed is {self.seed}; expected 0 to 2**64 - 1")
        if self.data.dataset not in (*DATASETS, OWN):
            raise RecipeError(
                f"data.dataset is {self.data.dataset!r}; expected one of {', '.join(DATASETS)}"
                f"{nearest(self.data.dataset, DATASETS)}"
                f"{'' if nearest(self.data.dataset, DATASETS) else '; or own with data.path'}"
            )
        fixed = self.preprocessing.mean, self.preprocessing.std
        if (fixed[0] is None) != (fixed[1] is None):
            raise RecipeError("preprocessing.mean and preprocessing.std go together")
        for value in fixed[1] or ():
            if not value > 0:
                raise RecipeError(
                    f"preprocessing.std holds {value!r}; expected numbers more than 0"
                )
        self.make_layers()
        self._check_mixing()
        self._check_momentum()

    def _check_mixing(self) -> None:
        """Check that images may be mixed, where they are."""
        changes = self.augmentation.augmentation()
        if not changes.mixes:
            return
        name = "mixup" if changes.mixup else "cutmix"
        try:
            self.make_loss().check_mixing("", f"augmentation.{name}")
        except SpecError as fault:
            raise RecipeError(str(fault)) from None
        if self.batch_size == (self.shards or 1):
            which = "batch_size is 1" if self.batch_size == 1 else "a shard has one image"
            raise RecipeError(
                f"augmentation.{name} mixes the images of a batch, but {which}; expected 2 or more"
            )

    def _check_momentum(self) -> None:
        """Check that the optimiser's momentum can be scheduled, where it is."""
        if self.momentum_schedule is not None and self.optimizer.kind not in SCHEDULABLE:
            raise RecipeError(
                f"momentum_schedule does nothing under optimizer.kind = {self.optimizer.kind!r}; "
                f"leave it out, or set optimizer.kind to {one_of(SCHEDULABLE)}"
            )

    def steps_per_epoch(self, samples: int) -> int:
        """Return the updates of an epoch of so many training samples.

        Parameters
        ----------
        samples
            1 or more.

        Examples
        --------
        >>> load_recipe("digits", [("batch_size", 20)]).steps_per_epoch(90)
        4
        """
        whole, left = divmod(samples, self.batch_size * self.accumulate)
        return max(1, whole + (self.last_batch == "keep" and left > 0))

    def make_optimizer(self, steps_per_epoch: int, total: int) -> Optimizer:
        """Return the update rule over a recipe of ``total`` steps, with schedules of its groups.

        Parameters
        ----------
        steps_per_epoch, total
            Updates of an epoch, and of all.

        Examples
        --------
        >>> recipe = load_recipe("digits", [("optimizer.groups", [{"names": "*.bias", "lr": 0.5}])])
        >>> recipe.make_optimizer(10, 100).schedules
        (Cosine(lr=0.5, total=100, final=0.0),)
        """
        return self.optimizer.optimizer(self.schedule, steps_per_epoch, total)

    def make_momentum_schedule(self, steps_per_epoch: int, total: int) -> MomentumSchedule | None:
        """Return the schedule of the momentum over a recipe of ``total`` steps, if there is one.

        Parameters
        ----------
        steps_per_epoch, total
            Updates of an epoch, and of all.
        """
        section = self.momentum_schedule
        return None if section is None else section.schedule(steps_per_epoch, total)

    def _check_shards(self) -> None:
        if self.shards is None:
            if self.sync_batch_norm:
                raise RecipeError(
                    "sync_batch_norm does nothing without shards; leave it out, or set shards"
                )
            return
        if self.shards < 1 or self.batch_size % self.shards:
            largest = max(n for n in range(1, 9) if self.batch_size % n == 0)
            raise RecipeError(
                f"shards is {self.shards} but batch_size is {self.batch_size}; expected a number "
                f"that divides it; use shards={largest}, or another batch size"
            )
        if self.last_batch == "keep":
            raise RecipeError("last_batch is 'keep' beside shards; expected 'drop', or no shards")
        if self.accumulate > 1:
            raise RecipeError(
                f"accumulate is {self.accumulate} and shards is {self.shards}; expected one of the "
                f"two; shards are passes of their own: use more of them and a larger batch_size"
            )

    def make_loss(self) -> Loss:
        """Return the loss with its options."""
        return Loss(self.loss) if self.loss_options is None else self.loss_options.loss()

    @property
    def rate_key(self) -> str:
        """The key of the largest learning rate: a cyclic schedule has rates of its own."""
        return "schedule.eta_max" if self.schedule.kind == "cyclic" else "optimizer.lr"

    def for_outputs(self, outputs: int) -> Recipe:
        """Return the recipe with so many units where it says ``units = "classes"``.

        Parameters
        ----------
        outputs
            Classes of the data, or numbers that a regression is to find.

        Examples
        --------
        >>> load_recipe("own-pictures").for_outputs(7).layers[-1]["units"]
        7
        """
        if not self.awaits_classes:
            return self
        layers = tuple(
            {**table, "units": outputs} if table.get("units") == _CLASSES else table
            for table in self.layers
        )
        return dataclasses.replace(self, layers=layers)

    @property
    def awaits_classes(self) -> bool:
        """Whether a layer has ``units = "classes"``, as many as the data will have classes."""
        return any(table.get("units") == _CLASSES for table in self.layers)

    def make_layers(self) -> tuple[Layer, ...]:
        """Return the layers that the tables describe.

        Where the units are to follow from the classes, a dense layer has one unit.

        Raises
        ------
        RecipeError
            If a kind or a key is unknown, or a value has the wrong type.
        """
        return tuple(
            _make_layer(table, f"layers.{number}") for number, table in enumerate(self.layers)
        )

    def make_network(
        self,
        image_shape: Sequence[int],
        images: NDArray[Any] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> Sequential:
        """Return the network with its first weights.

        Parameters
        ----------
        image_shape
            (height, width, channels).
        images, preprocessing
            Training images, and what happens to them: whitening filters are made of these. None
            where weights that are known will take the place of those that are drawn.

        Raises
        ------
        NetworkError
            If the layers do not fit together.
        """
        shape = tuple(image_shape)
        return Sequential(
            self.make_layers(),
            # Feature vectors are images of one pixel.
            shape[2:] if shape[:2] == (1, 1) else shape,
            initializer=self.initialization.initializer(images, preprocessing),
            seed=self.seed,
        )

    def table(self) -> dict[str, Any]:
        """Return the whole recipe as a TOML table: every key that does something, and its value."""
        every = dataclasses.asdict(self)
        options = every.pop("loss_options")
        if self.shards is None:
            del every["sync_batch_norm"]
        if options is not None:
            every["loss"] = options
        table = used_of(every)
        layers = [
            _written(layer, given["kind"])
            | ({"units": _CLASSES} if given.get("units") == _CLASSES else {})
            for layer, given in zip(self.make_layers(), self.layers, strict=True)
        ]
        cleaned: dict[str, Any] = _without_none({**table, "layers": layers})
        return cleaned


def _make_layer(table: Mapping[str, Any], where: str) -> Layer:
    kind = table.get("kind")
    layer = _layer_of(kind, where)
    if layer is None:
        raise RecipeError(
            f"{where}.kind is {kind!r}; expected one of {', '.join(LAYERS)}"
            f"{nearest(str(kind), tuple(LAYERS))}"
        )
    if kind in NESTED:
        from fastconv.recipes.nested_layers import read_nested

        return read_nested(table, where, _make_layer)
    values = {key: value for key, value in table.items() if key != "kind"}
    if kind == "dense" and values.get("units") == _CLASSES:
        values["units"] = 1
    return read_dataclass(layer, values, where)


def _layer_of(kind: object, where: str) -> type[Layer] | None:
    """Return the layer that a recipe names; None if there is none of that name."""
    if isinstance(kind, str) and ":" in kind:
        from fastconv.layers.custom import CustomLayerError, find

        try:
            return find(kind)
        except CustomLayerError as fault:
            raise CustomLayerError(f"{where}.kind: {fault}") from None
    return LAYERS[kind] if isinstance(kind, str) and kind in LAYERS else None


def _kind_of(layer: Layer, given: str | None) -> str:
    """Return what another process finds a layer by; ``given`` is its kind in the recipe."""
    if layer.kind in OWN_KINDS or (given is not None and ":" in given):
        return given or layer.kind
    from fastconv.layers.custom import place_of

    return place_of(type(layer))


def _written(layer: Layer, given: str | None = None) -> dict[str, Any]:
    """The table of a layer: every key and its value."""
    if layer.kind in NESTED:
        from fastconv.recipes.nested_layers import nested_table

        return {"kind": layer.kind, **nested_table(layer, _written)}
    fields = dataclasses.fields(cast(Any, layer))
    return {"kind": _kind_of(layer, given), **{f.name: getattr(layer, f.name) for f in fields}}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with fastconv."""
    return shipped_names("recipes")


def load_recipe(name_or_file: str, settings: Sequence[tuple[str, Any]] = ()) -> Recipe:
    """Load a recipe by its name, or from a TOML file, with some keys set to other values.

    Parameters
    ----------
    name_or_file
        One of :func:`fastconv.recipe.recipe_names`, or a path (with a slash, or ending in .toml).
    settings
        (key, value) pairs; keys of sections and layers are dotted: "optimizer.lr",
        "layers.0.filters".

    Raises
    ------
    RecipeError
        If there is no such recipe, it is not TOML, or a key or a value is not as it must be.

    Examples
    --------
    >>> load_recipe("digits", [("optimizer.lr", 0.5)]).optimizer.lr
    0.5
    """
    table = read_toml("recipe", "recipes", name_or_file, "--list-recipes")
    set_keys(table, settings)
    table.setdefault("name", as_text(Path(name_or_file).stem))
    try:
        return read_recipe(table)
    except UserError as fault:
        raise type(fault)(f"recipe {name_or_file}: {fault}") from None


def load_written_recipe(file: str | Path) -> Recipe:
    """Load the recipe that a run wrote down, of an earlier version too.

    Those wrote every key, even one that does nothing beside the others; it is passed over.

    Parameters
    ----------
    file
        As ``recipe.toml`` in a run's folder.

    Raises
    ------
    RecipeError
        If it is not TOML, or a key or a value is not as it must be.
    """
    table = read_toml("recipe", "recipes", str(file), "--list-recipes")
    for name in ("preprocessing", "initialization"):
        if isinstance(section := table.get(name), dict):
            table[name] = {EARLIER_NAMES.get(key, key): value for key, value in section.items()}
    try:
        return read_recipe(used_of(table))
    except UserError as fault:
        raise type(fault)(f"recipe {file}: {fault}") from None


def read_recipe(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe of its table.

    Parameters
    ----------
    table
        As :meth:`Recipe.table` returns it; keys may be left out.

    Raises
    ------
    RecipeError
        If a key is unknown or does nothing, or a value is not as it must be.
    """
    given, options = dict(table), None
    if "loss_options" in given:
        raise RecipeError("loss_options: no such key; use the section [loss]")
    if isinstance(given.get("loss"), Mapping):
        options = read_dataclass(LossSection, given["loss"], "loss")
        given["loss"] = options.kind
    recipe = dataclasses.replace(read_dataclass(Recipe, given, ""), loss_options=options)
    if recipe.schedule.kind == "cyclic" and "lr" in table.get("optimizer", {}):
        raise RecipeError(
            "optimizer.lr does nothing under schedule.kind = 'cyclic'; use schedule.eta_min and "
            "schedule.eta_max, or set schedule.kind to another"
        )
    scheduled = _scheduled_key(table)
    if scheduled in table.get("optimizer", {}):
        raise RecipeError(
            f"optimizer.{scheduled} does nothing beside momentum_schedule, which gives that of "
            f"each step; leave one of the two out"
        )
    return recipe


def used_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's table without the keys that do nothing beside its other keys.

    Parameters
    ----------
    table
        It is not changed.

    Examples
    --------
    >>> used_of({"epochs": 1, "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9}})
    {'epochs': 1, 'optimizer': {'kind': 'sgd', 'lr': 0.1}}
    """
    kept = dict(table)
    for name, section in kept.items():
        kind = _section(name)
        if kind is not None and isinstance(section, dict):
            unused = unused_keys(kind, section)
            if name == "optimizer" and _has_own_rates(table):
                unused.append("lr")
            if name == "optimizer" and (scheduled := _scheduled_key(table)):
                unused.append(scheduled)
            kept[name] = {key: value for key, value in section.items() if key not in unused}
            if name == "optimizer" and isinstance(groups := section.get("groups"), (list, tuple)):
                kept[name]["groups"] = [_used_of_group(group) for group in groups]
    return kept


def _used_of_group(group: Any) -> Any:
    """A group of parameters without the keys of its schedule that do nothing."""
    schedule = group.get("schedule") if isinstance(group, Mapping) else None
    if not isinstance(schedule, Mapping):
        return group
    unused = unused_keys(ScheduleSection, schedule)
    return {**group, "schedule": {k: v for k, v in schedule.items() if k not in unused}}


def _scheduled_key(table: Mapping[str, Any]) -> str | None:
    """The key of the optimiser whose value a schedule of the momentum gives."""
    optimizer = table.get("optimizer")
    if table.get("momentum_schedule") is None or not isinstance(optimizer, Mapping):
        return None
    return SCHEDULABLE.get(optimizer.get("kind", "sgd"))


def _has_own_rates(table: Mapping[str, Any]) -> bool:
    schedule = table.get("schedule")
    return isinstance(schedule, dict) and schedule.get("kind") == "cyclic"


def parse_setting(text: str) -> tuple[str, Any]:
    """Split "key=value"; the value is TOML, or else taken as a string.

    Examples
    --------
    >>> parse_setting("optimizer.lr=0.1"), parse_setting("loss=nll")
    (('optimizer.lr', 0.1), ('loss', 'nll'))
    """
    text = as_text(text)
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r}: expected key=value, such as optimizer.lr=0.1")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def set_keys(table: dict[str, Any], settings: Iterable[tuple[str, Any]]) -> None:
    """Set dotted keys of a recipe's table in place, those first that other keys depend on.

    Parameters
    ----------
    table
        Of the recipe.
    settings
        (key, value) pairs; of a key that is there twice the last one counts.

    Raises
    ------
    RecipeError
        If there is no such key.
    """
    pairs = list(settings)
    for is_first in (True, False):
        for key, value in pairs:
            if (key in _CHOOSING) is is_first:
                set_key(table, key, value)


def set_key(table: dict[str, Any], key: str, value: Any) -> None:
    """Set one dotted key of a recipe's table in place.

    What the table has of other keys that would do nothing beside it goes: it was for what was there
    before.

    Raises
    ------
    RecipeError
        If there is no such key.
    """
    *path, last = key.split(".")
    target: Any = table
    for number, part in enumerate(path):
        where = ".".join(path[: number + 1])
        if isinstance(target, list):
            if not part.isdecimal() or int(part) >= len(target):
                raise RecipeError(
                    f"--set {key}: there is no {where}; expected 0 to {len(target) - 1}"
                )
            target = target[int(part)]
            continue
        if number == 0 and part not in _section_names():
            raise RecipeError(f"--set {key}: no such key{_keys_like(key)}")
        if part == "loss" and number == 0 and isinstance(target.get(part), str):
            target[part] = {"kind": target[part]}  # a name alone, which gets options now
        target = target.setdefault(part, {})
        if not isinstance(target, (dict, list)):
            raise RecipeError(f"--set {key}: {where} is a value, not a section")
    if not isinstance(target, dict):
        raise RecipeError(f"--set {key}: expected {'.'.join(path)}.NUMBER.KEY")
    if path[:1] != ["layers"] and key not in _all_keys():
        raise RecipeError(f"--set {key}: no such key{_keys_like(key)}")
    if key in ("epochs", "steps"):  # one replaces the other
        table.pop("steps" if key == "epochs" else "epochs", None)
    target[last] = value
    if key in _CHOOSING:
        table.update(used_of(table))


def _keys_like(key: str) -> str:
    """The nearest key, or all of them."""
    keys = _all_keys()
    return nearest(key, keys) or f"; expected layers.NUMBER.KEY or one of {', '.join(keys)}"


def _section_names() -> tuple[str, ...]:
    sections: Mapping[str, Any] = {f.name: f for f in dataclasses.fields(Recipe)}
    return ("layers", *(n for n in sections if dataclasses.is_dataclass(_section(n))))


def _section(name: str) -> Any:
    return {
        "data": DataSection,
        "loss": LossSection,
        "preprocessing": PreprocessingSection,
        "augmentation": AugmentationSection,
        "initialization": InitializationSection,
        "optimizer": OptimizerSection,
        "schedule": ScheduleSection,
        "momentum_schedule": MomentumScheduleSection,
        "validation": ValidationSection,
    }.get(name)


def _all_keys() -> tuple[str, ...]:
    """Every key of a recipe but those of the layers."""
    keys = []
    for f in dataclasses.fields(Recipe):
        section = _section(f.name)
        if section is None:
            keys += [f.name] * (f.name != "loss_options")
        else:
            keys += ["loss"] * (f.name == "loss")  # a name alone too
            keys.extend(f"{f.name}.{inner.name}" for inner in dataclasses.fields(section))
    return tuple(keys)
