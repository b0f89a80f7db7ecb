"""Review in Label Studio: tasks with pre-annotations, a labeling configuration, and its exports JSON and JSON_MIN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from ..display.wording import cut
from ..errors import DataError
from .json_files import read_objects, write_json
from .rows import Annotation, Question, ReviewedRow, ReviewRow
from .spans import Span

FACTS = "alien"  # field of a task's data that holds the facts of a row
CONTROL, OBJECT = "label", "text"
TEXTS = ("text", "text_pair")


class LabelStudio:
    """Tasks for Label Studio. Next to ``tasks.json`` there is ``tasks.xml``, the configuration of the project."""

    name = "label-studio"

    def files(self, path: Path) -> list[Path]:
        """Files that :meth:`write` writes."""
        return [path, path.with_suffix(".xml")]

    def write(self, rows: Sequence[ReviewRow], question: Question, path: Path) -> None:
        """Write the tasks and the configuration."""
        tasks = [_task(row, question) for row in rows]
        config = labeling_config(question, pairs=len(rows[0].parts) > 1, alternatives=any(r.alternatives for r in rows))
        write_json(tasks, path)
        self.files(path)[1].write_text(config, encoding="utf-8")

    def read(
        self, path: Path, label_names: Sequence[str], *, delimiter: str | None = None, encoding: str | None = None
    ) -> list[ReviewedRow]:
        """Read an export as JSON, or as JSON_MIN with one object for each annotation.

        Raises:
            DataError: the file is not such an export, or holds tasks that were not exported for review.
        """
        tasks = read_objects(path, encoding, "tasks", "export the project as JSON or JSON-MIN")
        of_row: dict[str, ReviewedRow] = {}
        for number, task in enumerate(tasks):
            is_min = "data" not in task
            data = task if is_min else task["data"]
            facts = data.get(FACTS) if isinstance(data, Mapping) else None
            if not isinstance(facts, Mapping):
                raise DataError(
                    f"{path}: task {task.get('id', number)} has no field {FACTS!r}: it was not written by alien review "
                    "export, or the field was removed."
                )
            place, key = f"task {task.get('id', number)}", str(facts.get("id"))
            question = Question.of_row(facts, label_names, place)
            parts = tuple(str(data[name]) for name in TEXTS if name in data)
            annotations = [_of_min(task, question)] if is_min else [_of_json(a, question) for a in _submitted(task)]
            row = of_row.get(key) if is_min else None
            if row is None:  # tasks of JSON that are repeated are reported later
                key = key if key not in of_row else f"{key} {number}"
                row = ReviewedRow(place, facts, parts, [])
            of_row[key] = ReviewedRow(row.place, facts, parts, [*row.annotations, *filter(None, annotations)])
        return list(of_row.values())


def labeling_config(question: Question, *, pairs: bool = False, alternatives: bool = False) -> str:
    """Labeling configuration of a project, as XML.

    Args:
        question: kind of label, and the classes.
        pairs: True if the texts are pairs.
        alternatives: True to show the most likely classes with their probabilities.
    """
    lines = ["<View>"]
    if question.task.per_word:
        lines.append(f'  <Labels name="{CONTROL}" toName="{OBJECT}">')
        lines += [f"    <Label value={quoteattr(name)}/>" for name in question.options]
        lines += ["  </Labels>", f'  <Text name="{OBJECT}" value="$text" granularity="word"/>']
    else:
        lines.append(f'  <Text name="{OBJECT}" value="$text"/>')
        lines += ['  <Text name="text_pair" value="$text_pair"/>'] if pairs else []
        lines += ['  <Header value="$alternatives" size="5"/>'] if alternatives else []
        choice = "single" if question.task.one_label else "multiple"
        required = ' required="true"' if question.task.one_label else ""
        lines.append(f'  <Choices name="{CONTROL}" toName="{OBJECT}" choice="{choice}"{required} showInline="true">')
        lines += [f"    <Choice value={quoteattr(name)}/>" for name in question.options]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def _task(row: ReviewRow, question: Question) -> dict[str, Any]:
    facts = row.facts
    data: dict[str, Any] = dict(zip(TEXTS, row.parts, strict=False))
    data |= {"alternatives": facts.get("alternatives", "")} if row.alternatives else {}
    data[FACTS] = facts
    prediction = {
        "model_version": row.head or "alien",
        "score": round(min(max(row.confidence, 0.0), 1.0), 6),
        "result": list(_regions(row, question)),
    }
    return {"data": data, "predictions": [prediction]}


def _regions(row: ReviewRow, question: Question) -> list[dict[str, Any]]:
    place = {"from_name": CONTROL, "to_name": OBJECT}
    if not question.task.per_word:
        choices = [row.predicted] if question.task.one_label else list(row.predicted)
        return [{"id": "r0", **place, "type": "choices", "value": {"choices": choices}}] if choices else []
    regions, text = [], row.parts[0]
    for number, (entity, span) in enumerate(zip(row.predicted, row.predicted_label, strict=True)):
        assert isinstance(span, Span), "entities are spans"
        value: dict[str, Any] = {"start": span.start, "end": span.end, "labels": [span.kind]}
        value["text"] = text[span.start : span.end]
        probability = entity.get("error_probability")
        score = {} if probability is None else {"score": round(1 - probability, 6)}
        regions.append({"id": f"r{number}", **place, "type": "labels", "value": value, **score})
    return regions


def _submitted(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Annotations that were not skipped; those that were marked as the ground truth alone, if there are any."""
    given = [annotation for annotation in task.get("annotations", []) if not annotation.get("was_cancelled")]
    return [annotation for annotation in given if annotation.get("ground_truth")] or given


