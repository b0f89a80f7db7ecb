"""Labeled data of any task, and the task that they are for."""

from __future__ import annotations

from typing import Any

from ..data import LabeledTexts, LabeledTokens, load_data
from ..data.columns import check_arguments
from ..tasks import TASKS, MultiLabelClassification, Task, TextClassification, TokenClassification, task_of_dataset


def labeled_data(data: Any, **columns: Any) -> LabeledTexts | LabeledTokens:
    """Read labeled data for the task that their columns show; data that have been read stay as they are."""
    if isinstance(data, (LabeledTexts, LabeledTokens)):
        check_arguments(columns, data)
        return data
    check_arguments(columns)
    table = load_data(data)
    return task_of_dataset(table, columns.get("text_column"), columns.get("label_column")).read(table, **columns)


def task_of_labels(data: LabeledTexts | LabeledTokens) -> Task:
    """Task that labeled data have been read for."""
    if isinstance(data, LabeledTokens):
        return TASKS[TokenClassification.name]
    return TASKS[(MultiLabelClassification if data.labels.ndim == 2 else TextClassification).name]
