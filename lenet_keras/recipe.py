"""What one run is: a frozen, validated, hashable description, and how to read it from a file."""

import difflib
import hashlib
import json
import re
import reprlib
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

DATASETS = ("cifar10", "cifar100", "digits", "mnist", "fashion_mnist")


def dataset_name(name: str) -> str:
    """The name, if a dataset may have it: one of `DATASETS`, or one's own images.

    Raises:
        ValueError: it may not.
    """
    if name == "auto" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise ValueError(
            f"allowed: {', '.join(DATASETS)}, or a name for your own images, of letters, digits, "
            "'-' and '_'"
        )
    return name


DatasetName = Annotated[str, AfterValidator(dataset_name)]
Activation = Literal["tanh", "scaled_tanh", "sigmoid", "relu", "leaky_relu", "elu", "gelu", "silu"]
Pooling = Literal["average", "max", "trainable"]
Connections = Literal["full", "table_1"]
Output = Literal["softmax", "rbf"]
Initializer = Literal[
    "lecun_1998_uniform",
    "lecun_uniform",
    "lecun_normal",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "orthogonal",
    "zeros",
    "tiny_normal",
    "large_normal",
]
Normalization = Literal["none", "batch", "layer", "group"]
InputNormalization = Literal["dataset", "image", "channel"]
Optimizer = Literal["sgd", "adagrad", "rmsprop", "adam", "adamw", "nadam", "lion"]
Augmentation = Literal["flip", "shift", "cutout", "mixup"]
Schedule = Literal[
    "constant", "step", "exponential", "cosine", "one_cycle", "warmup_cosine", "lecun_1998"
]
TrainOn = Literal["train", "train_and_validation"]
TeacherNetwork = Literal["lenet5", "residual"]
StepSizes = Literal["equal", "gauss_newton"]
DtypePolicy = Literal["float32", "mixed_float16", "mixed_bfloat16"]

DEEPEST = 20  # lists and mappings inside each other that a file may have


class InputError(ValueError):
    """What a person gave cannot be used. The message says what was found, where, and what to do.

    The command line prints the message alone and ends with exit code 2; so does a notebook, which
    asks for the lines of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def expanded(path: Path | str) -> Path:
    """A path that a person wrote, with their home in place of `~`.

    Raises:
        InputError: nobody knows where that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such home folder; write the path in full.") from None


