"""Command ``alien divide``: parts of every format with all columns, without a common text, and refusals."""

import csv
import gzip
import json
import re
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy import load_data
from fixtures.command_line import in_process

TWO = ("train=60", "test=40")


def tickets(count=100):
    """Rows of three customers a ticket, with one text in ten repeated and a rare label."""
    texts = [f'ticket "{row % (count * 9 // 10)}", broken;\ttext\nof two lines' for row in range(count)]
    return [
        {"number": str(row), "text": text, "label": ("a", "b", "rare")[2 if row % 25 == 0 else row % 2]}
        for row, text in enumerate(texts)
    ]


def write_csv(path, rows, delimiter=",", encoding="utf-8"):
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def divide(*arguments):
    done = in_process("divide", *arguments)
    assert done.exit_code == 0, done.output
    return done


def records(path):
    table = load_data(str(path))
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]


def check_division(path, rows, key="text", shares=(0.6, 0.4)):
    """All rows are in one part each, with their columns; no text is in two parts."""
    ending = path.name.removeprefix("tickets")
    parts = [records(path.with_name(name + ending)) for name in ("train", "test")]
    assert sorted(map(repr, parts[0] + parts[1])) == sorted(map(repr, rows))
    assert not {str(row[key]) for row in parts[0]} & {str(row[key]) for row in parts[1]}
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(rows)) <= 4
    return parts


@pytest.mark.parametrize(
    ("ending", "delimiter", "encoding"), [("csv", ";", "cp1252"), ("tsv", "\t", "utf-8"), ("csv", ",", "utf-16")]
)
def test_csv_keeps_rows_and_columns(ending, delimiter, encoding, tmp_path):
    rows, path = tickets(), tmp_path / f"tickets.{ending}"
    rows[50]["text"] = "Grüße"
    write_csv(path, rows, delimiter, encoding)
    done = divide(path, *TWO, "--encoding", encoding)
    train, test = check_division(path, rows)
    assert [int(row["number"]) for row in train] == sorted(int(row["number"]) for row in train)  # in their order
    assert {row["label"] for row in train} == {row["label"] for row in test} == {"a", "b", "rare"}
    words = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert ("rows", str(len(train)), str(len(test))) in words
    for label in ("a", "b", "rare"):
        counts = [sum(row["label"] == label for row in part) for part in (train, test)]
        assert (label, *map(str, counts)) in words
    assert "repeat the text of another row, and are in the same part: 10" in done.stderr
    named = divide(path, *TWO, "--encoding", encoding, "--force", "--text-column", "text", "--label-column", "label")
    assert named.stderr.splitlines()[-1].endswith("-o classifier --text-column text --label-column label")
    assert done.stderr.splitlines()[-1] == shlex.join(
        ["next:", "alien", "train", "minilm", str(tmp_path / f"train.{ending}"), "--freeze", "-o", "classifier"]
    )


def test_texts_that_differ_in_case_and_spaces_are_in_one_part(tmp_path):
    rows, path = tickets(), tmp_path / "tickets.csv"
    rows += [row | {"text": f" {row['text'].upper()}  "} for row in rows]
    write_csv(path, rows)
    divide(path, *TWO)
    train, test = (
        {" ".join(row["text"].split()).lower() for row in records(tmp_path / name)}
        for name in ("train.csv", "test.csv")
    )
    assert len(train) > 50
    assert not train & test


def test_blank_rows_of_a_spreadsheet_are_in_no_part(tmp_path):
    rows, path = tickets(), tmp_path / "tickets.csv"
    blank = dict.fromkeys(rows[0], "")
    write_csv(path, [*rows[:30], blank, *rows[30:], blank])
    with pytest.warns(UserWarning, match=r"tickets\.csv: blank rows are left out: 2 \(line \d+, \d+\)"):
        divide(path, *TWO)
    check_division(path, rows)


