"""Tags of every scheme and notation stand for the same entities, and data match a model of any scheme."""

import itertools

import numpy as np
import pytest

from aligned_entropy.data import labeled_tokens
from aligned_entropy.data.tags import Scheme, Span, TagParts, TagSet
from aligned_entropy.errors import DataError

KINDS = ["X", "Y-z_1"]
LETTERS = {"IOB2": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW"}
NOTATIONS = ["{letter}-{kind}", "{letter}_{kind}", "{kind}-{letter}", "{kind}_{letter}"]


def tag_set(letters, notation="{letter}-{kind}", outside="O", lower=False):
    tags = [notation.format(letter=letter, kind=kind) for kind in KINDS for letter in letters]
    return TagSet([outside, *(tag.lower() if lower else tag for tag in tags)])


def all_entities(count, first=0):
    """Every choice of entities without overlap among some words."""
    if first == count:
        yield []
        return
    yield from all_entities(count, first + 1)
    for end, kind in itertools.product(range(first + 1, count + 1), KINDS):
        yield from ([Span(first, end, kind), *rest] for rest in all_entities(count, end))


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("letters", LETTERS.values(), ids=LETTERS)
def test_entities_that_are_written_in_a_scheme_are_read_again(letters, notation):
    tags = tag_set(letters, notation)
    schemes = {Scheme.IOB2: [Scheme.IOB1, Scheme.IOB2], Scheme.IOE2: [Scheme.IOE1, Scheme.IOE2]}
    for scheme, count in itertools.product(schemes.get(tags.scheme, [Scheme.IOBES]), range(5)):
        for entities in all_entities(count):
            written = [tags.tags[parts] for parts in tags.write(entities, [0, count], scheme)]
            assert tags.spans(written, [0, count]) == entities


def test_entities_are_written_as_the_definitions_of_the_schemes_say():
    entities, starts = [Span(0, 1, "X"), Span(1, 4, "X"), Span(5, 7, "X"), Span(7, 8, "X")], [0, 5, 7, 9]

    def written(letters, scheme=None):
        parts = TagSet([f"{letter}-X" for letter in letters]).write(entities, starts, scheme)
        return " ".join(role or "O" for role, _ in parts)

    assert written("BI") == "B B I I O B I B O"
    assert written("BI", Scheme.IOB1) == "I B I I O I I I O"  # entities of two sentences do not touch
    assert written("IE") == "E I I E O I E E O"
    assert written("IE", Scheme.IOE1) == "E I I I O I I I O"
    assert written("BIES") == "S B I E O B E S O"
    assert written("BIE") == "B B I E O B E B O"
    assert written("I") == "I I I I O I I I O"


def test_the_notation_of_most_tags_decides():
    def parts(*names):
        return [tuple(part) for part in TagSet(names).parts.values()]

    assert parts("O", "B-geo_loc", "I-geo_loc") == [("", ""), ("B", "geo_loc"), ("I", "geo_loc")]
    assert parts("O", "geo-loc", "S-Bahn") == [("", ""), ("I", "geo-loc"), ("I", "S-Bahn")]
    assert parts("O", "e-mail", "vitamin_B") == [("", ""), ("I", "e-mail"), ("I", "vitamin_B")]
    assert parts("o", "b-per", "i-per", "b-x-i") == [("", ""), ("B", "per"), ("I", "per"), ("B", "x-i")]
    assert parts("OUT", "PER-B", "PER-I") == [("", ""), ("B", "PER"), ("I", "PER")]
    assert parts("B", "M", "E", "S") == [("B", "_"), ("I", "_"), ("E", "_"), ("S", "_")]
    assert parts("0", "B-PER", "I-PER") == [("", ""), ("B", "PER"), ("I", "PER")]
    assert parts("0", "1", "2") == [("I", "0"), ("I", "1"), ("I", "2")]
    assert parts("O", "B-Stra\u00dfe", "I-Cafe\u0301") == [("", ""), ("B", "Stra\u00dfe"), ("I", "Caf\u00e9")]
    assert parts("O", "B-人名", "I-人名") == [("", ""), ("B", "人名"), ("I", "人名")]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O I-X I-X O I-Y I-X B-X", Scheme.IOB1),
        ("O B-X I-X O B-Y B-X B-X", Scheme.IOB2),
        ("O B-X I-X O I-Y B-X B-X", Scheme.IOB2),  # one tag is ill-formed
        ("O I-X E-X I-X O I-Y", Scheme.IOE1),
        ("O I-X E-X E-X O E-Y", Scheme.IOE2),
        ("O S-X B-Y E-Y", Scheme.IOBES),
        ("O U-X", Scheme.IOBES),
        ("O X X Y", Scheme.IO),
        ("O O", Scheme.IO),
    ],
)
def test_a_sequence_shows_its_scheme(tags, scheme):
    words = tags.split()
    assert TagSet(words).scheme_in_use(words, [0, len(words)]) is scheme


