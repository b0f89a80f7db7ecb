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
    with pytest.raises(AlignedEntropyError, match="not the one that this head was fitted for"):
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
        with pytest.raises(HeadMismatchError, match=rf"head is a {type(head).__name__}, a path or hub id is needed"):
            pipeline("uncertain-text-classification", model=str(model_folder), head=head)


@pytest.mark.parametrize(
    "pair", [{"text": "a film", "text_pair": "a plot"}, ("a film", "a plot"), [["a film", "a plot"]]]
)
@pytest.mark.parametrize("in_list", [False, True])
def test_pairs_of_texts_are_refused_by_that_name(model_folder, pair, in_list):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    with pytest.raises(DataError, match="pairs of texts are not supported yet"):
        pipe([pair] if in_list else pair)


def test_an_input_may_be_a_dict_with_a_text(fitted, model_folder):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    assert pipe({"text": "a great film"}) == pipe("a great film")[0]
    assert pipe([{"text": "a great film"}, "dull"]) == pipe(["a great film", "dull"])


def test_inputs_that_hold_no_text_are_refused(model_folder):
    register_pipeline()
    pipe = pipeline("uncertain-text-classification", model=str(model_folder))
    for blank in ("", " \n", {"text": ""}):
        with pytest.raises(DataError, match="text 0 is empty"):
            pipe(blank)
    for wrong in (None, 5):
        with pytest.raises(ArgumentTypeError, match="holds no texts"):
            pipe(wrong)
