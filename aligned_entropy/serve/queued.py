"""Classifier of a server for work that takes turns with requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..display.progress import Progress, no_report
from ..predictions import Row as PredictedRow
from ..tasks import Task
from .server import Server


class QueuedClassifier:
    """Classifier of a server that predicts in the server's thread, one batch at a time between other requests.

    Its head stays the same when the server exchanges the head.

    Args:
        server: server with the classifier and its thread.

    Attributes:
        classifier: classifier with the head that was in use at the start.
        version: version of this head.
    """

    def __init__(self, server: Server) -> None:
        self.server, (self.classifier, self.version) = server, server.head.current

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    @property
    def task(self) -> Task:
        """Task of the classifier."""
        return self.classifier.task

    def predict(self, texts: Sequence[Any], progress: Progress = no_report) -> Iterator[PredictedRow]:
        """Predict texts row by row; ``progress`` is called with the number of texts of each batch of the server."""
        size = self.server.settings.batch
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            yield from self.server.batcher.thread.submit(self.classifier.predict, batch).result()
            progress(len(batch))
