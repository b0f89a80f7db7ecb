"""The batcher: every answer goes to who asked, whoever else leaves, fails, or is too many."""

import asyncio
import threading
import time

import pytest

from aligned_entropy.serve.batcher import Batcher, ClosedError, OverloadedError


class Model:
    """Predictions in capitals, slowly; counts what it was asked."""

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


async def opened(model, **options):
    batcher = Batcher(model, **options)
    batcher.start()
    return batcher


def test_answers_go_to_who_asked_and_batches_are_shared():
    async def work():
        model = Model(0.002)
        batcher = await opened(model, batch=16)
        asked = [[f"{i}-{j}" for j in range(i % 5)] for i in range(200)]
        answers = await asyncio.gather(*(batcher.ask(texts) for texts in asked))
        assert answers == [[text.upper() for text in texts] for texts in asked]
        assert max(map(len, model.batches)) == 16
        assert len(model.batches) <= sum(map(len, asked)) / 16 + 2
        assert batcher.waiting == 0
        await batcher.close()

    run(work())


def test_an_error_that_no_future_takes_stops_nobody_else():
    def stop(texts):
        if texts == ["stop"]:
            raise StopIteration
        return texts

    async def work():
        batcher = await opened(stop)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await batcher.ask(["stop"])
        assert await batcher.ask(["go"]) == ["go"]
        await batcher.close()

    run(work())


def test_a_request_larger_than_a_batch_is_put_together_again():
    async def work():
        batcher = await opened(Model(), batch=3)
        texts = [str(i) + "x" for i in range(10)]
        assert await batcher.ask(texts) == [text.upper() for text in texts]
        await batcher.close()

    run(work())


def test_a_text_that_cannot_be_answered_fails_alone():
    async def work():
        batcher = await opened(Model(), batch=16)
        asked = ["a", "bad", "b", "bad bad", "c"]
        found = await asyncio.gather(*(batcher.ask([text]) for text in asked), return_exceptions=True)
        assert [found[i] for i in (0, 2, 4)] == [["A"], ["B"], ["C"]]
        assert all(isinstance(found[i], ValueError) for i in (1, 3))
        assert await batcher.ask(["still here"]) == ["STILL HERE"]
        with pytest.raises(ValueError, match="bad"):
            await batcher.ask(["one", "bad", "two"])
        await batcher.close()

    run(work())


def test_who_leaves_takes_his_texts_along():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await opened(model, batch=2)
        first = asyncio.create_task(batcher.ask(["first", "first too"]))
        await asyncio.sleep(0.05)  # its batch is being answered
        leaving = [asyncio.create_task(batcher.ask([f"leaving {i}"])) for i in range(5)]
        staying = asyncio.create_task(batcher.ask(["staying"]))
        await asyncio.sleep(0.05)
        assert batcher.waiting == 6
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert batcher.waiting == 1
        model.gate.set()
        assert await first == ["FIRST", "FIRST TOO"]
        assert await staying == ["STAYING"]
        assert not any("leaving" in text for batch in model.batches for text in batch)
        await batcher.close()

    run(work())


def test_leaving_while_the_own_batch_is_answered_hurts_nobody():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await opened(model, batch=2, wait=0.05)
        leaving, staying = (asyncio.create_task(batcher.ask([text])) for text in ("leaving", "staying"))
        while not model.batches:
            await asyncio.sleep(0.01)
        leaving.cancel()
        model.gate.set()
        assert await staying == ["STAYING"]
        assert model.batches == [["leaving", "staying"]]
        await batcher.close()

    run(work())


def test_a_full_queue_refuses_and_says_when_to_come_again():
    async def work():
        model = Model()
        model.gate.clear()
        batcher = await opened(model, batch=1, queue=4)
        waiting = [asyncio.create_task(batcher.ask(["0"]))]
        await asyncio.sleep(0.05)  # it is being answered
        waiting += [asyncio.create_task(batcher.ask([str(i)])) for i in range(1, 5)]
        await asyncio.sleep(0.05)  # four wait
        with pytest.raises(OverloadedError) as refused:
            await batcher.ask(["too many"])
        assert refused.value.retry_after >= 1
        model.gate.set()
        assert [await task for task in waiting] == [[str(i)] for i in range(5)]
        assert await batcher.ask(["now"]) == ["NOW"]
        await batcher.close()

    run(work())


def test_closing_answers_what_was_accepted_and_takes_nothing_more():
    async def work():
        batcher = await opened(Model(0.01), batch=2)
        accepted = [asyncio.create_task(batcher.ask([f"a{i}"])) for i in range(9)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await batcher.ask(["late"])
        await closing
        assert [await task for task in accepted] == [[f"A{i}"] for i in range(9)]

    run(work())


def test_a_model_that_loses_answers_is_an_error_not_a_mixed_up_answer():
    async def work():
        batcher = await opened(lambda texts: [text.upper() for text in texts[1:]])
        found = await asyncio.gather(*(batcher.ask([text]) for text in "abc"), return_exceptions=True)
        assert all(isinstance(error, RuntimeError) for error in found)
        await batcher.close()

    run(work())


def test_sizes_of_batches_are_observed():
    async def work():
        sizes = []
        batcher = await opened(Model(), batch=8, observe=sizes.append)
        await batcher.ask([str(i) for i in range(11)])
        await batcher.close()
        assert sizes == [8, 3]

    run(work())
