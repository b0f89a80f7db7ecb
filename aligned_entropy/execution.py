"""Where work is done: in processes of this machine, or on a Ray cluster. The work is the same."""

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
def tasks(engine: Engine, workers: int) -> Iterator[Submit]:
    """A way to have functions called elsewhere: ``submit(function, *arguments)`` gives a future.

    Args:
        engine: ``local`` processes, which share the cores out, or the tasks of a Ray cluster.
        workers: processes; a Ray cluster has as many as it has cores for, one a task, or GPUs, where it has those.

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


def mapped(
    engine: Engine, workers: int, make: Callable[[], Callable[[Any], Any]], items: Iterable[Any]
) -> Iterator[Any]:
    """Results of a function for every item, as they come.

    Args:
        engine: ``local``: here, one after another. ``ray``: by an actor pool of Ray Data, which starts a worker that
            died again and asks it once more.
        workers: actors; where the cluster has GPUs each has one of its own, and there are no more than those.
        make: makes the function, once a worker: a model is loaded there. It is pickled.
        items: pickled, too.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if engine == "local":
        function = make()
        yield from (function(item) for item in items)
        return
    with _ray(workers) as ray:
        packed, gpus = [{"item": pickle.dumps(item)} for item in items], _gpus(ray)
        done = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
            _Worker,
            fn_constructor_args=(make,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(packed), gpus or workers)),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        yield from (pickle.loads(row["item"]) for row in done.iter_rows())


class _Worker:
    """A function in an actor: batches of one item in, and out."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self.function = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"item": [pickle.dumps(self.function(pickle.loads(item))) for item in batch["item"]]}


def _gpus(ray: Any) -> int:
    """GPUs of the cluster. Ray shows a worker those that it was given, so that no two compute on the same."""
    return int(ray.cluster_resources().get("GPU", 0))


@contextmanager
def _ray(workers: int) -> Iterator[Any]:
    """Ray, on the cluster that ``RAY_ADDRESS`` names, or on this machine alone, where nobody else reaches it.

    One core more than there are workers: those that hold them all leave none to who feeds them, and nothing moves.
    """
    alone = "RAY_ADDRESS" not in os.environ
    if alone:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # what makes it listen on 127.0.0.1 only
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("the Ray engine needs more: pip install 'aligned-entropy[ray]'") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    options |= {"num_cpus": workers + 1, "include_dashboard": False} if alone else {}
    ours = not ray.is_initialized()
    if ours:
        ray.init(**options)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
