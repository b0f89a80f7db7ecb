"""Property of predictions for random texts: a predicted row does not depend on its batch, whatever the task."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aligned_entropy import MultiLabelConfig, UncertainClassifier
from fixtures import multilabel_models, sentiment, tiny, token_models

lines = st.lists(st.lists(st.sampled_from([*tiny.WORDS, "unheard"]), min_size=1, max_size=20), min_size=2, max_size=8)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory, served_folder, multilabel_model_folder, token_model_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        several = UncertainClassifier.from_pretrained(multilabel_model_folder)
        # with neighbors, rounding would decide which of several texts with the same words is the last of them
        several.fit(multilabel_models.texts(600, 1), config=MultiLabelConfig(views=False))
        tokens = UncertainClassifier.from_pretrained(token_model_folder)
        tokens.fit(token_models.sentences(tokens, 1, 300))
    single = UncertainClassifier.from_pretrained(served_folder / "model", head=served_folder / "head")
    return {classifier.task.name: classifier for classifier in (single, several, tokens)}


def numbers(row):
    """All numbers of a predicted row."""
    if hasattr(row, "words"):
        return np.concatenate([row.words.probabilities.ravel(), row.words.error_probability, [row.uncertainty]])
    return np.concatenate([np.ravel(row.probabilities), np.ravel(row.error_probability), np.ravel(row.uncertainty)])


@pytest.mark.parametrize("task", ["text-classification", "multi-label-classification", "token-classification"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(lines=lines)
def test_a_predicted_row_does_not_depend_on_its_batch(classifiers, task, lines):
    classifier = classifiers[task]
    labels_only = classifier.task.labels_only
    texts = [" ".join(words) for words in lines]
    if task == "text-classification":  # words that this model knows
        texts = [" ".join((sentiment.GOOD + sentiment.BAD)[len(word) % 12] for word in words) for words in lines]
    together = classifier.predict(texts)
    for text, row in zip(texts, together, strict=True):
        alone = classifier.predict([text])[0]
        assert labels_only(row.predicted) == labels_only(alone.predicted)
        assert row.accepted == alone.accepted
        np.testing.assert_allclose(numbers(row), numbers(alone), atol=2e-5)
