"""Commits of predictions by 32 requests at once: each alone, or those that wait together, as the server does.

    python benchmarks/serve/commits.py [URL …]        # an SQLite file in a new folder by default

Prints a table with the number of requests in a second, whose predictions are on disk at the end of each.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from uuid import uuid4

from aligned_entropy.serve.recording import GroupCommit
from aligned_entropy.store import Store, StoredPrediction

REQUESTS, SECONDS = 32, 5.0


def prediction() -> StoredPrediction:
    return StoredPrediction(
        id=uuid4().hex,
        at=time.time(),
        text="a text of usual length, which says what somebody thought of a film " * 2,
        predicted="positive",
        probabilities={"positive": 0.93, "negative": 0.07},
        label_set=None,
        uncertainty=0.12,
        error_probability=0.07,
        accepted=True,
        head="42302931d5da",
        inclusion=0.05,
    )


async def requests_per_second(store: Store, together: bool) -> float:
    commits, stored, end = GroupCommit(store), 0, time.perf_counter() + SECONDS
    commits.start()

    async def send() -> None:
        nonlocal stored
        while time.perf_counter() < end:
            if together:
                await commits.add([prediction()])
            else:
                await asyncio.to_thread(store.add_predictions, [prediction()])
            stored += 1

    await asyncio.gather(*(send() for _ in range(REQUESTS)))
    await commits.close()
    return stored / SECONDS


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("| store | each alone, requests/s | together, requests/s |\n|---|---:|---:|")
        for url in sys.argv[1:] or [f"{folder}/store.sqlite"]:
            store = Store(url)
            alone, together = (asyncio.run(requests_per_second(store, together)) for together in (False, True))
            print(f"| {url.partition('://')[0] if '://' in url else 'sqlite'} | {alone:.0f} | {together:.0f} |")
            store.close()


if __name__ == "__main__":
    main()
