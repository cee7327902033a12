"""Everything that computes, as this machine does it and as older ones and a Mac would.

TensorFlow multiplies with oneDNN, which suits itself to the processor, or without. A wrong guess
about either shows where it is wrong and nowhere else, so each regime is tried on every machine.
"""

import json
import re
from pathlib import Path

import pytest
import yaml
from here import ROOT, call

REGIMES = {
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
STUDY = {
    "title": "Rates",
    "question": "Does the stack's first step hold?",
    "dataset": "digits",
    "base": {"activation": "relu", "pooling": "max", "batch_size": 64},
    "baseline": "constant",
    "variants": {"constant": {}, "cosine": {"schedule": "cosine"}},
    "tuning": {"learning_rates": [0.03, 0.1], "epochs": 1, "seeds": [1000]},
    "seeds": 2,
    "epochs": 1,
}
SEARCH = {
    "title": "A search",
    "question": "Do teachers help?",
    "dataset": "digits",
    "base": {"optimizer": "adamw", "batch_size": 64},
    "families": {"taught": {"teachers": 2, "teacher_epochs": 1}},
    "members": {"learning_rate": {"low": 0.001, "high": 0.01}},
    "stages": [{"recipes": 2, "epochs": 1, "seeds": [2000]}],
}


def asked(folder: Path, regime: dict[str, str]) -> tuple[str, dict[str, float]]:
    """What `regime.py` prints in `folder`, and the distances that it finds between networks."""
    own: dict[str, str | None] = {name: None for each in REGIMES.values() for name in each}
    # oneDNN itself says what it does, so no regime passes for another.
    variables = {**own, "ONEDNN_VERBOSE": "1", **regime}
    result = call(folder, str(ROOT / "tests" / "regime.py"), **variables)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr
    found = json.loads(result.stderr.splitlines()[-1])
    onednn, instruction_set = found.pop("onednn"), found.pop("instruction_set")
    assert onednn == ("exec,cpu,convolution" in result.stdout)
    assert not (onednn and regime.get("TF_ENABLE_ONEDNN_OPTS") == "0")
    if said := re.search(r"info,cpu,isa:Intel (\S+)", result.stdout):
        families = {"AVX512": "AVX-512", "AVX2": "AVX2", "AVX": "AVX", "SSE41": "SSE4.1"}
        family = next(name for name in families if instruction_set.startswith(name))
        assert said[1] == families[family]
        assert family in ("AVX2", "AVX", "SSE41") or "ONEDNN_MAX_CPU_ISA" not in regime
    return result.stdout, found


def test_as_it_is_a_machine_says_how_it_computes(tmp_path: Path) -> None:
    """All other tests train and compare in this regime."""
    assert asked(tmp_path, {})[1] == {}


@pytest.mark.parametrize("settings", REGIMES.values(), ids=REGIMES.keys())
def test_the_command_line_trains_and_reproduces_and_numbers_are_those_of_plain_keras(
    settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(STUDY))
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(SEARCH))
    said, found = asked(tmp_path, settings)
    assert len(list((tmp_path / "results/rates").rglob("seed-*.json"))) == 2 * 2 + 2 * 2
    assert said.count(": reproduced to the last digit") in (2, 4)  # a seed's stack, or the rates'
    assert len(list((tmp_path / "results/search").rglob("seed-*.json"))) == 2
    assert len(found) == 4
    assert all(distance < 1e-4 for distance in found.values()), found
