"""The registered pipeline predicts as the classifier does, and refuses what the classifier refuses."""

import numpy as np
import pytest
from transformers import pipeline

from aligned_entropy import (
    AlignedEntropyError,
    ArgumentTypeError,
    DataError,
    FitConfig,
    HeadMismatchError,
    UncertainClassifier,
    register_pipeline,
)
from aligned_entropy.display.wording import type_name
from fixtures import sentiment
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=(300.0,))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module")
def labeled():
    return named(400, 2)


@pytest.fixture(scope="module")
def fitted(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labeled, config=QUICK)
    return classifier


@pytest.mark.parametrize("batch_size", [1, 4])
def test_registered_pipeline_carries_the_uncertainty(fitted, model_folder, tmp_path, batch_size):
    register_pipeline()
    fitted.save_pretrained(tmp_path / "head")
    texts, _ = sentiment.texts(10, 6)
    pipe = pipeline("uncertain-text-classification", model=str(model_folder), head=str(tmp_path / "head"))
    rows = pipe(texts, batch_size=batch_size)
    expected = fitted.predict(texts)
    assert [row["label"] for row in rows] == expected.labels.tolist()
    np.testing.assert_allclose([row["uncertainty"] for row in rows], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose([row["error_probability"] for row in rows], expected.error_probability, atol=1e-5)
    both = pipe(texts[0], top_k=None)
    assert len(both) == 2
    assert all("uncertainty" in row for row in both)
    untrained = pipeline("uncertain-text-classification", model=str(model_folder))
    assert "error_probability" not in untrained(texts[0])[0]


def test_registered_pipeline_refuses_a_wrong_head_when_it_is_built(fitted, tmp_path):
    register_pipeline()
    fitted.save_pretrained(tmp_path / "head")
    other = sentiment.encoder()
    with pytest.raises(AlignedEntropyError, match="not the model that this head was fitted for"):
        pipeline(
            "uncertain-text-classification", model=other, tokenizer=sentiment.tokenizer(), head=str(tmp_path / "head")
        )


@pytest.mark.parametrize("length", [None, 4])
def test_registered_pipeline_cuts_texts_as_predict_does(model_folder, labeled, tmp_path, length):
    register_pipeline()
    classifier = UncertainClassifier.from_pretrained(model_folder, max_length=length)
    classifier.fit(labeled, config=QUICK)
    classifier.save_pretrained(tmp_path / "head")
    pipe = pipeline("uncertain-text-classification", model=str(model_folder), head=tmp_path / "head")
    text = "a great film " + "but it was dull and cold " * 40
    expected = classifier.predict(text)[0]
    assert pipe(text)[0]["score"] == pytest.approx(expected.probabilities.max(), abs=1e-5)
    assert pipe(text)[0]["error_probability"] == pytest.approx(expected.error_probability, abs=1e-5)
    shorter = pipe(text, max_length=3)[0]
    assert shorter["score"] == pytest.approx(pipe("a")[0]["score"], abs=1e-5)


def test_registered_pipeline_says_what_it_takes_for_a_head(fitted, model_folder):
    register_pipeline()
    for head in (fitted.saved, fitted):
        with pytest.raises(HeadMismatchError, match=rf"head is {type_name(head)}, a path or hub id is needed"):
            pipeline("uncertain-text-classification", model=str(model_folder), head=head)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_registered_pipeline_reads_pairs_as_predict_does(model_folder, tmp_path, batch_size):
    register_pipeline()
    fitted = UncertainClassifier.from_pretrained(model_folder)
    fitted.fit(named(400, 2) | {"text_pair": sentiment.texts(400, 9)[0]}, config=QUICK)
    fitted.save_pretrained(tmp_path / "head")
    pairs = list(zip(sentiment.texts(8, 6)[0], sentiment.texts(8, 7)[0], strict=True))
    pairs.append(("a great film " * 20, "dull"))  # longer than the limit of 32 tokens
    pipe = pipeline("uncertain-text-classification", model=str(model_folder), head=str(tmp_path / "head"))
    expected = fitted.predict(pairs)
    for rows in (pairs, [{"text": text, "text_pair": text_pair} for text, text_pair in pairs]):
        predicted = pipe(rows, batch_size=batch_size)
        assert [row["label"] for row in predicted] == expected.labels.tolist()
        np.testing.assert_allclose(
            [row["error_probability"] for row in predicted], expected.error_probability, atol=1e-5
        )
    one = pipe({"text": pairs[0][0], "text_pair": pairs[0][1]})
    assert one["error_probability"] == pytest.approx(expected.error_probability[0], abs=1e-5)
    alone = pipeline("text-classification", model=str(model_folder))({"text": pairs[0][0], "text_pair": pairs[0][1]})
    assert (one["label"], one["score"]) == (alone["label"], pytest.approx(alone["score"], abs=1e-5))
    with pytest.raises(DataError, match="these are single texts, but the head was fitted on pairs of texts"):
        pipe("a great film")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ([["a film", "a plot"]], "one text, not 2: pass a list.*a pair of texts is a tuple"),
        ({"text": "a film", "text_pair": None}, "column 'text_pair' has no text"),
        ({"text": "a film", "text_pair": " "}, "column 'text_pair' has no text"),
        ([("a film", 5)], "second text is an int"),
        ([("a", "b", "c")], "a tuple of 3 values"),
    ],
)
def test_pairs_that_are_not_clear_are_refused(model_folder, pair, message):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    with pytest.raises(DataError, match=message):
        pipe(pair)


def test_an_input_may_be_a_dict_with_a_text(fitted, model_folder):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    assert pipe({"text": "a great film"}) == pipe("a great film")[0]
    assert pipe([{"text": "a great film"}, "dull"]) == pipe(["a great film", "dull"])


def test_inputs_that_hold_no_text_are_refused(model_folder):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    for blank in ("", " \n", {"text": ""}):
        with pytest.raises(DataError, match=r"text 0 is empty|has no text"):
            pipe(blank)
    for wrong in (None, 5):
        with pytest.raises(ArgumentTypeError, match="holds no texts"):
            pipe(wrong)
