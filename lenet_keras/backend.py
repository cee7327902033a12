"""Keras and its backend, imported once, without TensorFlow's start-up lines; how it computes here.

TensorFlow 2.21 writes to the process's standard error while it is imported, before it reads
TF_CPP_MIN_LOG_LEVEL. nbval would see those lines as differences between two runs of a notebook.
"""

import contextlib
import functools
import gc
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lenet_keras
from lenet_keras.recipe import InputError

# What an x86 processor can do, widest first, as ONEDNN_MAX_CPU_ISA spells it, and the flag by which
# Linux tells.
INSTRUCTION_SETS = {
    "AVX512_CORE_AMX": "amx_tile",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE": "avx512bw",
    "AVX2_VNNI": "avx_vnni",
    "AVX2": "avx2",
    "AVX": "avx",
    "SSE41": "sse4_1",
}
# How environment variables begin that TensorFlow, oneDNN, XLA, JAX and what lies below them read:
# hundreds, and more with every version, many of which change how sums are rounded; and those of
# them that are known to change none, or are told otherwise in a run's provenance.
COMPUTING = (
    *("TF_", "XLA_", "JAX_", "KERAS_", "ONEDNN_", "DNNL_", "MKL", "ZENDNN_", "ITEX_", "EIGEN_"),
    *("NPY_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "OMP_", "GOMP_", "KMP_", "GLIBC_TUNABLES"),
    *("NVIDIA_TF32_", "CUBLAS", "CUDNN_", "MIOPEN_", "ROCBLAS_", "HIPBLAS", "LIBTPU_", "TPU_"),
)
ROUNDING_NOTHING = (
    *("TF_CPP_", "TF_ENABLE_ONEDNN_OPTS", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    *("XLA_PYTHON_CLIENT_", "JAX_COMPILATION_CACHE_", "JAX_PERSISTENT_CACHE_", "JAX_PLATFORMS"),
    *("KERAS_BACKEND", "KERAS_HOME", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"),
    # Terraform's, of which some are secret.
    *("TF_CLI_", "TF_VAR_", "TF_TOKEN_", "TF_LOG", "TF_INPUT", "TF_IN_AUTOMATION", "TF_IGNORE"),
    *("TF_DATA_DIR", "TF_WORKSPACE", "TF_PLUGIN_CACHE_", "TF_REGISTRY_", "TF_CLOUD_", "TF_HTTP_"),
)


@contextlib.contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Drop what compiled code writes to standard error, but show it if the import fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(2), "wb", 0) as original:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            original.write(held.read())
            raise
        finally:
            os.dup2(original.fileno(), 2)


@contextlib.contextmanager
def _no_garbage_sought() -> Iterator[None]:
    """Half a million objects appear, hardly one of them garbage; to look for it again and again
    takes a fifth of the time."""
    sought = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if sought:
            gc.enable()


lenet_keras.check_environment()
with _standard_error_held_back(), _no_garbage_sought():
    try:
        import keras  # with TensorFlow or JAX, as KERAS_BACKEND says
    except (AttributeError, ValueError) as fault:
        raise InputError(
            f"Keras cannot start ({fault}). What it reads first is keras.json, in the folder that "
            "KERAS_HOME names or else in ~/.keras. Mend or remove it."
        ) from None
    import tensorflow as tf

    # The first look at the devices reports a missing GPU driver as an error.
    tf.config.list_physical_devices()

if keras.backend.backend() == "jax" and "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
    import jax

    # A recipe in float32 is computed in float32: JAX's default on a GPU is TensorFloat-32.
    jax.config.update("jax_default_matmul_precision", "highest")

# What a recipe leaves open is as Keras has it, whatever a keras.json or KERAS_MAX_EPOCHS says.
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
keras.config.set_max_epochs(None)
keras.config.set_max_steps_per_epoch(None)

# Every run traces a model of its own, on purpose; from the fifth on TensorFlow would warn of it.
tf.get_logger().setLevel("ERROR")

layers, ops = keras.layers, keras.ops


@functools.cache
def onednn() -> bool:
    """Whether TensorFlow computes with oneDNN on the processor; it is tried once.

    Nothing public says so, but a grouped convolution has gradients on a processor only with it.
    """
    if keras.backend.backend() != "tensorflow":
        return False

    @tf.function(autograph=False)
    def gradients(x: tf.Tensor, kernel: tf.Tensor) -> list[tf.Tensor]:
        return tf.gradients(tf.nn.conv2d(x, kernel, strides=1, padding="VALID"), [x, kernel])

    # Whoever asks first may be tracing a model: there operations become nodes of a graph, nothing
    # runs, nothing is raised, and the answer would be wrong for good.
    with tf.init_scope(), tf.device("CPU:0"):
        try:
            gradients(tf.ones((1, 6, 6, 4)), tf.ones((5, 5, 2, 6)))
        except tf.errors.OpError:
            return False
    return True


def instruction_set() -> str:
    """The widest vector instructions that oneDNN may use here, one of `INSTRUCTION_SETS`; the kind
    of machine ("arm64") where it has others or the system does not tell."""
    flags = set(_cpuinfo().split())
    able = [name for name, flag in INSTRUCTION_SETS.items() if flag in flags]
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    narrower = able[able.index(allowed) :] if allowed in able else able
    return narrower[0] if narrower else platform.machine()


def rounding_settings() -> dict[str, str]:
    """The environment variables that may change how sums are rounded, and what they are set to.

    One too many is no harm: it puts a run under the rule for other machines, if digits differ.
    Whatever looks like a path is left out of a value: records are shared, a person's folders not.
    """
    ours = {name: str(count) for name, count in lenet_keras.THREADS.items()}
    return {
        name: re.sub(r"[^\s=:,]*[/\\]\S*", "…", value)
        for name, value in sorted(os.environ.items())
        if name.startswith(COMPUTING)
        and not name.startswith(ROUNDING_NOTHING)
        and ours.get(name) != value
    }


def accelerator() -> str | None:
    """The name of the first GPU or TPU that Keras' backend uses, None on a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    for device in tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(device).get("device_name", "GPU")
    return None


def processor() -> str:
    """The processor's name, as the system gives it."""
    named = re.search(r"^model name\s*:\s*(.+?)\s*$", _cpuinfo(), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    """What Linux tells of the processor; nothing on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