class Recipe(BaseModel):
    """One configuration of network, data and training; the defaults are the baseline.

    Wherever Keras has an identifier ("he_normal", "adamw", "silu") the same string is used here.
    Every field may change the result, so every field enters `key`. The seed is no part of a recipe:
    a run is a recipe and a seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # data
    #: One of `DATASETS`, or the name of your own images.
    dataset: DatasetName = "cifar10"
    #: The training images; once all is chosen by them, the validation images as well.
    train_on: TrainOn = "train"
    #: What changes an image each time that it is shown, applied in this order.
    augmentation: tuple[Augmentation, ...] = ()
    shift_pixels: int = Field(default=4, ge=1, le=16)  #: Largest shift either way, of 32 pixels.
    cutout_size: int = Field(default=8, ge=1, le=32)  #: Side of the blanked square, in pixels.
    mixup_alpha: float = Field(default=0.2, gt=0)  #: Beta(alpha, alpha) draws the mixing weight.

    # network
    #: By mean and deviation of the training images. After that "image" gives each image mean 0 and
    #: deviation 1 of its own, and "channel" each of its channels.
    input_normalization: InputNormalization = "dataset"
    activation: Activation = "tanh"  #: After C1, C3, C5 and F6.
    #: S2 and S4. "trainable", of 1998, has a coefficient and a bias for each map.
    pooling: Pooling = "average"
    #: Of S2 with C3. With "table_1", of 1998, a map of C3 sees 3, 4 or 6 maps of S2.
    connections: Connections = "full"
    #: "rbf", of 1998, has distances to fixed codes for logits, and their MAP loss.
    output: Output = "softmax"
    kernel_initializer: Initializer = "lecun_1998_uniform"  #: Of the first weights.
    normalization: Normalization = "none"  #: Of what C1, C3, C5 and F6 give to their activation.
    dropout: float = Field(default=0.0, ge=0, lt=1)  #: Rate, after C5 and F6.
    #: Kernels are products in training, so many times as wide inside (Guo et al. 2020).
    expansion: int = Field(default=1, ge=1, le=16)
    width: int = Field(default=1, ge=1, le=16)  #: Times as many maps and units as LeNet-5 has.

    # loss
    l1: float = Field(default=0.0, ge=0)  #: Factor of the kernels' absolute sum in the loss.
    l2: float = Field(default=0.0, ge=0)  #: Factor of the kernels' sum of squares in the loss.
    #: Share of a label that all classes divide among themselves (Szegedy et al. 2016).
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    # labels from an ensemble
    #: Networks that are trained first and answer for every training image (Hinton et al. 2015).
    teachers: int = Field(default=0, ge=0, le=100)
    #: The recipe's own network, trained by AdamW with a cosine; or a larger one, by SGD with
    #: Nesterov's momentum and a warm-up cosine, once for all seeds.
    teacher_network: TeacherNetwork = "lenet5"
    teacher_width: int = Field(default=1, ge=1, le=16)  #: As `width`.
    teacher_epochs: int = Field(default=60, ge=1, le=10_000)  #: Of each teacher.
    teacher_learning_rate: float = Field(default=0.006, gt=0)  #: The highest of its schedule.
    teacher_weight_decay: float = Field(default=0.02, ge=0)  #: As `weight_decay`.
    teacher_share: float = Field(default=0.7, gt=0, le=1)  #: Of their answer in a label.
    #: Views of each image, drawn once; half of them blend in another (Beyer et al. 2022). With 0,
    #: all that flips and shifts can show.
    teacher_views: int = Field(default=0, ge=0, le=1000)
    #: Whether their answer for an image is the mean over all of its views.
    teacher_averages: bool = False

    # optimisation
    optimizer: Optimizer = "sgd"  #: As Keras names it.
    learning_rate: float = Field(default=0.1, gt=0)  #: The highest of the schedule.
    momentum: float = Field(default=0.0, ge=0, lt=1)  #: Of "sgd" only.
    nesterov: bool = False  #: Whether the gradient is taken a step of momentum ahead.
    weight_decay: float = Field(default=0.0, ge=0)  #: Decoupled; of kernels, not of biases.
    #: Of the weights' running average, which validates and is kept; with 0 there is none.
    ema_momentum: float = Field(default=0.0, ge=0, lt=1)
    #: "gauss_newton", of 1998, has one for each weight, measured every epoch.
    step_sizes: StepSizes = "equal"
    schedule: Schedule = "constant"  #: How the rate changes over the epochs.
    batch_size: int = Field(default=128, ge=1)  #: Images a step.
    epochs: int = Field(default=30, ge=1, le=10_000)  #: Passes over the training images.
    #: Epochs without a better val_loss after which training ends; with 0 it never does.
    early_stopping: int = Field(default=0, ge=0)
    #: In what precision layers compute; weights stay float32.
    dtype_policy: DtypePolicy = "float32"

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: Any) -> Any:
        # pydantic reads True as 1; in a configuration file that is a slip, not a number.
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"Input should not be {str(value).lower()}")
        return value

    @field_validator("*")
    @classmethod
    def _a_number_of_float32(cls, value: Any) -> Any:
        if isinstance(value, float) and value and not 1e-37 <= value <= 1e37:
            raise ValueError("Input should be 0 or from 1e-37 to 1e37, as networks compute with")
        return value

    @field_validator("augmentation", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            names = [name.strip() for name in value.split(",") if name.strip()]
            return () if names == ["none"] else tuple(names)
        return value

    @field_validator("augmentation")
    @classmethod
    def _in_order_without_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The order is fixed, so [shift, flip] and [flip, shift] are one recipe with one key.
        return tuple(name for name in get_args(Augmentation) if name in value)

    @model_validator(mode="after")
    def _what_early_stopping_needs(self) -> "Recipe":
        if self.early_stopping and self.ema_momentum:
            raise ValueError(
                "early_stopping goes back to the weights of an epoch, which ema_momentum averages; "
                "set one of the two to 0"
            )
        if self.early_stopping and not self.validates:
            raise ValueError(
                "early_stopping ends a run by its validation images, on which train_on "
                f"'{self.train_on}' trains; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _fields_that_need_each_other(self) -> "Recipe":
        if self.momentum and self.optimizer != "sgd":
            found = f"momentum: {self.momentum} has no effect with optimizer '{self.optimizer}'"
            raise ValueError(f"{found}; it belongs to 'sgd'")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs momentum above 0")
        if self.step_sizes == "gauss_newton" and (
            self.optimizer != "sgd"
            or self.normalization != "none"
            or self.input_normalization != "dataset"
            or self.dtype_policy == "mixed_float16"  # whose optimizer is wrapped in a loss scale
        ):
            raise ValueError(
                "step_sizes: 'gauss_newton' needs optimizer 'sgd', normalization 'none', "
                "input_normalization 'dataset' and another dtype_policy than 'mixed_float16'"
            )
        if self.teachers and {"cutout", "mixup"}.intersection(self.augmentation):
            raise ValueError("teachers answer flips and shifts; they know no cutout and no mixup")
        single = {"early_stopping", "connections", "output", "step_sizes", "dtype_policy"}
        if self.teachers and (self.pooling == "trainable" or single.intersection(self.changes())):
            raise ValueError(
                "teachers train side by side, which excludes pooling 'trainable' and any other "
                f"than the default of {', '.join(sorted(single))}"
            )
        if self.teacher_network == "residual" and self.teacher_width > 1:
            raise ValueError("teacher_width: has no effect on the residual network; set it to 1")
        if self.teacher_averages and self.teacher_views:
            raise ValueError(
                "teacher_averages: views that blend two images have answers of their own; set "
                "teacher_views to 0"
            )
        if self.expansion > 1 and (
            {"connections", "output", "l1", "l2"}.intersection(self.changes())
            or self.kernel_initializer
            in ("lecun_1998_uniform", "zeros", "tiny_normal", "large_normal")
        ):
            raise ValueError(
                "expansion: products need l1 and l2 of 0, connections 'full', output 'softmax' and "
                "a kernel_initializer that knows the width: lecun, glorot, he or orthogonal"
            )
        if self.width > 1 and {"connections", "output"}.intersection(self.changes()):
            raise ValueError(
                "width: Table I and the codes of 1998 are for 16 maps and 84 units; leave "
                "connections and output at 'full' and 'softmax'"
            )
        if self.output == "rbf" and self.label_smoothing:
            raise ValueError("label_smoothing has no effect with output 'rbf', whose loss is MAP")
        for field in self.changes():
            name, _, setting = field.partition("_")
            if setting and name in get_args(Augmentation) and name not in self.augmentation:
                raise ValueError(f"{field} has no effect unless augmentation holds '{name}'")
            if name == "teacher" and not self.teachers:
                raise ValueError(f"{field} has no effect without teachers")
        return self

    @property
    def validates(self) -> bool:
        """Whether validation images are kept out of training, so that one may choose by them."""
        return self.train_on == "train"

    def changes(self) -> dict[str, Any]:
        """The fields that differ from the baseline, as JSON-able values."""
        fields = type(self).model_fields
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self
            if value != fields[name].default
        }

    @property
    def key(self) -> str:
        """Ten hexadecimal digits that name this recipe, equal on every machine.

        A hash of the fields that differ from the baseline, so a field added later with a default
        that keeps the old behaviour changes no key.
        """
        canonical = json.dumps(self.changes(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    def replace(self, **fields: Any) -> "Recipe":
        """A validated copy with other values of some fields.

        Raises:
            InputError: a field is unknown or its value is not allowed.
        """
        return make_recipe({**self.changes(), **fields}, where="Recipe.replace")


def make_recipe(fields: Mapping[str, Any], where: str) -> Recipe:
    """Validate `fields` over the baseline; `where` names their source in the error message.

    Raises:
        InputError: one message for all faults: source, field, what was found, what is allowed,
            and for a mistyped name the nearest valid one.
    """
    try:
        return Recipe(**{str(name): value for name, value in fields.items()})
    except ValidationError as error:
        faults = describe_faults(error, {"": list(Recipe.model_fields)})
        raise InputError(f"{where}: this is not a valid recipe.\n{faults}") from None


def describe_faults(
    error: ValidationError, known: Mapping[str, Sequence[str]], thing: str = "field"
) -> str:
    """A line for each of pydantic's faults: where it is, what was found, what is allowed.

    Args:
        error: from a model of what a person wrote.
        known: the names that are allowed, by the outermost name that they stand below; "" for the
            outermost ones, and for all below a name that is not given.
        thing: what the names name.
    """
    lines = (_describe(dict(fault), known, thing) for fault in error.errors())
    return textwrap.indent("\n".join(lines), "  ")


def _describe(fault: Mapping[str, Any], known: Mapping[str, Sequence[str]], thing: str) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be ", "allowed: ").replace("valid tuple", "list")
    parts = [str(part) for part in fault["loc"] if "[" not in str(part)]  # a type, no name
    place = ".".join(parts)
    if not place:  # a fault between fields names them itself
        return message
    if fault["type"] == "missing":
        return f"{place}: is missing."
    if fault["type"] == "extra_forbidden":
        above = parts[0] if parts[1:] else ""
        return f"{place}: no such {thing}.{nearest(parts[-1], known.get(above, known['']))}"
    text = f"{place}: found {reprlib.repr(fault['input'])}; {message[0].lower()}{message[1:]}."
    if fault["type"] == "literal_error":
        allowed = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        text += nearest(str(fault["input"]), allowed, listed=False)
    return text


def nearest(name: str, allowed: Sequence[str], listed: bool = True) -> str:
    """A sentence that helps after a mistyped name: the nearest valid one and all that are valid."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return hint + (f" Allowed: {', '.join(allowed)}." if listed else "")


