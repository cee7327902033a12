"""LeNet-5 on CIFAR-10: what each modern technique adds, with evidence."""

import os

# TensorFlow reads these when it is first imported. Its start-up lines are no news to a reader, and
# nbval would see them as differences; a person's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# One variable for all of TensorFlow's thread pools, so that several runs can share a machine.
if threads := os.environ.get("LENET_THREADS"):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = threads


def available_threads() -> int:
    """What a person granted by LENET_THREADS, else the processor cores this process may use."""
    if granted := os.environ.get("LENET_THREADS"):
        return int(granted)
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
