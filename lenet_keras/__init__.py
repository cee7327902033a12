"""LeNet-5 on CIFAR-10: what each modern technique adds, with evidence."""

import contextlib
import importlib.util
import os

# TensorFlow reads these when it is first imported. Its start-up lines are no news to a reader, and
# nbval would see them as differences; a person's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
# TensorFlow has oneDNN on most systems, but turns it on by itself only for the newest processors;
# on others it halves the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def available_threads() -> int:
    """What a person granted by LENET_THREADS, else the processor cores this process may use.

    Raises:
        InputError: LENET_THREADS is no number from 1.
    """
    if granted := os.environ.get("LENET_THREADS"):
        if not granted.isdecimal() or int(granted) < 1:
            from lenet_keras.recipe import InputError

            raise InputError(f"LENET_THREADS: found {granted!r}; allowed: whole numbers from 1.")
        return int(granted)
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_environment() -> None:
    """Whether this process can compute as its environment variables say.

    Raises:
        InputError: LENET_THREADS or KERAS_BACKEND names what there is not.
    """
    from lenet_keras.recipe import InputError

    available_threads()
    engine = os.environ["KERAS_BACKEND"]
    if engine not in ("tensorflow", "jax"):
        raise InputError(f"KERAS_BACKEND: found {engine!r}; allowed: tensorflow or jax.")
    if importlib.util.find_spec(engine) is None:
        raise InputError(
            f"KERAS_BACKEND: the package {engine} is not installed: pip install {engine}."
        )


def __getattr__(name: str) -> int:
    """`PARALLEL_SHARDS`; asked for by what computes, so that no import of the package fails."""
    if name != "PARALLEL_SHARDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return min(available_threads(), 4)


# A study's training step goes through a batch in PARALLEL_SHARDS parts side by side, each with its
# share of TensorFlow's threads, on whose number the last digits of its records depend. Both must be
# known before TensorFlow is imported. A person's own setting of TensorFlow's variables wins,
# LENET_THREADS over it, so that several runs can share a machine.
with contextlib.suppress(ValueError):  # of LENET_THREADS, which PARALLEL_SHARDS will tell
    THREADS = {
        "TF_NUM_INTRAOP_THREADS": -(-available_threads() // __getattr__("PARALLEL_SHARDS")),
        "TF_NUM_INTEROP_THREADS": available_threads(),
    }
    for _name, _count in THREADS.items():
        if "LENET_THREADS" in os.environ or _name not in os.environ:
            os.environ[_name] = str(_count)