def test_json_keeps_types_and_missing_fields(tmp_path):
    path = tmp_path / "tickets.jsonl.gz"
    rows = [{"id": row, "text": f"text {row}", "labels": [["x"], ["x", "y"], []][row % 3]} for row in range(30)]
    rows[7] = rows[7] | {"more": {"nested": [1, None]}}
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    facts = json.loads(divide(path, *TWO, "--json").stdout)
    parts = {name: gzip.decompress((tmp_path / f"{name}.jsonl.gz").read_bytes()) for name in ("train", "test")}
    lines = [json.loads(line) for part in parts.values() for line in part.splitlines()]
    assert sorted(lines, key=lambda row: row["id"]) == rows
    assert {name: part["rows"] for name, part in facts["parts"].items()} == {"train": 18, "test": 12}
    assert {name: part["labels"] for name, part in facts["parts"].items()} == {
        "train": {"x": 12, "y": 6},
        "test": {"x": 8, "y": 4},
    }


def test_parquet_keeps_types_and_class_names(tmp_path):
    path = tmp_path / "tickets.parquet"
    stored = {"info": {"features": {"label": {"names": ["good", "bad"]}}}}
    schema = pa.schema(
        {"premise": pa.string(), "hypothesis": pa.string(), "label": pa.int8(), "at": pa.timestamp("ms")},
        metadata={"huggingface": json.dumps(stored)},
    )
    rows = [{"premise": "same", "hypothesis": f"number {row % 18}", "label": row % 2, "at": row} for row in range(20)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    done = divide(path, *TWO)
    check_division(path, records(path), key="hypothesis")
    assert pq.read_schema(tmp_path / "test.parquet").equals(schema, check_metadata=True)
    assert re.search(r"^good +\d+ +\d+$", done.stdout, re.MULTILINE)


def test_conll_is_divided_by_sentences_with_all_columns(tmp_path):
    path = tmp_path / "tickets.conll"
    sentences = [f"Ann{row} NNP B-PER\nsleeps VBZ O\n" if row % 2 else f"Nobody{row} NN O\n" for row in range(40)]
    path.write_text("-DOCSTART- -X- O\n\n" + "\n".join([*sentences, sentences[0]]))
    done = divide(path, *TWO)
    check_division(path, records(path), key="tokens")
    assert "--freeze" not in done.stderr, "all layers of a token classifier are trained"
    written = (tmp_path / "train.conll").read_text() + (tmp_path / "test.conll").read_text()
    assert sorted(written.split("\n\n")) == sorted(["", *(part.strip() for part in [*sentences, sentences[0]])])
    assert re.search(r"^PER +12 +8$", done.stdout, re.MULTILINE)


def test_groups_stay_together_with_copies_of_their_texts(tmp_path):
    path = tmp_path / "tickets.csv"
    rows = [{"text": f"text {row}", "label": "ab"[row % 2], "customer": str(row // 4)} for row in range(200)]
    rows[0]["text"] = rows[199]["text"]  # joins two customers
    rows[100]["customer"] = ""
    write_csv(path, rows)
    done = divide(path, *TWO, "--group", "customer")
    train, test = check_division(path, rows)
    customers = [{row["customer"] for row in part} for part in (train, test)]
    assert not customers[0] & customers[1]
    ends = [any(row["customer"] == customer for row in train) for customer in ("0", "49")]
    assert ends[0] == ends[1]
    assert "rows without a value in column 'customer', which are in no group: 1" in done.stderr


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("number", "text"), (), "no label column among 'number', 'text'"),
        (("number;text;label",), ("--delimiter", ","), "has no ',', but ';', as most rows do: name the delimiter ';'"),
        (
            ("number", "comment", "stars"),
            ("--label-column", "comment"),
            "'comment' is named for the labels, and none of",
        ),
        (
            ("text", "label"),
            ("--label-column", "text", "--text-column", "text"),
            "'text' is named for the texts and for",
        ),
    ],
)
def test_rows_without_labels_are_refused_before_anything_is_written(columns, options, message, tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(
        path, [{name: f"{row}" if name == "number" else f"{name} {row}" for name in columns} for row in range(30)]
    )
    done = in_process("divide", path, *TWO, *options)
    assert done.exit_code == 1
    assert re.search(message, str(done.exception)), done.exception
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_labels_that_hardly_repeat_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, [{"number": row, "text": f"text {row}"} for row in range(100)])
    refused = in_process("divide", path, *TWO, "--label-column", "number")
    assert refused.exit_code == 1
    assert "there are 100 different labels in 100 rows, such as 0, 1, 10, …, which are no classes" in str(
        refused.exception
    )
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_labels_that_look_like_mistakes_are_noticed(tmp_path):
    path = tmp_path / "rows.csv"
    labels = ["joy", "anger", "joy ", "joy; anger"] * 10
    write_csv(
        path, [{"text": f"text {row // 2}", "label": label, "channel": "mail"} for row, label in enumerate(labels)]
    )
    done = divide(path, *TWO)
    noted = " ".join(done.stderr.split())
    assert "labels join others, such as 'joy; anger'" in noted
    assert "texts that occur with several labels: 20" in noted
    assert "'joy '" in done.stdout  # the space can be seen
    noted = " ".join(divide(path, *TWO, "--label-column", "channel", "--force").stderr.split())
    assert "all rows have the label 'mail': if another column holds the labels, name it" in noted


def test_outputs_without_texts_are_divided_with_a_note(tmp_path):
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text("".join(json.dumps({"logits": [1, row], "label": row % 2}) + "\n" for row in range(10)))
    done = divide(outputs, "held-out=60", "test=40", "-o", tmp_path / "new" / "folder")
    assert "rows with the same text may be in different parts" in " ".join(done.stderr.split())
    assert done.stderr.splitlines()[-1].startswith("next: alien fit --outputs ")
    assert len((tmp_path / "new" / "folder" / "test.jsonl").read_text().splitlines()) == 4


def test_a_seed_repeats_a_division_and_force_replaces_it(tmp_path):
    path, train = tmp_path / "tickets.csv", tmp_path / "train.csv"
    write_csv(path, tickets())
    divide(path, *TWO)
    first = train.read_bytes()
    refused = in_process("divide", path, *TWO, "--seed", "1")
    assert refused.exit_code == 1
    assert f"{train}, {tmp_path / 'test.csv'} would be replaced" in str(refused.exception)
    assert train.read_bytes() == first
    divide(path, *TWO, "--seed", "1", "--force")
    assert train.read_bytes() != first
    divide(path, *TWO, "--force")
    assert train.read_bytes() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train=60"], "1 part"),
        (["train=60", "test=30"], "add up to 90"),
        (["train=60", "test"], "test is not a part"),
        (["train=100", "test=0"], "test=0 is not a part"),
        (["../train=50", "test=50"], "../train=50 is not a part"),
        (["Train=50", "train=50"], "train is named twice"),
        (["tickets=50", "test=50"], "this is the input"),
        (["train=99.9", "test=.1"], "test would have no rows"),
        (["train=50", "test=50", "--group", "nobody"], "no column 'nobody'"),
        (["train=50", "test=50", "--text-column", "text2"], "no column 'text2'"),
    ],
)
def test_wrong_parts_are_refused_before_anything_is_written(words, message, tmp_path):
    path = tmp_path / "tickets.csv"
    write_csv(path, tickets())
    done = in_process("divide", path, *words, *([] if words[0] == "tickets=50" else ["-o", tmp_path / "parts"]))
    assert done.exit_code
    assert message in " ".join(re.sub("[│╭╰─╮╯]", " ", f"{done.stderr} {done.exception}").split())
    assert [file.name for file in tmp_path.iterdir()] == ["tickets.csv"]


def test_a_text_file_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "texts.txt").write_text("a\nb\n")
    for name, message in (("texts.txt", "no labels"), ("none.csv", "there is no file")):
        done = in_process("divide", tmp_path / name, *TWO)
        assert done.exit_code == 2
        assert message in " ".join(re.sub("[│╭╰─╮╯]", " ", done.stderr).split())


def test_long_labels_are_shortened(tmp_path):
    rows = [{"text": f"text {row}", "label": f"label {row % 40} of a long name, " + "word " * 40} for row in range(120)]
    write_csv(tmp_path / "tickets.csv", rows)
    done = divide(tmp_path / "tickets.csv", *TWO)
    assert "word word word…" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert len(done.output) < 8000
