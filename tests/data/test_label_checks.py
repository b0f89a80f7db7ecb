"""Labels that are probably mistakes: each mistake has its sentence, and good labels have none."""

import pytest

from aligned_entropy import DataError
from aligned_entropy.data.label_checks import check_classes, label_warnings


def test_labels_that_hardly_repeat_are_no_classes():
    with pytest.raises(DataError, match="30 different labels in 30 rows, such as 0, 1, 10, …, which are no classes"):
        check_classes(dict.fromkeys(map(str, range(30)), 1))
    check_classes(dict.fromkeys(map(str, range(19)), 1))
    check_classes(dict.fromkeys(map(str, range(30)), 2))


@pytest.mark.parametrize(
    ("counts", "warning"),
    [
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
