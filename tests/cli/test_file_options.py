"""Commands read the same texts from files in other encodings and with other delimiters."""

import csv
import json

import pytest

from fixtures.command_line import in_process


@pytest.fixture
def spelled(workplace, tmp_path):
    """Labeled texts as JSON Lines, and as CSV in Windows-1252 with a delimiter that has to be named."""
    rows = [json.loads(line) for line in (workplace / "test.jsonl").read_text().splitlines()]
    rows = [row | {"text": f"{row['text']} très, bien; fin"} for row in rows]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open(tmp_path / "other.csv", "w", newline="", encoding="cp1252") as file:
        writer = csv.DictWriter(file, ["text", "label"], delimiter="^")
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


OTHER = ("--encoding", "cp1252", "--delimiter", "^")


def test_evaluate_and_threshold(workplace, spelled):
    for command in (("evaluate", "--resamples", 10), ("threshold", "--coverage", 0.5, "-o", spelled / "head")):
        name, *options = command
        results = []
        for file, words in (("plain.jsonl", ()), ("other.csv", OTHER)):
            arguments = (workplace / "model", spelled / file, "--head", workplace / "head", "--json", *options, *words)
            result = in_process(name, *arguments)
            assert result.exit_code == 0, result.output
            results.append(json.loads(result.stdout))
        assert results[0] == results[1]
    refused = in_process("evaluate", workplace / "model", spelled / "other.csv", *OTHER[2:])
    assert refused.exit_code != 0
    assert "other.csv, line 2: not UTF-8" in str(refused.exception) + refused.output


def test_predict(workplace, spelled):
    rows = []
    for file, words in (("plain.jsonl", ()), ("other.csv", OTHER)):
        output = spelled / f"{file}.out.jsonl"
        result = in_process("predict", workplace / "model", spelled / file, "-o", output, *words)
        assert result.exit_code == 0, result.output
        rows.append([json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()])
    assert len(rows[0]) == 300
    assert rows[0] == rows[1]
