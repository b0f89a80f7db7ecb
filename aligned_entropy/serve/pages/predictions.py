"""Events that a browser gets while texts are predicted: start, rows, estimated accuracy, words, end, or an error.

The server keeps nothing of a visitor: the browser holds the rows, so that the next request may reach another replica.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Send as SendMessage

from ...batch.accuracy import bases_of
from ...batch.counts import RowCounts
from ...batch.job import Values
from ...batch.writing import csv_cells
from ...errors import AlignedEntropyError
from ..attribution import attributions, shaded
from ..batcher import ClosedError
from ..server import Server
from ..trade_off import limits
from ..upload import Upload, log_failure

MAX_CONCURRENT_VISITORS = 4  # their texts are predicted in turn, a batch each
MAX_WAITING_VISITORS = 32  # their texts are in memory
EXPLAINED_TEXTS = 3
PULSE_SECONDS = 15  # a proxy may close a connection on which it receives nothing for a minute
PULSE = ": the server is at work\n\n"

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]


class EventStream(StreamingResponse):
    """Response of events, which ends its work as soon as the visitor leaves."""

    media_type = "text/event-stream"  # is not compressed, so that no event waits for the next one

    async def stream_response(self, send: SendMessage) -> None:
        """Send the events."""
        async with aclosing(cast(AsyncGenerator[str, None], self.body_iterator)):
            await super().stream_response(send)


class Visitors:
    """Visitors whose texts are predicted now, or who wait for it.

    Args:
        server: server whose classifier predicts the texts, in turn with other requests.
    """

    def __init__(self, server: Server) -> None:
        self.server, self._turns, self._present = server, asyncio.Semaphore(MAX_CONCURRENT_VISITORS), 0
        self._ending = False
        server.on_shutdown.append(self._end)

    def _end(self) -> None:
        self._ending = True

    def check_room(self) -> None:
        """Check that one more visitor may wait.

        Raises:
            HTTPException: too many visitors wait.
        """
        if self._present >= MAX_CONCURRENT_VISITORS + MAX_WAITING_VISITORS:
            reason = f"{MAX_WAITING_VISITORS} other visitors wait for their predictions: try again in a minute."
            raise HTTPException(429, reason, {"Retry-After": "60"})

    async def stream(self, upload: Upload) -> AsyncGenerator[str, None]:
        """Yield events as lines of an event stream; the work ends when the stream is closed."""
        self._present += 1
        events: asyncio.Queue[Event | None] = asyncio.Queue(2)  # the work waits for a slow connection
        work = asyncio.create_task(self._work(upload, events))
        try:
            while True:
                try:
                    event = await asyncio.wait_for(events.get(), PULSE_SECONDS)
                except TimeoutError:
                    yield PULSE
                    continue
                if event is None:
                    return
                yield f"data: {json.dumps(event, allow_nan=False)}\n\n"
        finally:
            work.cancel()
            self._present -= 1

    async def _work(self, upload: Upload, events: asyncio.Queue[Event | None]) -> None:
        try:
            if self._turns.locked():
                await events.put({"kind": "waiting"})
            async with self._turns:
                await self._predict(upload, events.put)
        except AlignedEntropyError as error:
            await events.put({"kind": "error", "reason": str(error)})
        except Exception as error:
            log_failure(error, len(upload.rows))
            await events.put({"kind": "error", "reason": "the server failed on these texts; the reason is in its log."})
        await events.put(None)

    async def _predict(self, upload: Upload, send: Send) -> None:
        await send(start_event(upload))
        size, predicted = self.server.settings.batch, list[Values]()
        for start in range(0, len(upload.rows), size):
            rows = upload.rows[start : start + size]
            predicted += (values := await self._turn(upload.predict, rows))
            await send({"kind": "rows", "rows": [vars(upload.shown(*pair)) for pair in zip(rows, values, strict=True)]})
        estimate = await self._turn(estimate_event, upload, predicted)
        if estimate is not None:
            await send(estimate)
        for text in upload.most_uncertain(predicted, EXPLAINED_TEXTS):
            try:
                weights = await self._turn(attributions, upload.classifier, text)
            except ClosedError:
                break
            except Exception as error:  # of the model, on a text without some of its words
                log_failure(error, 1)
                continue
            if weights:
                await send({"kind": "words", "pieces": [vars(piece) for piece in shaded(weights)]})
        await send({"kind": "end"})

    async def _turn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that predicts a few texts, unless the server ends.

        Raises:
            ClosedError: the server ends.
        """
        if self._ending or self.server.batcher.closed:
            raise ClosedError("the server is shutting down: try again in a moment.")
        return await asyncio.to_thread(function, *arguments)


def estimate_event(upload: Upload, predicted: Sequence[Values]) -> Event | None:
    """Estimated accuracy of all rows, and the reasons not to believe it; None without error probabilities.

    Args:
        predicted: values of the added columns of all rows.
    """
    classifier = upload.classifier.classifier
    counts = replace(RowCounts.of_rows(predicted, upload.added), bases=bases_of(classifier))
    estimates = {
        "predictions" if counts.entities is None else "entities": counts.estimated_accuracy,
        "texts, by all of their tags": counts.estimated_sentence_accuracy,
    }
    made = {subject: estimate for subject, estimate in estimates.items() if estimate and estimate.predictions}
    if not made:
        return None
    messages = [
        {"subject": subject, "count": estimate.predictions} | estimate.overall.to_dict()
        for subject, estimate in made.items()
    ]
    reasons = dict.fromkeys(reason for estimate in made.values() for reason in estimate.reasons)
    return {"kind": "estimate", "estimates": messages, "reasons": list(reasons)}


def start_event(upload: Upload) -> Event:
    """First event: number of rows, columns of the file, and what the script needs to accept or defer."""
    added, saved, columns = upload.added, upload.classifier.saved, upload.file_columns

    def position(name: str, exists: bool) -> int | None:
        return columns.index(name) if exists else None

    return {
        "kind": "start",
        "total": len(upload.rows),
        "head": upload.classifier.version,
        "limits": None if saved.rule is None else limits(saved.rule),
        "columns": csv_cells(columns, safe=True),
        "accepted_column": position(added.accepted, not added.per_word),
        "set_column": position(added.label_set, added.label_set in added.names),
        "entity_column": position(added.prediction, added.per_word),
        "sets_need_rule": saved.sets is not None and saved.sets.only_deferred,
        "calibrated": added.error_probability in added.names,
    }