class _Loader(yaml.SafeLoader):
    """YAML in which a value means what it looks like (the core schema of YAML 1.2, in decimal).

    Plain PyYAML follows YAML 1.1: 010 is 8, 1:30 is 90, no is false, 1e-3 is a text, and of a key
    given twice the last one is kept without a word.
    """

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - as PyYAML declares it; filled below
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None):
            raise _at(event, f"the tag {event.tag} is not allowed here")
        if self.depth == DEEPEST:
            raise _at(event, f"more than {DEEPEST} lists and mappings inside each other")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.CollectionNode) and node.end_mark is None:
            raise _at(event, "an alias inside of what it stands for")
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _at(key, "a key has to be a plain name")
                if key.value in seen:
                    raise _at(key, f"'{key.value}' is given twice")
                seen.add(key.value)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)  # merges what `<<` names; own keys come after it and win
        return {key.value: self.construct_object(value, deep) for key, value in node.value}


def _at(place: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


for _kind, _pattern in {
    "merge": "<<",
    "null": "|~|null|Null|NULL",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
}.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), None
    )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text says; `where` names its source in the error message.

    Raises:
        InputError: no YAML, a key twice, a tag, or too many brackets.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except ValueError as error:  # more digits than Python reads
        raise InputError(f"{where}: a value cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise InputError(f"{where}{line}: cannot be read as YAML: {problem}.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file is an empty mapping.

    Raises:
        InputError: no such file, no YAML, a key twice, or something else than a mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected 'field: value' lines, found {type(content).__name__}.")
    return content


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["epochs=3", "optimizer=adam"]` as a mapping; values are read as YAML.

    Raises:
        InputError: an assignment without `=`, or with a value that is no YAML.
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        field, separator, value = assignment.partition("=")
        if not separator or not field.strip():
            raise InputError(f"--set {assignment}: expected field=value, as in --set epochs=3.")
        fields[field.strip()] = parse_yaml(value, f"--set {assignment}")
    return fields


def read_recipe(path: Path | None = None, assignments: Sequence[str] = ()) -> Recipe:
    """The recipe of a YAML file (the baseline without one), changed by `field=value` assignments.

    Raises:
        InputError: see `make_recipe`, `read_yaml` and `parse_assignments`.
    """
    fields = read_yaml(path) if path else {}
    if path:
        make_recipe(fields, where=str(path))  # so that a fault is blamed on the file it stands in
    changes = parse_assignments(assignments)
    return make_recipe({**fields, **changes}, where="--set" if changes else str(path or "recipe"))
