"""Labeled data of any task, and the task that they are for."""

from __future__ import annotations

from typing import Any

from ..data import LabeledTexts, LabeledTokens, load_data
from ..tasks import TASKS, MultiLabelClassification, Task, TextClassification, TokenClassification, task_of_dataset


def labeled_data(
    data: Any, text_column: str | None = None, text_pair_column: str | None = None, label_column: str | None = None
) -> LabeledTexts | LabeledTokens:
    """Read labeled data for the task that their columns show; data that have been read stay as they are."""
    if isinstance(data, (LabeledTexts, LabeledTokens)):
        return data
    table = load_data(data)
    task = task_of_dataset(table, text_column, label_column)
    return task.read(table, text_column=text_column, text_pair_column=text_pair_column, label_column=label_column)


def task_of_labels(data: LabeledTexts | LabeledTokens) -> Task:
    """Task that labeled data have been read for."""
    if isinstance(data, LabeledTokens):
        return TASKS[TokenClassification.name]
    return TASKS[(MultiLabelClassification if data.labels.ndim == 2 else TextClassification).name]