def _of_json(annotation: Mapping[str, Any], question: Question) -> Annotation | None:
    results = [region for region in annotation.get("result") or [] if region.get("from_name") == CONTROL]
    values = [region.get("value", {}) for region in results]
    return _annotation(values, annotation.get("completed_by"), question)


def _of_min(task: Mapping[str, Any], question: Question) -> Annotation | None:
    if task.get("annotation_id") is None:
        return None
    content = task.get(CONTROL, [])
    kind = "labels" if question.task.per_word else "choices"
    items = content if isinstance(content, list) else [content]
    values = [item if isinstance(item, Mapping) else {kind: [item]} for item in items]
    return _annotation(values, task.get("annotator"), question)


def _annotation(values: Sequence[Mapping[str, Any]], person: Any, question: Question) -> Annotation | None:
    """Annotation of the values of its regions; None for a text with one label if nothing was chosen."""
    person = person.get("email") or person.get("id") if isinstance(person, Mapping) else person
    reviewer = None if person is None else str(person)
    if question.task.per_word:
        return Annotation(list(values), reviewer)
    chosen: list[Any] = [choice for value in values for choice in value.get("choices", [])]
    if question.task.one_label:
        return Annotation(chosen[0] if len(chosen) == 1 else chosen, reviewer) if chosen else None
    return Annotation(chosen, reviewer)


def span_of_region(value: Mapping[str, Any], text: str) -> Span:
    """Entity of a region, whose offsets count characters, or UTF-16 code units in former versions.

    Raises:
        DataError: the text at the offsets is not that of the region, or the region has not one label.
    """
    labels, content = value.get("labels", []), str(value.get("text", ""))
    if len(labels) != 1:
        raise DataError(f"the entity {cut(content, 60)} has {len(labels)} types, and one is needed")
    start, end = int(value["start"]), int(value["end"])
    for first, last in ((start, end), (_characters(text, start), _characters(text, end))):
        if _same_spaces(text[first:last]) == _same_spaces(content):
            return Span(first, last, str(labels[0]))
    raise DataError(
        f"the text from character {start} to {end} is {cut(text[start:end], 60)}, and not {cut(content, 60)}"
    )


def _characters(text: str, units: int) -> int:
    """Number of characters in the first UTF-16 code units of a text."""
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore"))


def _same_spaces(text: str) -> str:
    return " ".join(text.replace("\\n", " ").split())
