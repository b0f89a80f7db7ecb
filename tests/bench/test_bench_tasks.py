"""Grids of token classification, multi-label classification and language models that predict label words."""

import json
import shutil

import numpy as np
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.bench import measurements
from aligned_entropy.bench.grid import Grid
from aligned_entropy.data import Words
from aligned_entropy.errors import DataError
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import HEAD
from fixtures import tiny

TAGS = ["O", "B-X", "I-X"]
LABELS = ["LABEL_0", "LABEL_1", "LABEL_2"]
GRID = """
models:
  tokens: {base: "tokens-{seed}"}
  multi-label: {base: "multi-label-{seed}"}
  lm: {base: lm, mode: prompt}
datasets:
  words:
  other-words: {label_map: {X: X}}
  labels:
  reviews: {prompt: {template: "{text} is", labels: {negative: bad, positive: good}}}
  no-prompt:
grid:
  - {study: scores, models: [tokens], datasets: {words: 1}, scores: [entropy, max logit, aligned entropy]}
  - study: entities
    models: [tokens]
    datasets: {words: 1}
    scores: ["entropy, mean", "entropy, max", "max logit, product", "aligned entropy, mean"]
  - {study: sentences, models: [tokens], datasets: {words: 1}, scores: ["aligned entropy, product"]}
  - {study: texts, models: [tokens], datasets: {words: 1}, scores: ["entropy, max"]}
  - {study: transfer, models: [tokens], datasets: {words: 1}, domains: [words, other-words], scores: [entropy]}
  - study: scores
    models: [multi-label]
    datasets: {labels: 1}
    scores: [entropy, aligned entropy, aligned entropy (paper)]
  - study: texts
    models: [multi-label]
    datasets: {labels: 1}
    scores: ["entropy, product", "aligned entropy, product"]
  - {study: scores, models: [lm], datasets: {reviews: 1, no-prompt: 1}, scores: [entropy, contextual calibration]}
"""


def write(folder, columns, split):
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))
    (folder / f"{split}.jsonl").write_text("\n".join(lines))


def draw_classes(logits, rng):
    """Draw classes with the probabilities of the model."""
    p = np.exp(logits - logits.max(-1, keepdims=True)).astype(np.float64)
    return ((p / p.sum(-1, keepdims=True)).cumsum(-1) > rng.random(p.shape[:-1])[..., None]).argmax(-1)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    models = {
        "tokens-0": (tiny.token_classifier("Bert"), tiny.tokenizer()),
        "multi-label-0": (tiny.model("Bert", problem_type="multi_label_classification"), tiny.tokenizer()),
        "lm": (tiny.language_model("Llama"), tiny.subwords()),
    }
    for name, parts in models.items():
        for part in parts:
            part.save_pretrained(folder / "runs" / name)
    token_model, multi_label_model = (
        UncertainClassifier.from_pretrained(folder / "runs" / name) for name in ("tokens-0", "multi-label-0")
    )
    for split in ("train", "validation", "test"):
        tokens = [rng.choice(tiny.WORDS, rng.integers(1, 8)).tolist() for _ in range(120)]
        words, texts = Words(tokens), [" ".join(words) for words in tokens]
        classes = draw_classes(token_model.backbone.extract(words)[1], rng)
        tags = [[TAGS[classes[row]] for row in range(*words.starts[i : i + 2])] for i in range(120)]
        write(folder / "data" / "words", {"tokens": tokens, "tags": tags}, split)
        logits = multi_label_model.backbone.extract(texts)[1].astype(np.float64)
        indicators = 1 / (1 + np.exp(-logits)) > rng.random((120, 3))
        labels = [[LABELS[i] for i in np.flatnonzero(row)] for row in indicators]
        write(folder / "data" / "labels", {"text": texts, "labels": labels}, split)
        classes = rng.choice(["negative", "positive"], 120).tolist()
        write(folder / "data" / "reviews", {"text": texts, "label": classes}, split)
    for name, copied in (("words", "other-words"), ("reviews", "no-prompt")):
        shutil.copytree(folder / "data" / name, folder / "data" / copied)
    (folder / "grid.yaml").write_text(GRID)
    return folder


