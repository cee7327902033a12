"""What all tests share: no window is opened, and a slow machine fails no property test."""

import gc
from pathlib import Path

import hypothesis
import matplotlib
import pytest
from here import NOWHERE
from mirror import TinyCifar10, tiny_cifar10

matplotlib.use("Agg")
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")


def pytest_collection_finish() -> None:
    """What the tests imported is no garbage: no collection, as before each training, looks at it.

    It is half a million objects, so this is a seventh of the time of a small training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, no CIFAR-10 from the environment, no network but this machine's own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("LENET_DATA", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "keras" / "datasets"


@pytest.fixture(scope="session")
def tiny() -> TinyCifar10:
    return tiny_cifar10()
