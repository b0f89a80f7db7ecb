"""Log-probabilities of the most likely tokens give those of the classes; what is missing is never taken for certain."""

import json

import numpy as np
import pytest

from aligned_entropy.data.outputs import load_outputs
from aligned_entropy.errors import DataError

NAMES = ["negative", "positive"]


def logits(*rows, names=NAMES):
    return load_outputs({"top_logprobs": list(rows)}, False, label_names=names).logits


def test_tokens_of_a_class_add_up_and_other_tokens_are_lost():
    row = {" Positive": np.log(0.4), "positive": np.log(0.2), "Negative": np.log(0.3), "The": np.log(0.1)}
    np.testing.assert_allclose(np.exp(logits(row)), [[0.3, 0.6]], rtol=1e-6)


def test_the_forms_of_servers_and_files_give_the_same(tmp_path):
    row = {"negative": -0.2, "positive": -1.8}
    listed = [{"token": token, "logprob": value, "bytes": None} for token, value in row.items()]
    expected = logits(row).tolist()
    assert logits(listed).tolist() == expected
    assert logits(row | {"other": None}).tolist() == expected
    (tmp_path / "outputs.csv").write_text(f'top_logprobs\n"{json.dumps(row).replace(chr(34), chr(34) * 2)}"\n')
    assert load_outputs(tmp_path / "outputs.csv", False, label_names=NAMES).logits.tolist() == expected


def test_a_missing_class_gets_the_largest_probability_that_it_can_have():
    names = ["a", "b", "c"]
    with pytest.warns(UserWarning, match="lacks classes in some rows"):
        few = logits({"a": np.log(0.7), "x": np.log(0.2)}, {"a": np.log(0.6), "x": np.log(0.05)}, names=names)
    np.testing.assert_allclose(np.exp(few), [[0.7, 0.05, 0.05], [0.6, 0.05, 0.05]], rtol=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"yes": -0.2, "no": -2.0}, "has the tokens 'yes', 'no', none of which is a class"),
        ({}, "none of which is a class"),
        ({"positive": 0.9, "negative": 0.1}, "holds 0.9: log-probabilities are numbers of at most 0"),
        ({"positive": -0.1, "negative": -0.1}, "add up to 1.81"),
        ({"positive": float("nan"), "negative": -0.1}, "holds nan"),
        ({"positive": "-0.1", "negative": -0.1}, "holds '-0.1'"),
        ([["positive", -0.1]], "a dict {token: log-probability}"),
        (None, "row 0 of column 'top_logprobs' is None"),
    ],
)
def test_an_error_names_the_row(row, message):
    with pytest.raises(DataError, match=message):
        logits(row)


def test_tokens_without_label_names_are_refused():
    with pytest.raises(DataError, match="pass label_names"):
        load_outputs({"top_logprobs": [{"a": -0.1}]}, False)
