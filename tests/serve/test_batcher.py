"""Batcher: every request gets its own predictions, even if others are canceled, fail or are refused."""

import asyncio
import threading
import time

import pytest

from aligned_entropy import EndpointError
from aligned_entropy.serve.batcher import Batcher, ClosedError, OverloadedError


class Model:
    """Model that predicts a text in capitals, after a delay, and records its batches."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.gate = seconds, [], threading.Event()
        self.gate.set()

    def __call__(self, texts):
        self.batches.append(list(texts))
        self.gate.wait(10)
        time.sleep(self.seconds)
        if any("bad" in text for text in texts):
            raise ValueError("bad")
        return [text.upper() for text in texts]


def run(work):
    return asyncio.run(asyncio.wait_for(work, 20))


async def started_batcher(model, **options):
    batcher = Batcher(model, **options)
    batcher.start()
    return batcher


def test_every_request_gets_its_predictions_and_batches_are_shared():
    async def work():
        model = Model(0.002)
        batcher = await started_batcher(model, batch=16)
        requests = [[f"{i}-{j}" for j in range(i % 5)] for i in range(200)]
        predictions = await asyncio.gather(*(batcher.predict(texts) for texts in requests))
        assert predictions == [[text.upper() for text in texts] for texts in requests]
        assert max(map(len, model.batches)) == 16
        assert len(model.batches) <= sum(map(len, requests)) / 16 + 2
        assert batcher.waiting == 0
        await batcher.close()

    run(work())


def test_an_endpoint_that_cannot_be_used_fails_the_batch_and_is_not_asked_again():
    batches = []

    def predict(texts):
        batches.append(list(texts))
        raise EndpointError("gone")

    async def work():
        batcher = await started_batcher(predict, wait=0.05)
        outcomes = await asyncio.gather(*(batcher.predict([text]) for text in "abc"), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["gone"] * 3
        assert batches == [["a", "b", "c"]]
        await batcher.close()

    run(work())


def test_stop_iteration_fails_only_its_own_request():
    def stop(texts):
        if texts == ["stop"]:
            raise StopIteration
        return texts

    async def work():
        batcher = await started_batcher(stop)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await batcher.predict(["stop"])
        assert await batcher.predict(["go"]) == ["go"]
        await batcher.close()

    run(work())


def test_a_request_larger_than_a_batch_is_put_together_again():
    async def work():
        batcher = await started_batcher(Model(), batch=3)
        texts = [str(i) + "x" for i in range(10)]
        assert await batcher.predict(texts) == [text.upper() for text in texts]
        await batcher.close()

    run(work())


def test_a_text_that_cannot_be_predicted_fails_alone():
    async def work():
        batcher = await started_batcher(Model(), batch=16)
        texts = ["a", "bad", "b", "bad bad", "c"]
        outcomes = await asyncio.gather(*(batcher.predict([text]) for text in texts), return_exceptions=True)
        assert [outcomes[i] for i in (0, 2, 4)] == [["A"], ["B"], ["C"]]
        assert all(isinstance(outcomes[i], ValueError) for i in (1, 3))
        assert await batcher.predict(["still here"]) == ["STILL HERE"]
        with pytest.raises(ValueError, match="bad"):
            await batcher.predict(["one", "bad", "two"])
        await batcher.close()

    run(work())


def test_a_canceled_request_leaves_the_queue():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await started_batcher(model, batch=2)
        first = asyncio.create_task(batcher.predict(["first", "first too"]))
        await asyncio.sleep(0.05)  # its batch is being predicted
        canceled = [asyncio.create_task(batcher.predict([f"canceled {i}"])) for i in range(5)]
        waiting = asyncio.create_task(batcher.predict(["waiting"]))
        await asyncio.sleep(0.05)
        assert batcher.waiting == 6
        for task in canceled:
            task.cancel()
        await asyncio.gather(*canceled, return_exceptions=True)
        assert batcher.waiting == 1
        model.gate.set()
        assert await first == ["FIRST", "FIRST TOO"]
        assert await waiting == ["WAITING"]
        assert not any("canceled" in text for batch in model.batches for text in batch)
        await batcher.close()

    run(work())


def test_a_request_canceled_during_its_batch_changes_no_other():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await started_batcher(model, batch=2, wait=0.05)
        canceled, waiting = (asyncio.create_task(batcher.predict([text])) for text in ("canceled", "waiting"))
        while not model.batches:
            await asyncio.sleep(0.01)
        canceled.cancel()
        model.gate.set()
        assert await waiting == ["WAITING"]
        assert model.batches == [["canceled", "waiting"]]
        await batcher.close()

    run(work())


def test_a_full_queue_refuses_and_tells_when_to_try_again():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await started_batcher(model, batch=1, queue=4)
        waiting = [asyncio.create_task(batcher.predict(["0"]))]
        await asyncio.sleep(0.05)  # it is being predicted
        waiting += [asyncio.create_task(batcher.predict([str(i)])) for i in range(1, 5)]
        await asyncio.sleep(0.05)  # four wait
        with pytest.raises(OverloadedError) as refused:
            await batcher.predict(["too many"])
        assert refused.value.retry_after >= 1
        model.gate.set()
        assert [await task for task in waiting] == [[str(i)] for i in range(5)]
        assert await batcher.predict(["now"]) == ["NOW"]
        await batcher.close()

    run(work())


def test_closing_completes_accepted_requests_and_refuses_new_ones():
    async def work():
        batcher = await started_batcher(Model(0.01), batch=2)
        accepted = [asyncio.create_task(batcher.predict([f"a{i}"])) for i in range(9)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await batcher.predict(["late"])
        await closing
        assert [await task for task in accepted] == [[f"A{i}"] for i in range(9)]

    run(work())


def test_a_wrong_number_of_predictions_is_an_error():
    async def work():
        batcher = await started_batcher(lambda texts: [text.upper() for text in texts[1:]])
        outcomes = await asyncio.gather(*(batcher.predict([text]) for text in "abc"), return_exceptions=True)
        assert all(isinstance(error, RuntimeError) for error in outcomes)
        await batcher.close()

    run(work())


def test_sizes_of_batches_are_observed():
    async def work():
        sizes = []
        batcher = await started_batcher(Model(), batch=8, observe=sizes.append)
        await batcher.predict([str(i) for i in range(11)])
        await batcher.close()
        assert sizes == [8, 3]

    run(work())
