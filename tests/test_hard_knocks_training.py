"""Faults that people met elsewhere, tried on training, evaluation, data and files; by their kind.

Real processes, real files, real environment variables.
"""

from collections import Counter
from pathlib import Path

import pytest
from mutated_yaml import answers

from lenet_keras.recipe import InputError, Recipe, parse_yaml, read_recipe

# --- numbers that mean another thing -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-030", -30),
        ("1e-3", 0.001),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("{on: 1, 010: 2, null: 3}", {"on": 1, "010": 2, "null": 3}),
    ],
)
def test_a_value_means_what_it_looks_like(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "value", ["1:30", "0x10", "yes", "2024-01-01", "1e400", ".inf", "!!int 3", "1" * 5000]
)
def test_what_is_no_number_of_epochs_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="epochs"):
        read_recipe(None, [f"epochs={value}"])


def test_epochs_are_read_in_decimal(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("epochs: 030\nlearning_rate: 1e-3\n")
    assert read_recipe(tmp_path / "my.yaml") == Recipe(epochs=30, learning_rate=0.001)


# --- files with slips --------------------------------------------------------------------------


def test_a_file_with_slips_is_read_or_refused_by_its_name(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for kind, fault in answers(100, 0, tmp_path):
        assert not fault
        found[kind] += 1
    assert set(found) == {"accepted", "refused"}
