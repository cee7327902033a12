"""What all tests share: no window is opened, and a slow machine fails no property test."""

import gc

import hypothesis
import matplotlib

matplotlib.use("Agg")
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")


def pytest_collection_finish() -> None:
    """What the tests imported is no garbage: no collection, as before each training, looks at it.

    It is half a million objects, so this is a seventh of the time of a small training.
    """
    gc.collect()
    gc.freeze()