@pytest.fixture(scope="module")
def results(workspace, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ALIEN_DATA", str(workspace / "data"))
        patch.setattr(measurements, "RESAMPLES", 10)
        results = dict(Grid.read(workspace / "grid.yaml").run())
        classifiers = {
            name: UncertainClassifier.from_pretrained(workspace / "runs" / name)
            for name in ("tokens-0", "multi-label-0")
        }
        tests = {
            name: classifiers[model].single_predictions(classifiers[model].features(f"{data}:test"))
            for name, model, data in (("tokens", "tokens-0", "words"), ("multi-label", "multi-label-0", "labels"))
        }
    by_name = {(c.study, c.model.name, c.data.name, c.score): result for c, result in results.items()}
    return by_name, classifiers, tests


def test_single_predictions_of_token_classification_are_words(results):
    by_name, _, tests = results
    result = by_name["scores", "tokens", "words", "entropy"]
    assert result["examples"]["test"] == len(tests["tokens"])
    assert by_name["scores", "tokens", "words", HEAD]["measures"]["ece"]["value"] < 0.1


def test_entities_have_aggregated_scores_and_their_own_calibration_maps(results):
    by_name, classifiers, tests = results
    entities = classifiers["tokens-0"].groups(tests["tokens"])["entities"]
    result = by_name["entities", "tokens", "words", "entropy, mean"]
    assert result["examples"]["test"] == len(entities)
    p = np.exp(tests["tokens"].logits - tests["tokens"].logits.max(1, keepdims=True)).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    expected = roc_auc(entities.errors, entities.aggregate(-(p * np.log(p)).sum(1) / np.log(3), "mean"))
    assert result["measures"]["roc_auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert "ece_platt" in result["measures"]
    assert result["against"]["entropy"]["roc_auc"] == pytest.approx(0, abs=1e-9)
    assert "measures" in by_name["entities", "tokens", "words", f"{HEAD}, mean"]
    assert "not a probability" in by_name["entities", "tokens", "words", "max logit, product"]["skipped"]
    sentences = by_name["sentences", "tokens", "words", f"{HEAD}, product"]
    assert sentences["examples"]["test"] == 120
    assert "form no texts" in by_name["texts", "tokens", "words", "entropy, max"]["skipped"]


def test_a_head_is_transferred_to_other_words(results):
    assert "measures" in results[0]["transfer", "tokens", "words", "entropy"]


def test_multi_label_classification_has_labels_and_texts(results):
    by_name, _, tests = results
    assert by_name["scores", "multi-label", "labels", "entropy"]["examples"]["test"] == len(tests["multi-label"]) == 360
    assert by_name["scores", "multi-label", "labels", HEAD]["measures"]["ece"]["value"] < 0.1
    assert "one label per text" in by_name["scores", "multi-label", "labels", f"{HEAD} (paper)"]["skipped"]
    text = by_name["texts", "multi-label", "labels", f"{HEAD}, product"]
    assert text["examples"]["test"] == 120
    assert "ece_platt" in text["measures"]
    assert "measures" in by_name["texts", "multi-label", "labels", "entropy, product"]


def test_a_language_model_uses_the_prompt_of_the_data_set(results):
    by_name = results[0]
    assert "measures" in by_name["scores", "lm", "reviews", "contextual calibration"]
    assert "'no-prompt' has no prompt" in by_name["scores", "lm", "no-prompt", "entropy"]["error"]
    assert by_name["scores", "lm", "reviews", "entropy"]["cell"]["data"]["prompt"]["template"] == "{text} is"
    assert "prompt" not in by_name["scores", "tokens", "words", "entropy"]["cell"]["data"]


def test_labeled_sentences_cannot_be_split_again(workspace, monkeypatch):
    from aligned_entropy.bench.runs import DataSpec, split_texts

    monkeypatch.setenv("ALIEN_DATA", str(workspace / "data"))
    with pytest.raises(DataError, match="words: resplit needs texts with one label each"):
        split_texts(DataSpec("words", resplit=True), 0)
