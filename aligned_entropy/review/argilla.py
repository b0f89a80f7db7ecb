"""Review in Argilla: records with suggestions, the settings of the dataset, and its exported records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .json_files import read_objects, write_json
from .rows import Annotation, Question, ReviewedRow, ReviewRow

QUESTION = "label"
TEXTS = ("text", "text_pair")
KINDS = {True: "label_selection", False: "multi_label_selection"}  # by whether a text has one label
BEYOND = 0xFFFF  # Argilla's page counts characters after this one twice, its server once


class Argilla:
    """Records for Argilla 2. Next to ``records.json`` there is ``records.settings.json``, the settings of the dataset.

    Both are read by ``rg.Settings.from_json`` and ``dataset.records.from_json``.
    """

    name = "argilla"

    def files(self, path: Path) -> list[Path]:
        """Files that :meth:`write` writes."""
        return [path, path.with_suffix(".settings.json")]

    def write(self, rows: Sequence[ReviewRow], question: Question, path: Path) -> None:
        """Write the records and the settings.

        Raises:
            DataError: a text for token classification has characters that Argilla's page counts in another way.
        """
        if question.task.per_word:
            _check_characters(rows)
        records = [_record(row, question) for row in rows]
        settings = dataset_settings(question, pairs=len(rows[0].parts) > 1)
        write_json(records, path)
        write_json(settings, self.files(path)[1])

    def read(
        self, path: Path, label_names: Sequence[str], *, delimiter: str | None = None, encoding: str | None = None
    ) -> list[ReviewedRow]:
        """Read records of ``records.to_json`` or, with the status of responses, of ``records.to_list(flatten=True)``.

        Raises:
            DataError: the file is not such an export, or holds records that were not exported for review.
        """
        records = read_objects(path, encoding, "records", "export them with dataset.records.to_json()")
        return [_reviewed(record, number, label_names) for number, record in enumerate(records)]


def dataset_settings(question: Question, *, pairs: bool = False) -> dict[str, Any]:
    """Settings of a dataset, as ``rg.Settings.from_json`` reads them.

    Args:
        question: kind of label, and the classes.
        pairs: True if the texts are pairs.
    """
    options = [{"text": name, "value": name} for name in question.options]
    settings: dict[str, Any] = {"type": KINDS[question.task.one_label], "options": options}
    if question.task.per_word:
        settings |= {"type": "span", "field": TEXTS[0], "allow_overlapping": False}
    names = TEXTS if pairs else TEXTS[:1]
    numbers = [
        {"name": name, "title": name.replace("_", " "), "settings": {"type": "float"}}
        for name in ("error_probability", "uncertainty")
    ]
    return {
        "guidelines": None,
        "questions": [{"name": QUESTION, "title": "Label", "required": question.task.one_label, "settings": settings}],
        "fields": [
            {"name": name, "title": name.replace("_", " "), "required": True, "settings": {"type": "text"}}
            for name in names
        ],
        "vectors": [],
        "metadata": numbers,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _record(row: ReviewRow, question: Question) -> dict[str, Any]:
    facts, value = row.facts, row.predicted
    score: float | list[float] | None = round(row.confidence, 6)
    if question.task.per_word:
        value = [{"label": span.kind, "start": span.start, "end": span.end} for span in row.predicted_label]  # type: ignore[union-attr]
        shares = [entity.get("error_probability") for entity in row.predicted]
        score = None if None in shares else [round(1 - share, 6) for share in shares]
    elif not question.task.one_label:
        score = None
    suggestion = {"value": value, "score": score, "agent": row.head or "alien"}
    return {
        "id": facts["id"],
        "fields": dict(zip(TEXTS, row.parts, strict=False)),
        "metadata": {name: value for name, value in facts.items() if name != "id"},
        "suggestions": {QUESTION: suggestion} if value else {},
        "responses": {},
        "vectors": {},
    }


def _reviewed(record: Mapping[str, Any], number: int, label_names: Sequence[str]) -> ReviewedRow:
    is_flat = "fields" not in record
    metadata = record if is_flat else record.get("metadata", {})
    fields = record if is_flat else record["fields"]
    place = f"record {record.get('id', number)}"
    if not isinstance(metadata, Mapping) or "task" not in metadata:
        raise DataError(f"{place} has no metadata of alien review export: export its records with their metadata.")
    facts = {**metadata, "id": record.get("id")}
    question = Question.of_row(facts, label_names, place)
    parts = tuple(str(fields[name]) for name in TEXTS if fields.get(name) is not None)
    is_done = record.get("status") == "completed"
    if is_flat:
        names = (f"{QUESTION}.responses", f"{QUESTION}.responses.users", f"{QUESTION}.responses.status")
        responses = zip(*(record.get(name) or [] for name in names), strict=True)
        annotations = [Annotation(label, str(user)) for label, user, state in responses if state == "submitted"]
    else:
        given = record.get("responses", {}).get(QUESTION, []) if is_done else []
        annotations = [Annotation(response["value"], str(response.get("user_id"))) for response in given]
    if is_done and not annotations and not question.task.one_label:
        annotations = [Annotation([])]  # a person has submitted the record without a label
    return ReviewedRow(place, facts, parts, annotations, has_drafts=not is_flat)


def _check_characters(rows: Sequence[ReviewRow]) -> None:
    count = sum(any(ord(character) > BEYOND for part in row.parts for character in part) for row in rows)
    if count:
        raise DataError(
            f"{count} of {len(rows)} texts hold emoji or other characters that Argilla's page counts twice, so that it "
            "would move entities without a sign: use --format label-studio."
        )
