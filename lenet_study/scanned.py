"""Under JAX, the steps of one execution as one compiled loop.

Keras on JAX calls one compiled step after another from Python; a small network's step is over
before the next one is called, and an accelerator waits. Here the loop over the steps is compiled
too, and the next execution's batches are fetched while this one computes.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from lenet_keras.backend import keras


def train_function(model: keras.Model, steps: int) -> Callable[[Any, Iterator], tuple[Any, Any]]:
    """What `keras.Model.make_train_function` makes, for JAX.

    Args:
        model: compiled; its `train_step` is one step.
        steps: of one execution; a rest of an epoch is an execution of its own.

    Returns:
        A function of the training's state and the iterator over batches, to the last step's logs
        and the new state.
    """
    import jax

    def step(state: Any, batch: Any) -> tuple[Any, Any]:
        logs, state = model.train_step(state, batch)
        return state, logs

    def execution(state: Any, batches: Any) -> tuple[Any, Any]:
        state, logs = jax.lax.scan(step, state, batches)
        return jax.tree.map(lambda values: values[-1], logs), state

    compiled = jax.jit(execution, donate_argnums=0)
    fetched: dict[int, Any] = {}  # of the iterator in use, by its identity

    def fetch(iterator: Iterator) -> Any:
        batches = list(itertools.islice(iterator, steps))
        if not batches:
            return None
        return jax.tree.map(lambda *parts: jax.numpy.stack(parts), *batches)

    def train(state: Any, iterator: Iterator) -> tuple[Any, Any]:
        batches = fetched.pop(id(iterator), None)
        batches = fetch(iterator) if batches is None else batches
        if batches is None:
            raise StopIteration
        result = compiled(state, batches)
        fetched.clear()
        fetched[id(iterator)] = fetch(iterator)
        return result

    return train
