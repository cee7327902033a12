"""A recipe is validated, and its key is the same everywhere and for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from lenet_keras.recipe import InputError, Recipe, make_recipe, read_recipe, read_yaml

# Keys as they were first recorded. A change here orphans every committed record.
RECORDED_KEYS = {
    "44136fa355": {},
    "f443443ad9": {"optimizer": "adam", "learning_rate": 0.001},
    "c0b4fb12ee": {"augmentation": ["flip", "shift"], "schedule": "cosine"},
    "69e4842beb": {"dataset": "digits", "epochs": 2, "nesterov": True, "momentum": 0.9},
}


@pytest.mark.parametrize(("key", "fields"), RECORDED_KEYS.items())
def test_keys_stay_as_recorded(key, fields):
    assert Recipe(**fields).key == key


def test_a_key_is_the_same_in_another_process():
    program = "from lenet_keras.recipe import Recipe; print(Recipe(optimizer='adam').key)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == Recipe(optimizer="adam").key


def test_a_field_added_with_a_default_changes_no_key():
    class Later(Recipe):
        weight_averaging: bool = False

    assert Later(optimizer="adam").key == Recipe(optimizer="adam").key
    assert Later(weight_averaging=True).key != Recipe().key


# Of every field another value than its default, and what that needs.
OTHERS = {
    "dataset": "digits",
    "train_on": "train_and_validation",
    "augmentation": ["flip"],
    "shift_pixels": 2,
    "cutout_size": 4,
    "mixup_alpha": 0.4,
    "input_normalization": "image",
    "activation": "relu",
    "pooling": "max",
    "connections": "table_1",
    "output": "rbf",
    "kernel_initializer": "he_normal",
    "normalization": "batch",
    "dropout": 0.5,
    "expansion": 2,
    "width": 2,
    "l1": 1e-4,
    "l2": 1e-4,
    "label_smoothing": 0.1,
    "teachers": 4,
    "teacher_network": "residual",
    "teacher_width": 2,
    "teacher_epochs": 30,
    "teacher_learning_rate": 0.01,
    "teacher_weight_decay": 0.01,
    "teacher_share": 0.5,
    "teacher_views": 20,
    "teacher_averages": True,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.01,
    "ema_momentum": 0.99,
    "step_sizes": "gauss_newton",
    "schedule": "cosine",
    "batch_size": 64,
    "epochs": 5,
    "early_stopping": 3,
    "dtype_policy": "mixed_bfloat16",
}
NEEDS = {
    "expansion": {"kernel_initializer": "he_normal"},
    "nesterov": {"momentum": 0.9},
    "shift_pixels": {"augmentation": ["shift"]},
    "cutout_size": {"augmentation": ["cutout"]},
    "mixup_alpha": {"augmentation": ["mixup"]},
    **{field: {"teachers": 4} for field in OTHERS if field.startswith("teacher_")},
}


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_every_field_is_in_the_key(field):
    needed = NEEDS.get(field, {})
    assert Recipe(**needed, **{field: OTHERS[field]}).key != Recipe(**needed).key


def test_order_and_spelling_do_not_change_a_key():
    assert Recipe(augmentation="shift, flip").key == Recipe(augmentation=["flip", "shift"]).key
    assert Recipe(augmentation="none").key == Recipe().key
    assert Recipe(learning_rate="1e-3").key == Recipe(learning_rate=0.001).key


BAD = [
    (
        {"learnign_rate": 0.1},
        ["learnign_rate", "Did you mean 'learning_rate'?", "Allowed: dataset"],
    ),
    ({"learning_rate": -1}, ["learning_rate", "found -1", "greater than 0"]),
    ({"learning_rate": "fast"}, ["learning_rate", "found 'fast'", "number"]),
    ({"learning_rate": float("nan")}, ["learning_rate", "finite"]),
    ({"epochs": 0}, ["epochs", "found 0", "greater than or equal to 1"]),
    ({"epochs": 2.5}, ["epochs", "found 2.5", "integer"]),
    ({"epochs": True}, ["epochs", "found True"]),
    ({"optimizer": "adamm"}, ["optimizer", "found 'adamm'", "'lion'", "Did you mean 'adam'?"]),
    ({"augmentation": ["flp"]}, ["augmentation", "found 'flp'", "Did you mean 'flip'?"]),
    ({"optimizer": "adam", "momentum": 0.9}, ["momentum", "no effect", "'sgd'"]),
    ({"nesterov": True}, ["nesterov", "momentum"]),
    ({"shift_pixels": 2}, ["shift_pixels", "'shift'"]),
    ({"teacher_share": 0.5}, ["teacher_share", "without teachers"]),
    ({"teachers": 2, "augmentation": "mixup"}, ["teachers", "mixup"]),
    (
        {"teachers": 1, "teacher_network": "residual", "teacher_width": 2},
        ["teacher_width", "residual"],
    ),
    ({"teacher_views": 2}, ["teacher_views", "without teachers"]),
    (
        {"teachers": 1, "teacher_views": 2, "teacher_averages": True},
        ["teacher_averages", "teacher_views"],
    ),
    (
        {"step_sizes": "gauss_newton", "input_normalization": "image"},
        ["step_sizes", "input_normalization 'dataset'"],
    ),
    ({"width": 2, "connections": "table_1"}, ["width", "Table I", "connections"]),
    ({"teachers": 2, "early_stopping": 3}, ["teachers", "early_stopping"]),
    (
        {"train_on": "train_and_validation", "early_stopping": 3},
        ["early_stopping", "on which train_on 'train_and_validation' trains"],
    ),
    ({"ema_momentum": 0.9, "early_stopping": 3}, ["early_stopping", "ema_momentum"]),
]


@pytest.mark.parametrize(("fields", "parts"), BAD, ids=[str(fields) for fields, _ in BAD])
def test_a_bad_field_is_answered_with_what_where_and_the_nearest_name(fields, parts):
    with pytest.raises(InputError) as error:
        make_recipe(fields, where="my.yaml")
    for part in ["my.yaml", *parts]:
        assert part in str(error.value)


def test_only_who_keeps_them_out_of_training_has_validation_images():
    assert Recipe().validates
    assert not Recipe(train_on="train_and_validation").validates


def test_all_faults_are_told_at_once():
    with pytest.raises(InputError) as error:
        make_recipe({"epochs": 0, "optimizer": "none", "colour": 1}, where="my.yaml")
    assert all(name in str(error.value) for name in ("epochs", "optimizer", "colour"))


def test_the_file_or_the_assignment_is_blamed(tmp_path: Path):
    path = tmp_path / "my.yaml"
    path.write_text("epochs: 3\n")
    assert read_recipe(path, ["learning_rate=1e-3"]) == Recipe(epochs=3, learning_rate=0.001)
    with pytest.raises(InputError, match="--set"):
        read_recipe(path, ["epochs=0"])
    with pytest.raises(InputError, match="field=value"):
        read_recipe(path, ["epochs"])
    path.write_text("epochs: 0\n")
    with pytest.raises(InputError, match=r"my\.yaml"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nepochs: 4\n", "line 2.*'epochs' is given twice"),
        ("- epochs\n", "expected 'field: value'"),
        ("epochs: [3\n", "line"),
        ("epochs: \xff", "UTF-8"),
        ("[epochs]: 3\n", "line 1.*a key has to be a plain name"),
        ("epochs: " + "[" * 2000, "line 1.*inside each other"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "my.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_yaml(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_a_merge_key_is_yaml_too(tmp_path: Path):
    path = tmp_path / "my.yaml"
    path.write_text("base: &base {epochs: 3}\nother: {<<: *base, seeds: 2}\n")
    assert read_yaml(path)["other"] == {"epochs": 3, "seeds": 2}
