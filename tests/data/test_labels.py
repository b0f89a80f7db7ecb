"""Labels of data sets are classes by name, numbers only where the model has no names, or they are refused."""

import codecs
import json
import unicodedata
from decimal import Decimal

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from aligned_entropy import ArgumentTypeError, DataError
from aligned_entropy.data import checked_names, labeled_texts, load_data
from aligned_entropy.data.label_maps import parse_label_map

NAMES = ["negative", "positive"]
GENERIC = ["LABEL_0", "LABEL_1"]
STARS = ["1 star", "2 stars", "3 stars"]


def classed(labels, names):
    """Data set with a ``ClassLabel``."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "label": labels}, features=features)


def plain(labels):
    """Data set without class names."""
    return {"text": [f"text {i}" for i in range(len(labels))], "label": labels}


def classes(labels, names, **options):
    return labeled_texts(plain(labels), names, **options).labels.tolist()


# Names


@pytest.mark.parametrize(
    "model_names", [["positive", "negative"], ["POSITIVE", "NEGATIVE"], [" Positive", "negative "]]
)
@pytest.mark.parametrize("labels_as", ["classes", "strings"])
def test_names_match_in_any_order_case_and_surrounding_space(model_names, labels_as):
    dataset = classed([0, 1, 1], NAMES) if labels_as == "classes" else plain(["negative", "Positive", "POSITIVE "])
    data = labeled_texts(dataset, model_names)
    assert data.labels.tolist() == [1, 0, 0]
    assert data.label_names == model_names


@pytest.mark.parametrize(
    "names",
    [
        ["A+", "A-", "A"],
        ["c", "c++", "c#"],
        ["+", "-"],
        ["-1", "1"],
        ["a.b", "ab", "a b", "a_b", "a-b"],
        ["schön", "schon"],
        ["Maße", "Masse"],
        ["क", "कि"],
        ["が", "か"],
        ["①", "1"],
        ["é", "e"],
    ],
)
def test_names_that_differ_in_one_character_are_different_classes(names):
    assert classes(names[::-1], names) == list(range(len(names)))[::-1]
    for name in names:
        with pytest.raises(DataError, match=r"No class for|holds the numbers"):
            classes([name], [other for other in names if other != name] + ["z"])


def test_case_counts_where_names_differ_in_it_alone():
    names = ["US", "us", "Them"]
    assert classes(["us", "US", "them"], names) == [1, 0, 2]
    with pytest.raises(DataError, match=r"No class for \d+ of \d+ labels, Us "):
        classes(["Us"], names)


@pytest.mark.parametrize("name", ["café", "Tiếng Việt", "한국어", "й"])
def test_composed_and_decomposed_letters_are_the_same_letters(name):
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert classes([composed, decomposed], [decomposed, "other"]) == [0, 0]
    assert classes([composed, decomposed], [composed, "other"]) == [0, 0]
    assert labeled_texts(plain([composed, decomposed])).label_names == [composed]


def test_names_that_differ_in_punctuation_are_refused_with_a_label_map():
    with pytest.raises(
        DataError, match=r'No class for .*not_hate \(\d+\), the first in row \d .*--label-map "not_hate=Not hate"'
    ):
        classes(["not_hate", "hate"], ["Not hate", "Hate"])
    with pytest.raises(DataError, match=r"--label-map FILE\.json with \{\"a, b\": \"A: b\"\}"):
        classes(["a, b"], ["A: b", "c"])


def test_two_classes_of_one_name_are_refused():
    for names in (["a", "b", "a"], ["é", "b", unicodedata.normalize("NFD", "é")]):
        with pytest.raises(DataError, match=r"has two classes of one name, .* at the positions 0 and 2"):
            classes(["b"], names)


# Numbers


@pytest.mark.parametrize(
    "labels", [[1, 0, 1], ["1", "0", "1"], [1.0, 0.0, 1.0], [True, False, True], [Decimal(1), 0, 1]]
)
@pytest.mark.parametrize("names", [GENERIC, ["0", "1"]])
def test_numbers_are_classes_of_a_model_without_names(labels, names):
    assert classes(labels, names) == [1, 0, 1]


@pytest.mark.parametrize("labels", [[1, 0, 1], ["1", "0", "1"], [1.0, 0.0, 1.0], np.array([1, 0, 1])])
def test_numbers_are_no_classes_of_a_model_with_names(labels):
    with pytest.raises(DataError, match=r'in this order: 0 = positive, 1 = negative\. .*"0=positive,1=negative"'):
        classes(labels, ["positive", "negative"])


@pytest.mark.parametrize("labels", [[1, 2, 1], ["1", "2", "3"]])
def test_ratings_are_never_shifted_by_one(labels):
    with pytest.raises(DataError, match=r'--label-map "1=1 star,2=2 stars.*", if the numbers are those in the names'):
        classes(labels, STARS)
    stars = {"1": "1 star", "2": "2 stars", "3": "3 stars"}
    assert classes(labels, STARS, label_map=stars) == [int(label) - 1 for label in labels]


def test_numbers_that_are_names():
    stars = ["1", "2", "3", "4", "5"]
    assert classes([5, 1, 3], stars) == classes(["5", "1", "3"], stars) == classes([5.0, 1.0, 3.0], stars) == [4, 0, 2]
    with pytest.raises(DataError, match="holds the numbers 0, 4, but the classes of the model have names"):
        classes([0, 4], stars)
    assert labeled_texts(plain([7, 30, 7])).label_names == ["7", "30"]


@pytest.mark.parametrize("label", ["1E2", "01", "1.0", "+1", "0x1", "１", "1_000", " 1"])
def test_a_string_that_only_resembles_a_number_is_a_name(label):
    with pytest.raises(DataError, match="No class for"):
        classes([label, "0"], GENERIC)
    assert labeled_texts(plain([label, "b"])).label_names == sorted([label, "b"])


def test_yes_and_no_of_json():
    assert classes([True, False], ["false", "true"]) == classes(["TRUE", "False"], ["false", "true"]) == [1, 0]
    with pytest.raises(DataError, match="0 = negative, 1 = positive"):
        classes([True, False], NAMES)
    assert classes([True, False], NAMES, label_map={"true": "positive", "false": "negative"}) == [1, 0]


@pytest.mark.parametrize(("labels", "outside"), [([0, 2], "2"), ([1, 2, 3], "2, 3"), ([-1, 0, 1], "-1")])
def test_numbers_out_of_range_show_both_sides(labels, outside):
    with pytest.raises(
        DataError,
        match=rf"holds \[{outside}\], the first in row \d of column '\w+', "
        r"but the model's classes are 0 to 1 \(LABEL_0, LABEL_1\)",
    ):
        classes(labels, GENERIC)


# Class names that the data set stores


def test_a_split_without_labels():
    with pytest.raises(DataError, match="holds the label -1: this split has no labels"):
        labeled_texts(classed([-1, -1], NAMES))


@pytest.mark.parametrize(("labels", "outside"), [([0, 2], "2"), ([-2, 0, 1], "-2")])
def test_numbers_without_a_class_name_of_the_data_are_refused(labels, outside):
    dataset = Dataset.from_dict(plain(labels)).cast_column("label", ClassLabel(names=NAMES))
    with pytest.raises(
        DataError, match=rf"holds \[{outside}\], but the data set names only the classes 0 to 1 \(negative, positive\)"
    ):
        labeled_texts(dataset)


@pytest.mark.parametrize("labels", [[0, 1, 1], ["0", "1", "1"], ["negative", "positive", "positive"]])
def test_stored_names_fit_numbers_strings_of_numbers_and_names(labels):
    table = load_data(plain(labels)).with_class_names("label", NAMES)
    assert labeled_texts(table, ["positive", "negative"]).labels.tolist() == [1, 0, 0]
    with pytest.raises(DataError, match=r"holds .'neutral'., but the data set names only"):
        labeled_texts(load_data(plain(["neutral"])).with_class_names("label", NAMES))


def test_a_string_that_is_a_name_and_another_number_is_refused():
    table = load_data(plain(["1", "2"])).with_class_names("label", ["1", "2", "3"])
    with pytest.raises(DataError, match="'1', which is the name of one class and the number of another"):
        labeled_texts(table)
    numbers = load_data(plain([1, 2])).with_class_names("label", ["1", "2", "3"])
    assert labeled_texts(numbers, ["1", "2", "3"]).labels.tolist() == [1, 2]
    three = load_data(plain(["1", "3"])).with_class_names("label", ["1", "2", "3"])
    assert labeled_texts(three, ["1", "2", "3"]).labels.tolist() == [0, 2]


def test_classes_of_the_model_may_be_absent_from_the_data():
    assert labeled_texts(classed([0, 1], NAMES), ["neutral", "positive", "negative"]).labels.tolist() == [2, 1]
    assert labeled_texts(classed([1, 1], ["unused", "positive"]), NAMES).labels.tolist() == [1, 1]


def test_a_model_without_class_names_uses_the_order_of_the_data():
    data = labeled_texts(classed([0, 1, 1], ["zebra", "ape"]), GENERIC)
    assert (data.labels.tolist(), data.label_names) == ([0, 1, 1], GENERIC)
    assert classes(["LABEL_1", "LABEL_0"], GENERIC) == [1, 0]
    assert labeled_texts(classed([0, 1], ["LABEL_1", "LABEL_0"]), GENERIC).labels.tolist() == [1, 0]
    for unclear in (plain(["ape", "zebra"]), classed([0, 1], ["zebra", "ape", "cat"])):  # no order is given
        with pytest.raises(DataError, match="model LABEL_0, LABEL_1"):
            labeled_texts(unclear, GENERIC)


def test_default_names_are_sorted_strings_or_the_classes_of_the_data():
    assert labeled_texts(plain(["b", "a", "b"])).label_names == ["a", "b"]
    assert labeled_texts(classed([1, 0], ["z", "a"])).label_names == ["z", "a"]


@pytest.mark.parametrize("labels", [[10, 9, 0], ["10", "9", "0"]])
def test_default_names_that_are_numbers_are_in_numerical_order(labels):
    data = labeled_texts(plain(labels))
    assert (data.label_names, data.labels.tolist()) == (["0", "9", "10"], [2, 1, 0])


def test_a_column_of_numbers_and_names_is_a_column_of_names():
    labels = [str(number) for number in range(50)] + ["V10"]
    data = labeled_texts(plain(labels))
    assert len(data.label_names) == 51
    assert [data.label_names[index] for index in data.labels] == labels


# Labels that are none


@pytest.mark.parametrize("labels", [[None, 1], ["a", None], [float("nan"), 1.0], ["a", " "]])
def test_a_missing_label_is_refused(labels):
    with pytest.raises(DataError, match=r"row [01] of column 'label' has no label"):
        labeled_texts(plain(labels))


@pytest.mark.parametrize(
    ("count", "others"),
    [(2, r"1 more row has none \(1\)"), (6, r"5 more rows have none \(1, 2, .* 5\)"), (9, r"8 more .* 4, 5, …\)")],
)
def test_several_missing_labels_are_counted(count, others):
    with pytest.raises(DataError, match=f"row 0 of column 'label' has no label, and {others}: add"):
        labeled_texts(plain([None] * count + ["a"]))


def test_labels_that_do_not_match_show_both_sides():
    with pytest.raises(
        DataError,
        match=r"data negative, neutral, positive; model bad, positive\. "
        r"No class for 2 of 3 labels, negative \(1\), neutral \(1\), "
        r"the first in row 1 of column 'label': .*--label-map",
    ):
        classes(["positive", "negative", "neutral"], ["bad", "positive"])
    with pytest.raises(DataError, match="data negative, positive; model bad, good"):
        labeled_texts(classed([0, 1], NAMES), ["bad", "good"])


def test_whole_texts_in_place_of_labels_are_shortened():
    texts = [f"{number} {'so long a text ' * 20}" for number in range(40)]
    with pytest.raises(DataError, match="name the column that holds the labels with --label-column") as raised:
        classes(texts, ["bad", "good"])
    assert len(str(raised.value)) < 900


def test_labeled_data_of_another_model_are_refused():
    data = labeled_texts(plain(["bad", "good"]))
    assert checked_names(data, ["bad", "good"]) is data
    with pytest.raises(DataError, match=r"labels bad, good of 1 dimension.* are not the model's, good, bad of 1"):
        checked_names(data, ["good", "bad"])
    with pytest.raises(DataError, match=r"read the data with label_names="):
        checked_names(data, ["bad", "good"], dimensions=2)


# Label maps


@pytest.mark.parametrize("labels_as", ["classes", "strings", "numbers", "strings of numbers", "floats"])
def test_a_label_map(labels_as):
    by_name, by_number = {"negative": "bad", "positive": "good"}, {"0": "bad", "1": "good"}
    dataset, label_map = {
        "classes": (classed([0, 1, 1], NAMES), by_name),
        "strings": (plain(["negative", "Positive", "positive"]), by_name),
        "numbers": (plain([0, 1, 1]), by_number),
        "strings of numbers": (plain(["0", "1", "1"]), {0: "bad", 1: "good"}),
        "floats": (plain([0.0, 1.0, 1.0]), by_number),
    }[labels_as]
    assert labeled_texts(dataset, ["good", "bad"], label_map=label_map).labels.tolist() == [1, 0, 0]


def test_a_label_map_that_joins_classes():
    stars = classed([0, 1, 2, 3, 4], ["1", "2", "3", "4", "5"])
    sides = {"1": "bad", "2": "bad", "3": "so-so", "4": "good", "5": "good"}
    assert labeled_texts(stars, ["good", "bad", "so-so"], label_map=sides).labels.tolist() == [1, 1, 2, 0, 0]
    data = labeled_texts(stars, label_map=sides)
    assert (data.labels.tolist(), data.label_names) == ([0, 0, 1, 2, 2], ["bad", "so-so", "good"])


def test_a_label_map_to_an_unknown_class_is_refused():
    with pytest.raises(DataError, match="the label map leads to great, but the classes of the model are negative"):
        classes(["positive"], NAMES, label_map={"positive": "great"})


def test_a_label_map_of_other_labels_is_refused():
    with pytest.raises(DataError, match="the label map names pos, neg, but the labels of column 'label' are negative"):
        classes(["negative"], NAMES, label_map={"pos": "positive", "neg": "negative"})
    with pytest.raises(DataError, match="the label map names neg, but the labels of column 'label' are negative, pos"):
        labeled_texts(classed([0], ["negative", "pos"]), NAMES, label_map={"pos": "positive", "neg": "negative"})
    one_class = {"pos": "positive", "neg": "negative"}
    assert classes(["pos", "pos"], NAMES, label_map=one_class) == [1, 1]  # a small set may lack a class


@pytest.mark.parametrize("label_map", ["pos=positive", [("pos", "positive")], {"pos": None}, {"pos": ["positive"]}])
def test_a_label_map_of_a_wrong_type_is_refused(label_map):
    with pytest.raises(ArgumentTypeError, match="label_map"):
        classes(["pos"], NAMES, label_map=label_map)


def test_a_label_map_as_text():
    assert parse_label_map("pos=POSITIVE, neg = NEG=ATIVE") == {"pos": "POSITIVE", "neg": "NEG=ATIVE"}
    assert parse_label_map("") is parse_label_map(None) is None
    with pytest.raises(DataError, match=r"a label map has the form DATA=MODEL,.*FILE\.json.* not 'pos'"):
        parse_label_map("pos")
    with pytest.raises(DataError, match="two classes for 'pos', 'a' and 'b'"):
        parse_label_map("pos=a,pos=b")


def test_a_label_map_in_a_file(tmp_path):
    path = tmp_path / "map.json"
    label_map = {"yes, surely": "a=b", "no": "ü"}
    path.write_text(json.dumps(label_map, ensure_ascii=False), encoding="utf-8")
    assert parse_label_map(str(path)) == label_map
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert parse_label_map(str(path)) == label_map
    for content in ("[]", "{}", '{"a": 1}', "nothing"):
        path.write_text(content)
        with pytest.raises(DataError, match=r"the label map .*map\.json"):
            parse_label_map(str(path))
    with pytest.raises(DataError, match=r"the label map .*none\.json cannot be read"):
        parse_label_map(str(tmp_path / "none.json"))


def test_swapped_columns_are_noticed():
    rows = {"text": ["billing", "hardware", "billing"], "label": ["Where is my invoice?", "It is black.", "Pay"]}
    with pytest.raises(DataError, match=r"names of classes, such as 'billing'.*'label' .* the columns may be swapped"):
        labeled_texts(rows, ["billing", "hardware"])
    with pytest.raises(DataError, match="the columns may be swapped"):
        labeled_texts(rows, ["billing", "hardware"], text_column="text", label_column="label")
    answers = {"text": ["yes", "no", "yes"], "label": ["yes", "yes", "no"]}
    assert labeled_texts(answers, ["no", "yes"]).texts == ["yes", "no", "yes"], "all labels are classes"
