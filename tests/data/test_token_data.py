"""Words and tags are read unchanged from files and data sets, and tags that do not match the model are refused."""

import json

import datasets
import numpy as np
import pytest

from aligned_entropy.data import has_label_lists, has_token_labels, labeled_texts, labeled_tokens, load_data
from aligned_entropy.errors import ArgumentError, DataError

ROWS = {"tokens": [["EU", "rejects"], [], ["Peter", "Blackburn"]], "tags": [["B-ORG", "O"], [], ["B-PER", "I-PER"]]}
NAMES = ["O", "B-ORG", "B-PER", "I-PER"]


def test_sentences_and_tags_stay_in_order_and_empty_sentences_count():
    data = labeled_tokens(load_data(ROWS))
    assert data.label_names == NAMES
    assert data.labels.tolist() == [1, 0, 2, 3]
    assert len(data) == 3
    assert list(data.texts) == ["EU", "rejects", "Peter", "Blackburn"]
    assert data.texts.starts.tolist() == [0, 2, 2, 4]
    assert labeled_tokens(load_data(ROWS), ["I-PER", "B-PER", "B-ORG", "O"]).labels.tolist() == [2, 3, 1, 0]


def test_sentences_are_selected_and_concatenated():
    data = labeled_tokens(load_data(ROWS))
    part = data.select(np.array([2, 1]))
    assert (list(part.sentences), part.labels.tolist()) == ([["Peter", "Blackburn"], []], [2, 3])
    both = part + data
    assert (len(both), both.labels.tolist()) == (5, [2, 3, 1, 0, 2, 3])
    assert both.texts.clusters.tolist() == [0, 0, 2, 2, 4, 4]
    assert len(data.select(np.array([], int)).labels) == 0


def test_numbers_of_a_class_label_have_names():
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
        }
    )
    data = datasets.Dataset.from_dict({"tokens": ROWS["tokens"], "ner_tags": [[1, 0], [], [2, 3]]}, features=features)
    assert has_token_labels(data)
    assert labeled_tokens(data).labels.tolist() == [1, 0, 2, 3]
    assert labeled_tokens(data).label_names == NAMES


@pytest.mark.parametrize("column", ["tags", "ner_tags"])
def test_numbers_have_the_names_of_a_file_beside_them(tmp_path, column):
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"tokens": t, column: g}) for t, g in (([], []), (["a", "b", "c"], [2, 3, 0])))
    )
    with pytest.raises(DataError, match=r"holds 0, 2, 3, but the data set names no tags: .* names in labels\.json"):
        labeled_tokens(load_data(f"{tmp_path}:train"))
    (tmp_path / "labels.json").write_text(json.dumps(NAMES))
    data = labeled_tokens(load_data(f"{tmp_path}:train"), ["I-PER", "B-PER", "B-ORG", "O"])
    assert data.labels.tolist() == [1, 0, 3]


def test_a_label_map_holds_entity_types_or_tags():
    mapped = labeled_tokens(load_data(ROWS), ["O", "B-X", "I-X", "B-Y"], label_map={"PER": "X", "B-ORG": "B-Y"})
    assert mapped.labels.tolist() == [3, 0, 1, 2]
    assert labeled_tokens(load_data(ROWS), label_map={"PER": "X"}).label_names == ["O", "B-ORG", "B-X", "I-X"]
    dropped = labeled_tokens(load_data(ROWS), ["O", "B-PER", "I-PER"], label_map={"B-ORG": "O"})
    assert dropped.labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"tags": [["B-ORG"], [], ["B-PER", "I-PER"]]},
            {},
            "row 0 of column 'tokens' has 2 words, but column 'tags' has 1 tags",
        ),
        (
            {},
            {"label_names": ["O", "B-ORG"]},
            r"does not have: B-PER, I-PER, the first in the sentence of row 2 .*; the model has O, B-ORG. Correct the",
        ),
        ({}, {"label_names": ["O", "B-ORG"], "label_map": {"PER": "P"}}, r"B-PER \(as B-P\), I-PER \(as I-P\)"),
        ({"tags": [[1, 0], [], [2, 3]]}, {}, "holds 0, 1, 2, 3, but the data set names no tags"),
        ({}, {"text_column": "words"}, "no column 'words'; the columns are 'tokens', 'tags'"),
        ({"tokens": ["EU rejects", "", "Peter"]}, {}, "no column of lists with words"),
        ({"tokens": [], "tags": []}, {"text_column": "tokens", "label_column": "tags"}, "empty"),
        ({"tokens": [["EU", None], [], ["Peter", "B"]]}, {}, "row 0 of column 'tokens' is not a list of words"),
        (
            {"tokens": [["EU", ""], [], ["Peter", "B"]]},
            {},
            "word 1 of row 0 of column 'tokens' is empty: remove it with",
        ),
        ({"tokens": [["EU", "rejects"], [], [" ", "B"]]}, {}, "word 0 of row 2 of column 'tokens' is empty"),
        (
            {"tags": [["B-ORG", "O"], [], None]},
            {},
            "row 2 of column 'tokens' has 2 words, but column 'tags' has a NoneType",
        ),
    ],
)
def test_an_error_names_the_column_and_row(change, options, message):
    with pytest.raises(DataError, match=message):
        labeled_tokens(load_data(ROWS | change), **options)


def test_an_entity_type_can_be_mapped_to_outside():
    dropped = labeled_tokens(load_data(ROWS), ["O", "B-PER", "I-PER"], label_map={"ORG": "O"})
    assert dropped.labels.tolist() == [0, 0, 1, 2]


def test_named_columns_decide_the_kind_of_data():
    data = load_data({"toks": [["a"]], "tg": [["O"]], "label": [1], "genres": [["x"]]})
    assert not has_token_labels(data)
    assert has_token_labels(data, "toks", "tg")
    assert not has_label_lists(data)
    assert has_label_lists(data, "genres")


def test_texts_have_no_token_labels():
    data = load_data({"text": ["a b"], "label": [1]})
    assert not has_token_labels(data)
    assert labeled_texts(data).labels.tolist() == [0]


def test_nested_tags_are_refused():
    nested = {"tokens": [["EU"]], "tags": [[["B-ORG"]]]}
    with pytest.raises(DataError, match=r"column 'tags' holds \['B-ORG'\], but the data set names no tags"):
        labeled_tokens(load_data(nested))


def test_a_slice_of_words_has_no_step():
    with pytest.raises(ArgumentError, match="a slice of words cannot have a step of 2"):
        labeled_tokens(load_data(ROWS)).texts[::2]


def test_invisible_characters_are_words():
    data = load_data({"tokens": [["EU", "\u00a0", "\u200b"]], "tags": [["B-ORG", "O", "O"]]})
    assert len(labeled_tokens(data).texts) == 3
