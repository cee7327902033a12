"""Keras and its backend, imported once and without TensorFlow's start-up lines.

TensorFlow 2.21 writes to the process's standard error while it is imported, before it reads
TF_CPP_MIN_LOG_LEVEL. nbval would see those lines as differences between two runs of a notebook.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Drop what compiled code writes to standard error, but show it if the import fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


with _standard_error_held_back():
    import keras  # with TensorFlow or JAX, as KERAS_BACKEND says
    import tensorflow as tf

    # The first look at the devices reports a missing GPU driver as an error.
    tf.config.list_physical_devices()

if keras.backend.backend() == "jax" and "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
    import jax

    # A recipe in float32 is computed in float32: JAX's default on a GPU is TensorFloat-32.
    jax.config.update("jax_default_matmul_precision", "highest")

# Every run traces a model of its own, on purpose; from the fifth on TensorFlow would warn of it.
tf.get_logger().setLevel("ERROR")

layers, ops = keras.layers, keras.ops

__all__ = ["keras", "layers", "ops", "tf"]