def test_a_type_without_b_shows_that_a_model_predicts_iob1():
    assert TagSet(["O", "B-X", "I-X", "I-Y"]).scheme is Scheme.IOB1
    assert TagSet(["O", "B-X", "I-X", "B-Y"]).scheme is Scheme.IOB2


# The same sentences in all schemes: adjacent entities of one type are in the second one.
ROWS = {
    "IOB2": ["O B-X I-X I-X B-Y-z_1", "B-X B-X I-X O", "B-X I-X O"],
    "IOB1": ["O I-X I-X I-X I-Y-z_1", "I-X B-X I-X O", "I-X I-X O"],
    "IOE1": ["O I-X I-X I-X I-Y-z_1", "E-X I-X I-X O", "I-X I-X O"],
    "IOE2": ["O I-X I-X E-X E-Y-z_1", "E-X I-X E-X O", "I-X E-X O"],
    "IOBES": ["O B-X I-X E-X S-Y-z_1", "S-X B-X E-X O", "B-X E-X O"],
    "BILOU": ["O B-X I-X L-X U-Y-z_1", "U-X B-X L-X O", "B-X L-X O"],
    "BMES": ["O B-X M-X E-X S-Y-z_1", "S-X B-X E-X O", "B-X E-X O"],
    "BMEWO": ["O B-X M-X E-X W-Y-z_1", "W-X B-X E-X O", "B-X E-X O"],
    "suffix": ["O X-B X-I X-I Y-z_1-B", "X-B X-B X-I O", "X-B X-I O"],
    "lower": ["o b_x i_x i_x b_y-z_1", "b_x b_x i_x o", "b_x i_x o"],
}
NAMES = {
    "IOB2": ["O", "B-X", "I-X", "B-Y-z_1", "I-Y-z_1"],
    "IOE2": ["O", "E-X", "I-X", "E-Y-z_1", "I-Y-z_1"],
    "IOBES": ["O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BIES")],
    "BILOU": ["O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BILU")],
    "BMES": ["O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BMES")],
    "BMEWO": ["O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BMEW")],
    "suffix": ["O", *(f"{kind}-{letter}" for kind in KINDS for letter in "BI")],
    "lower": ["o", *(f"{letter}_{kind.lower()}" for kind in KINDS for letter in "BI")],
}
NAMES["lower"] = [name.lower() for name in NAMES["lower"]]


def table(scheme):
    tags = [row.split() for row in ROWS[scheme]]
    return {"tokens": [["w"] * len(row) for row in tags], "tags": tags}


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("data", ROWS)
def test_data_of_any_scheme_have_the_tags_of_the_model(data, model):
    labels = labeled_tokens(table(data), NAMES[model]).labels
    assert [NAMES[model][label] for label in labels] == " ".join(ROWS[model]).split()


def test_a_model_that_cannot_tell_adjacent_entities_apart_has_them_as_one():
    data = labeled_tokens(table("IOB2"), ["O", "X", "Y-z_1"])
    assert data.labels.tolist() == [0, 1, 1, 1, 2, 1, 1, 1, 0, 1, 1, 0]
    data = labeled_tokens(table("IOB2"), ["O", "I-X", "B-Y-z_1", "I-Y-z_1"])  # IOB1 without B-X
    assert data.labels.tolist() == [0, 1, 1, 1, 3, 1, 1, 1, 0, 1, 1, 0]


def test_tags_of_the_model_s_scheme_stay_even_where_they_are_ill_formed():
    tags = "O I-X O B-X I-X O B-X O I-X I-X"
    data = labeled_tokens({"tokens": [list("abcdefghij")], "tags": [tags.split()]}, ["O", "B-X", "I-X"])
    assert [data.label_names[label] for label in data.labels] == tags.split()


