"""Labels that are probably mistakes: each mistake has its sentence, and good labels have none."""

import pytest

from aligned_entropy import DataError
from aligned_entropy.data.label_checks import check_repeated, label_warnings


def test_labels_that_do_not_repeat_are_refused():
    with pytest.raises(DataError, match="100 different labels in 100 rows, such as 0, 1, 10, …, which are no classes"):
        check_repeated(dict.fromkeys(map(str, range(100)), 1))
    check_repeated(dict.fromkeys(map(str, range(99)), 1))
    check_repeated(dict.fromkeys(map(str, range(100)), 1) | dict.fromkeys("abcdefghijklmn", 2))


@pytest.mark.parametrize(
    ("counts", "warning"),
    [
        (
            dict.fromkeys(map(str, range(30)), 1),
            "30 different labels in 30 rows, such as 0, 1, 10, …, which are hardly classes",
        ),
        (
            {f"{a}; {b}": 1 for a in "abcdef" for b in "ghijk"} | dict.fromkeys("abcdefghijk", 1),
            "30 of 41 labels join others, such as 'a; g': if a text",
        ),
        (
            {"joy": 9, "anger": 9, "joy; anger": 2},
            "1 of 3 labels join others, such as 'joy; anger': if a text",
        ),
        (
            {"joy": 9, "anger": 9, "Joy ": 3},
            "misspellings, with their numbers of texts: 'Joy ' (3) of 'joy' (9)",
        ),
        ({"joy": 9, "anger": 9, "new": 1}, "1 of 3 classes have a single text: new."),
    ],
)
def test_a_mistake_is_named(counts, warning):
    (sentence,) = label_warnings(counts)
    assert warning in sentence


@pytest.mark.parametrize(
    "counts",
    [
        {"joy": 9, "anger": 9},
        {"comp.sys.ibm.pc.hardware": 9, "comp.sys.mac.hardware": 9, "comp/graphics": 9},
        {"right": 9, "wrong": 9, "right, but late": 9},
        dict.fromkeys("abcdefghi", 2),
    ],
)
def test_other_labels_have_no_warning(counts):
    assert not list(label_warnings(counts))
