"""Commits that the predictions of several requests share."""

import asyncio
import threading

from aligned_entropy import StoreError
from aligned_entropy.serve import recording
from aligned_entropy.serve.recording import GroupCommit


class SlowStore:
    """Store whose commits wait until they may go on; a commit with a row "bad" fails."""

    def __init__(self):
        self.commits, self.may_go_on = [], threading.Event()

    def add_predictions(self, rows):
        self.may_go_on.wait(30)
        self.commits.append(list(rows))
        if "bad" in rows:
            raise StoreError("it is down")


def committed(store, requests, cancel=()):
    """Outcome of each request, all of which wait while the first one is committed."""

    async def work():
        commits = GroupCommit(store)
        commits.start()
        tasks = []
        for rows in requests:
            tasks.append(asyncio.create_task(commits.add(rows)))
            await asyncio.sleep(0.02)
        for number in cancel:
            tasks[number].cancel()
        store.may_go_on.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await commits.close()
        return outcomes

    return asyncio.run(work())


def test_requests_that_wait_share_a_commit():
    store = SlowStore()
    assert committed(store, [["a"], ["b", "c"], [], ["d"]]) == [None] * 4
    assert store.commits == [["a"], ["b", "c", "d"]]


def test_a_commit_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(recording, "LARGEST_COMMIT", 3)
    store = SlowStore()
    assert committed(store, [["a"], ["b", "c"], ["d", "e"], list("fghij"), ["k"]]) == [None] * 5
    assert store.commits == [["a"], ["b", "c"], ["d", "e"], list("fghij"), ["k"]]


def test_a_commit_that_fails_fails_all_its_requests_and_no_others():
    store = SlowStore()
    outcomes = committed(store, [["a"], ["bad"], ["c"]])
    assert outcomes[0] is None
    assert [type(outcome) for outcome in outcomes[1:]] == [StoreError, StoreError]


def test_a_canceled_request_stops_no_other():
    store = SlowStore()
    outcomes = committed(store, [["a"], ["b"], ["c"]], cancel=[0, 1])
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]


def test_nothing_is_committed_for_no_predictions():
    store = SlowStore()
    assert committed(store, [[]]) == [None]
    assert store.commits == []
