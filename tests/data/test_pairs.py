"""Pairs of texts in memory, in tables and in files; what may mean two things is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from aligned_entropy.data import Table, labeled_texts, labeled_tokens, load_data, multilabel_texts, plain_texts
from aligned_entropy.data.objects import as_texts
from aligned_entropy.data.usual_columns import PAIR_COLUMNS
from aligned_entropy.errors import DataError, NotApplicableError
from aligned_entropy.features.texts import TextPair
from aligned_entropy.tasks import TASKS

FIRSTS, SECONDS, LABELS = ["a man sleeps", "it rains"], ["nobody is awake", "it is dry"], ["yes", "no"]
PAIRS = [TextPair("a man sleeps", "nobody is awake"), TextPair("it rains", "it is dry")]
TUPLES = list(zip(FIRSTS, SECONDS, strict=True))
COLUMNS = {"text": FIRSTS, "text_pair": SECONDS}


def texts_of(source, task="text-classification", **columns):
    return as_texts(source, TASKS[task].find_text_columns, **columns, per_word=TASKS[task].per_word)


FORMS = {
    "tuples": lambda: TUPLES,
    "iterator of tuples": lambda: zip(FIRSTS, SECONDS, strict=True),
    "dict of columns": lambda: COLUMNS,
    "list of dicts": lambda: [dict(zip(COLUMNS, pair, strict=True)) for pair in TUPLES],
    "DataFrame": lambda: pd.DataFrame(COLUMNS),
    "Dataset": lambda: Dataset.from_dict(COLUMNS),
    "Table": lambda: Table(COLUMNS),
    "pairs": lambda: PAIRS,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_pairs_is_read(form):
    assert texts_of(FORMS[form]()) == PAIRS


@pytest.mark.parametrize("one", [TUPLES[0], dict(zip(COLUMNS, TUPLES[0], strict=True)), PAIRS[0]])
def test_one_pair_is_read(one):
    assert texts_of(one) == PAIRS[:1]
    assert texts_of([one]) == PAIRS[:1]


def test_texts_with_labels_are_no_pairs():
    names = {"label_names": ["yes", "no"]}
    for source in (list(zip(FIRSTS, LABELS, strict=True)), ("a man sleeps", "no")):
        with pytest.raises(DataError, match="the second texts of all pairs are labels of the model"):
            texts_of(source, **names)
    assert texts_of(TUPLES, **names) == PAIRS
    assert texts_of({"question": FIRSTS, "answer": LABELS}, **names)[0] == TextPair("a man sleeps", "yes")


def test_a_list_of_two_strings_is_two_texts():
    assert texts_of(FIRSTS) == FIRSTS
    assert texts_of(np.array(FIRSTS)) == FIRSTS
    assert texts_of(iter(FIRSTS)) == FIRSTS


@pytest.mark.parametrize("names", PAIR_COLUMNS)
@pytest.mark.parametrize("form", [dict, pd.DataFrame, Dataset.from_dict])
def test_columns_with_the_usual_names_hold_pairs(names, form):
    data = form({names[1]: SECONDS, "label": LABELS, names[0]: FIRSTS})
    labeled = labeled_texts(data, LABELS)
    assert (list(labeled.texts), labeled.labels.tolist()) == (PAIRS, [0, 1])
    assert texts_of(data) == list(plain_texts(data)) == PAIRS
    assert list(labeled_texts(data, text_column=names[1]).texts) == texts_of(data, text_column=names[1]) == SECONDS


def test_named_columns_hold_pairs():
    data = {"left": FIRSTS, "right": SECONDS, "label": LABELS}
    both = {"text_column": "left", "text_pair_column": "right"}
    assert list(labeled_texts(data, **both).texts) == texts_of(data, **both) == list(plain_texts(data, **both)) == PAIRS
    assert texts_of({"text": FIRSTS, "right": SECONDS}, text_pair_column="right") == PAIRS
    swapped = {"text_column": "hypothesis", "text_pair_column": "premise"}
    assert texts_of({"premise": SECONDS, "hypothesis": FIRSTS}, **swapped) == PAIRS
    assert texts_of({"premise": FIRSTS, "hypothesis": SECONDS, "text": LABELS}, text_pair_column="hypothesis") == PAIRS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_pair_column": "other"}, "no column 'other'; the columns are 'left', 'right'"),
        ({"text_column": "other", "text_pair_column": "right"}, "no column 'other'"),
        ({"text_pair_column": "right"}, "no text column among 'left', 'right'"),
        ({"text_column": "left", "text_pair_column": "left"}, "'left' is named for both texts of a pair"),
        ({}, "no text column among 'left', 'right'"),
    ],
)
def test_wrong_names_of_columns_are_refused(options, message):
    data = {"left": FIRSTS, "right": SECONDS}
    for find in (lambda: texts_of(data, **options), lambda: labeled_texts(data | {"label": LABELS}, **options)):
        with pytest.raises(DataError, match=message):
            find()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("text", "review"),
            "2 columns may be .*: 'text', 'review'.*for pairs of texts name both columns",
        ),
        (("premise", "hypothesis", "text"), "'premise' and 'hypothesis' may hold pairs of texts, and 'text' single"),
        (("question", "passage", "context"), "'question' and 'context', or 'question' and 'passage' may hold pairs"),
        (("sentence1", "sentence2", "question1", "question2"), "'sentence1' and 'sentence2', or 'question1' and"),
    ],
)
def test_several_columns_without_a_word_are_named_and_none_is_guessed(names, message):
    data = {name: FIRSTS for name in names}
    for find in (lambda: texts_of(data), lambda: labeled_texts(data | {"label": LABELS})):
        with pytest.raises(DataError, match=message):
            find()
    both = {"text_column": names[0], "text_pair_column": names[1]}
    assert texts_of(data, **both) == [TextPair(text, text) for text in FIRSTS]


def test_a_column_that_is_no_text_makes_no_pair():
    data = {"question": FIRSTS, "passage": SECONDS, "answer": [True, False]}
    assert texts_of(data) == PAIRS
    assert list(labeled_texts(data, label_column="answer").texts) == PAIRS
    assert list(labeled_texts({"question": FIRSTS, "answer": LABELS}, label_column="answer").texts) == FIRSTS


@pytest.mark.parametrize(
    ("second", "of_pair", "message"),
    [
        (None, "NoneType", "has no text"),
        (5, "int, not a string", "int, not a string"),
        (" ", "is empty", "has no text"),
        ("\ud800", "surrogate", "surrogate"),
    ],
)
def test_a_second_text_that_cannot_be_read_is_refused(second, of_pair, message):
    with pytest.raises(DataError, match=rf"(the second text of pair 1|text 1 is a pair) .*{of_pair}"):
        texts_of([TUPLES[0], ("it rains", second)])
    for data in ({"text": FIRSTS, "text_pair": [SECONDS[0], second]},):
        with pytest.raises(DataError, match=f"row 1 of column 'text_pair' .*{message}"):
            texts_of(data)
        if second != " ":
            with pytest.raises(DataError, match=f"row 1 of column 'text_pair' .*{message}"):
                labeled_texts(data | {"label": LABELS})
    with pytest.raises(DataError, match=message):
        texts_of({"text": "it rains", "text_pair": second})
    with pytest.raises(DataError, match="first text of pair 0 is empty"):
        texts_of([(" ", "a")])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([TUPLES[0], "it rains"], "text 1 is a single text, but text 0 is a pair of texts"),
        (["it rains", TUPLES[0]], "text 1 is a pair of texts, but text 0 is a single text"),
        (("a", "b", "c"), "the input is a tuple of 3 values: a pair of texts is"),
        (("a",), "the input is a tuple of 1 values"),
        ([("a", "b", "c")], "text 0 is a tuple of 3 values"),
        (("a", None), "the input is a pair whose second text is a NoneType"),
        ((3, "a"), "the input is a pair whose first text is an int"),
        ([["a", "b"]], "text 0 is a list of 2 strings.*a pair of texts is a tuple"),
        (np.array([["a", "b"], ["c", "d"]]), "text 0 is a list of 2 strings"),
        ((("a", "b"), ("c", "d")), "the tuple holds 2 lists.*several pairs of texts as a list"),
        ([TUPLES[0], {"text": "a", "text_pair": "b"}], "text 1 is a"),
        ([(TUPLES[0], "yes")], "text 0 is a pair whose first text is a tuple"),
    ],
)
def test_what_may_mean_two_things_is_refused(source, message):
    with pytest.raises(DataError, match=message):
        texts_of(source)


LABELED = {
    "texts and labels": lambda: (TUPLES, LABELS),
    "rows": lambda: list(zip(TUPLES, LABELS, strict=True)),
    "iterator of rows": lambda: zip(TUPLES, LABELS, strict=True),
    "lists of rows": lambda: [[pair, label] for pair, label in zip(TUPLES, LABELS, strict=True)],
    "dicts": lambda: [
        {"premise": first, "hypothesis": second, "label": label}
        for (first, second), label in zip(TUPLES, LABELS, strict=True)
    ],
    "arrays of labels": lambda: (TUPLES, np.array([1, 0])),
}


@pytest.mark.parametrize("form", LABELED)
def test_every_form_of_labeled_pairs_is_read(form):
    labeled = labeled_texts(load_data(LABELED[form]()), ["LABEL_0", "LABEL_1"] if "array" in form else ["no", "yes"])
    assert (list(labeled.texts), labeled.labels.tolist()) == (PAIRS, [1, 0])


def test_pairs_with_several_labels_are_read():
    lists = [["x", "y"], ["y"]]
    for data in (COLUMNS | {"labels": lists}, list(zip(TUPLES, lists, strict=True)), (TUPLES, lists)):
        labeled = multilabel_texts(load_data(data), ["x", "y"])
        assert (list(labeled.texts), labeled.labels.tolist()) == (PAIRS, [[1, 1], [0, 1]])
    by_column = COLUMNS | {"x": [1, 0], "y": [1, 1]}
    assert multilabel_texts(by_column, ["x", "y"]).labels.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([TUPLES[0], "it rains"], LABELS), "text 1 is 'it rains', but text 0 is .*give all rows one form"),
        ((["it rains", TUPLES[0]], LABELS), "text 1 is .*give all rows one form"),
        ([(TUPLES[0], "yes"), ("it rains", "no")], "text 1 is 'it rains'"),
        (([("a", "b", "c")], ["yes"]), "text 0 is a tuple of 3 values"),
        ([(("a", None), "yes")], "second text is a NoneType"),
        ([("a", "b", "yes")], r"row 0 is \('a', 'b', 'yes'\)"),
        (PAIRS, "has no label"),
        (([("a", "b"), ("c", "d")], [["x", "y"], ["z", "x"]]), "may be a pair of texts with two labels, or two words"),
    ],
)
def test_labeled_rows_that_are_not_clear_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        load_data(data)


def test_words_in_tuples_keep_their_tags():
    rows = [(("EU", "rejects", "it"), ["B", "O", "O"]), (("a", "b"), ["O", "O"])]
    assert labeled_tokens(load_data(rows), ["O", "B"]).labels.tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("source", [TUPLES, TUPLES[0], PAIRS, PAIRS[0], COLUMNS, [dict(text="a", text_pair="b")]])
def test_token_classification_refuses_pairs_with_the_reason(source):
    with pytest.raises(NotApplicableError, match="a tag to each word of one text, so it takes no pairs of texts"):
        texts_of(source, "token-classification")


def test_token_classification_refuses_the_name_of_a_second_column():
    data = {"tokens": [["a"]], "tags": [["O"]], "text": ["a"], "more": ["b"]}
    with pytest.raises(NotApplicableError, match="the columns 'text' and 'more' hold pairs of texts"):
        TASKS["token-classification"].read(data, ["O"], text_pair_column="more")
    with pytest.raises(NotApplicableError, match="the columns 'text' and 'more' hold pairs of texts"):
        texts_of(data, "token-classification", text_pair_column="more")
    assert texts_of([("EU", "rejects")], "token-classification") == [["EU", "rejects"]]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_files_with_two_columns_hold_pairs(tmp_path, ending):
    frame = pd.DataFrame({"sentence1": FIRSTS, "sentence2": SECONDS, "label": LABELS})
    path = tmp_path / f"pairs.{ending}"
    match ending:
        case "parquet":
            frame.to_parquet(path)
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
        case _:
            frame.to_csv(path, sep="," if ending == "csv" else "\t", index=False)
    assert list(labeled_texts(load_data(path)).texts) == texts_of(load_data(path)) == PAIRS