@pytest.mark.parametrize("scheme", ROWS)
def test_a_label_map_of_types_is_for_every_scheme(scheme):
    names = ["O", "B-P", "I-P"]
    kept = labeled_tokens(table(scheme), names, label_map={"X": "P", "Y-z_1": "O"}).labels
    assert kept.tolist() == [0, 1, 2, 2, 0, 1, 1, 2, 0, 1, 2, 0]
    both = labeled_tokens(table(scheme), names, label_map={"X": "P", "Y-z_1": "P"}).labels
    assert both.tolist() == [0, 1, 2, 2, 1, 1, 1, 2, 0, 1, 2, 0]  # two adjacent entities stay two


def test_a_label_map_renames_the_tags_of_data_without_a_model():
    renamed = labeled_tokens(table("suffix"), label_map={"X": "P"}).label_names
    assert renamed == ["O", "P-B", "P-I", "Y-z_1-B"]
    with pytest.raises(DataError, match=r"the label map names Q, but the entity types of column 'tags' are X, Y-z_1"):
        labeled_tokens(table("IOB2"), NAMES["IOB2"], label_map={"Q": "X"})


def test_a_type_that_is_swapped_with_another_is_mapped_once():
    names = NAMES["IOB2"]
    for scheme in ("IOB2", "IOBES"):
        swapped = labeled_tokens(table(scheme), names, label_map={"X": "Y-z_1", "Y-z_1": "X"}).labels
        assert swapped.tolist() == [0, 3, 4, 4, 1, 3, 3, 4, 0, 3, 4, 0]
    one_tag = labeled_tokens(table("IOB2"), names, label_map={"B-Y-z_1": "B-X", "X": "Y-z_1"}).labels
    assert one_tag.tolist() == [0, 3, 4, 4, 1, 3, 3, 4, 0, 3, 4, 0]


def test_types_match_after_unicode_normalization_and_in_another_case_if_that_is_unique():
    data = {"tokens": [["a", "b"]], "tags": [["B-cafe\u0301", "I-CAFE\u0301"]]}
    assert labeled_tokens(data, ["O", "B-Caf\u00e9", "I-Caf\u00e9"]).labels.tolist() == [1, 2]
    assert labeled_tokens({"tokens": [["a"]], "tags": [["B-cafe\u0301"]]}).label_names == ["B-caf\u00e9"]
    with pytest.raises(DataError, match="does not have: B-per"):
        labeled_tokens({"tokens": [["a"]], "tags": [["B-per"]]}, ["O", "B-Per", "I-Per", "B-PER", "I-PER"])


def test_a_type_that_the_model_lacks_is_refused_in_every_scheme():
    for scheme in ROWS:
        with pytest.raises(
            DataError, match=r"tags that the model does not have: \S+.*; the model has O, B-X, I-X\. Correct"
        ):
            labeled_tokens(table(scheme), ["O", "B-X", "I-X"])


UNNAMED = ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_a_model_without_tag_names_takes_the_order_of_the_data_s_names():
    import datasets

    names = datasets.List(datasets.ClassLabel(names=["O", "B-X", "I-X"]))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": names})
    rows = {"tokens": [["a", "b", "c"]], "tags": [[1, 2, 0]]}
    assert labeled_tokens(datasets.Dataset.from_dict(rows, features), UNNAMED).labels.tolist() == [1, 2, 0]
    assert labeled_tokens(rows, UNNAMED).labels.tolist() == [1, 2, 0]
    assert labeled_tokens(rows, ["0", "1", "2"]).labels.tolist() == [1, 2, 0]
    text = {"tokens": [["a", "b", "c"]], "tags": [["B-X", "I-X", "O"]]}
    map_of_all = {"O": "LABEL_0", "B-X": "LABEL_1", "I-X": "LABEL_2"}
    assert labeled_tokens(text, UNNAMED, label_map=map_of_all).labels.tolist() == [1, 2, 0]
    with pytest.raises(DataError, match=r"no names but LABEL_0, LABEL_1, …, and column 'tags' holds B-X, I-X, O: name"):
        labeled_tokens(text, UNNAMED)
    with pytest.raises(DataError, match="holds 3: name the tags in the order of the model's outputs"):
        labeled_tokens({"tokens": [["a"]], "tags": [[3]]}, UNNAMED)


def test_the_first_of_two_equal_tags_is_written():
    tags = TagSet(["O", "U-X", "S-X", "B-X", "L-X"])
    assert tags.tags[TagParts("S", "X")] == "U-X"
    assert np.all([role == "S" for role, _ in tags.write([Span(0, 1, "X")], [0, 1])])
