"""Run functions in local processes or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Literal

from .errors import MissingExtraError

Engine = Literal["local", "ray"]
Submit = Callable[..., "Future[Any]"]


@contextmanager
def task_pool(engine: Engine, workers: int) -> Iterator[Submit]:
    """Open a pool of workers; its value is a function ``submit(function, *arguments)`` that returns a future.

    Args:
        engine: ``local`` for processes of this machine, which share its cores; ``ray`` for the tasks of a Ray cluster.
        workers: number of processes. A Ray cluster runs as many tasks at once as it has GPUs, or cores if it has no
            GPU.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if engine == "local":
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(workers, get_context("spawn"), _set_threads, (threads,)) as pool:
            yield pool.submit
        return
    with _ray(workers) as ray:
        task = ray.remote(num_gpus=1 if _gpus(ray) else 0)
        yield lambda function, *arguments: task(function).remote(*arguments).future()


def map_items(
    engine: Engine, workers: int, make_function: Callable[[], Callable[[Any], Any]], items: Iterable[Any]
) -> Iterator[Any]:
    """Call a function on every item and yield the results; Ray yields them in the order in which they are ready.

    Args:
        engine: ``local`` for this process, one item after the other; ``ray`` for an actor pool of Ray Data, which
            restarts a worker that died and repeats its item.
        workers: number of actors. On a cluster with GPUs each actor gets one GPU, and there are at most as many actors
            as GPUs.
        make_function: called once in each worker to make the function, for instance to load a model; it is pickled.
        items: arguments of the function; each is pickled.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if engine == "local":
        function = make_function()
        yield from (function(item) for item in items)
        return
    with _ray(workers) as ray:
        packed, gpus = [{"item": pickle.dumps(item)} for item in items], _gpus(ray)
        results = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
            _Actor,
            fn_constructor_args=(make_function,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(packed), gpus or workers)),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        yield from (pickle.loads(row["item"]) for row in results.iter_rows())


class _Actor:
    """Function in a Ray actor; Ray Data calls it with batches of one pickled item."""

    def __init__(self, make_function: Callable[[], Callable[[Any], Any]]) -> None:
        self.function = make_function()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"item": [pickle.dumps(self.function(pickle.loads(item))) for item in batch["item"]]}


def _gpus(ray: Any) -> int:
    """Number of GPUs in the cluster; Ray shows each worker only its own GPUs."""
    return int(ray.cluster_resources().get("GPU", 0))


@contextmanager
def _ray(workers: int) -> Iterator[Any]:
    """Connect to Ray: to the cluster of ``RAY_ADDRESS``, or to a local one that no other machine can reach.

    A local cluster has one core more than there are workers: if the workers held all cores, the tasks that read their
    input could never start.
    """
    local = "RAY_ADDRESS" not in os.environ
    if local:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray then listens on 127.0.0.1 only
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "engine 'ray' needs an optional dependency: pip install 'aligned-entropy[ray]'"
        ) from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    options |= {"num_cpus": workers + 1, "include_dashboard": False} if local else {}
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(**options)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if started_here:
            ray.shutdown()


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
