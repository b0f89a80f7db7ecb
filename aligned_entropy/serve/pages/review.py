"""Page at ``/ui/review``: texts that wait for a label, one at a time. Its other routes are not for programs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from fastapi import FastAPI, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from ...display.wording import cut
from ...store import NewFeedback, Store, StoredFeedback, StoredPrediction
from ..labeling import new_feedback
from ..messages import FeedbackRequest, Message
from ..server import PAGE_PATH, Server
from .layout import Layout
from .review_items import Item, labels_of, review_item

REVIEW_PATH = f"{PAGE_PATH}/review"
HOLD_SECONDS = 600  # a text is shown to nobody else for this time
PAGE_SOURCES = ("page", "import")  # feedback on what was drawn; a program may label any prediction


class Visit(Message):
    """Request of an open page."""

    visitor: str = Field(pattern="^[0-9a-f-]{36}$")


class Named(Visit):
    """Request that names a prediction."""

    prediction: str = Field(max_length=100)


class Label(Named):
    """Label of a visitor for a prediction."""

    label: str | list[str]
    reviewer: str = Field(default="", max_length=200)


class Undone(Named):
    """Label that a visitor takes back; without a number, the skip of a prediction."""

    number: int | None = None


class Counts(Message):
    """Numbers of texts that were drawn for review."""

    waiting: int
    labeled: int
    skipped: int


class Queue(Message):
    """Texts for a visitor, and the progress of all."""

    items: list[Item]
    counts: Counts
    number: int | None


def add_review_routes(app: FastAPI, layout: Layout, server: Server, store: Store) -> None:
    """Add the page and the routes that its script uses.

    Args:
        app: application.
        layout: layout of the pages.
        server: server of the model.
        store: store with the texts.
    """
    layout.links["/review"] = "Review"
    review = Review(server, store)

    @app.get(REVIEW_PATH, include_in_schema=False)
    async def review_page(request: Request) -> Response:
        return layout.response(request, "review.html.j2", "Review", **labels_of(server.head.classifier))

    @app.post(f"{REVIEW_PATH}/next", include_in_schema=False)
    async def next_texts(body: Visit) -> Queue:
        return await review.take(body.visitor)

    @app.post(f"{REVIEW_PATH}/label", include_in_schema=False)
    async def label(body: Label) -> Queue:
        return await review.label(body)

    @app.post(f"{REVIEW_PATH}/skip", include_in_schema=False)
    async def skip(body: Named) -> Queue:
        return await review.skip(body)

    @app.post(f"{REVIEW_PATH}/undo", include_in_schema=False)
    async def undo(body: Undone) -> Queue:
        return await review.undo(body)


class Review:
    """Review of the texts in a store by the visitors of the page.

    Args:
        server: server of the model.
        store: store with the texts.
    """

    def __init__(self, server: Server, store: Store) -> None:
        self.server, self.store = server, store
        self._labeling = asyncio.Lock()

    async def take(self, visitor: str) -> Queue:
        """Take the text to label and the one after it; a visitor is shown the same texts again until they are done."""
        taken = await self.server.in_store(self._take, visitor)
        return await self._queue(items=[review_item(stored, self.server.head.classifier) for stored in taken])

    def _take(self, visitor: str) -> list[StoredPrediction]:
        """Take two predictions; those whose texts are not stored, from before a restart, are skipped."""
        while True:
            taken = self.store.take_from_queue(2, reviewer=visitor, seconds=HOLD_SECONDS)
            without_text = [stored.id for stored in taken if stored.text is None]
            if not without_text:
                return taken
            for prediction_id in without_text:
                self.store.skip(prediction_id)

    async def label(self, sent: Label) -> Queue:
        """Store a label; if it is sent again, it is not stored again.

        Raises:
            ArgumentError: the name of the visitor cannot be stored.
            DataError: the model has no such label, or it has the wrong form.
            HTTPException: the prediction is not stored, or another visitor has labeled it.
        """
        async with self._labeling:  # so that a label that is sent twice at once is counted once
            stored = await self._prediction(sent.prediction)
            feedback = await self._feedback(sent, stored)
            before = {row.number for row in await self._page_feedback(stored.id)}
            number = await self.server.in_store(partial(self.store.add_feedback, unless_from=PAGE_SOURCES), feedback)
            for row in await self._page_feedback(stored.id):
                if row.number == number and (row.label, row.reviewer) != (feedback.label, feedback.reviewer):
                    raise HTTPException(409, f"somebody else has labeled this text {cut(row.label, 80)} by now.")
            if number not in before:
                self.server.monitor.feedback.inc()
        return await self._queue(number=number)

    async def skip(self, sent: Named) -> Queue:
        """Take a text out of the queue without a label."""
        await self._prediction(sent.prediction)
        await self.server.in_store(self.store.skip, sent.prediction, sent.visitor)
        return await self._queue()

    async def undo(self, sent: Undone) -> Queue:
        """Remove a label that was given on the page, or take back a skip; the text is shown again.

        Raises:
            HTTPException: the prediction is not stored.
        """
        stored = await self._prediction(sent.prediction)
        if sent.number is None:
            await self.server.in_store(self.store.unskip, stored.id)
        elif sent.number in [row.number for row in await self._page_feedback(stored.id)]:
            await self.server.in_store(self.store.remove_feedback, sent.number)
        return await self._queue(items=[review_item(stored, self.server.head.classifier)])

    async def _feedback(self, sent: Label, stored: StoredPrediction) -> NewFeedback:
        """Check a label, and make the row of the store."""
        words = None
        if self.server.head.classifier.task.per_word:
            words = review_item(stored, self.server.head.classifier).words
        name = sent.reviewer.strip() or None
        request = FeedbackRequest(id=stored.id, text=words, label=sent.label, reviewer=name)
        return replace(await new_feedback(request, self.server), source="page", inclusion=stored.inclusion)

    async def _prediction(self, prediction_id: str) -> StoredPrediction:
        stored = await self.server.in_store(self.store.prediction, prediction_id)
        if (
            stored is None or stored.text is None or not stored.queued
        ):  # one that was not drawn has no place in the draw
            raise HTTPException(404, "this text is no longer in the queue.")
        return stored

    async def _page_feedback(self, prediction_id: str) -> list[StoredFeedback]:
        rows = await self.server.in_store(self.store.feedback_on, prediction_id)
        return [row for row in rows if row.source in PAGE_SOURCES]

    async def _queue(self, items: list[Item] | None = None, number: int | None = None) -> Queue:
        counts = await self.server.in_store(self.store.queue_counts)
        shown = Counts(waiting=counts.waiting, labeled=counts.labeled, skipped=counts.skipped)
        return Queue(items=items or [], counts=shown, number=number)
