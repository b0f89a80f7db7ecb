"""Grids of tagged words, of texts with many labels, and of language models that answer by label words."""

import json
import shutil

import numpy as np
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.bench import cells
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
  tagger: {base: "tagger-{seed}"}
  many: {base: "many-{seed}"}
  lm: {base: lm, mode: prompt}
datasets:
  words:
  other: {label_map: {X: X}}
  labels:
  reviews: {prompt: {template: "{text} is", labels: {negative: bad, positive: good}}}
  asked:
grid:
  - {study: scores, models: [tagger], datasets: {words: 1}, scores: [entropy, max logit, aligned entropy]}
  - study: entities
    models: [tagger]
    datasets: {words: 1}
    scores: ["entropy, mean", "entropy, max", "max logit, product", "aligned entropy, mean"]
  - {study: sentences, models: [tagger], datasets: {words: 1}, scores: ["aligned entropy, product"]}
  - {study: texts, models: [tagger], datasets: {words: 1}, scores: ["entropy, max"]}
  - {study: transfer, models: [tagger], datasets: {words: 1}, domains: [words, other], scores: [entropy]}
  - {study: scores, models: [many], datasets: {labels: 1}, scores: [entropy, aligned entropy, aligned entropy (paper)]}
  - {study: texts, models: [many], datasets: {labels: 1}, scores: ["entropy, product", "aligned entropy, product"]}
  - {study: scores, models: [lm], datasets: {reviews: 1, asked: 1}, scores: [entropy, contextual calibration]}
"""


def write(folder, columns, split):
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))
    (folder / f"{split}.jsonl").write_text("\n".join(lines))


def drawn(logits, rng):
    """Classes as probable as the model says."""
    p = np.exp(logits - logits.max(-1, keepdims=True)).astype(np.float64)
    return ((p / p.sum(-1, keepdims=True)).cumsum(-1) > rng.random(p.shape[:-1])[..., None]).argmax(-1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    models = {
        "tagger-0": (tiny.token_classifier("Bert"), tiny.tokenizer()),
        "many-0": (tiny.model("Bert", problem_type="multi_label_classification"), tiny.tokenizer()),
        "lm": (tiny.language_model("Llama"), tiny.subwords()),
    }
    for name, parts in models.items():
        for part in parts:
            part.save_pretrained(folder / "runs" / name)
    tagger, many = (UncertainClassifier.from_pretrained(folder / "runs" / name) for name in ("tagger-0", "many-0"))
    for split in ("train", "validation", "test"):
        tokens = [rng.choice(tiny.WORDS, rng.integers(1, 8)).tolist() for _ in range(120)]
        words, texts = Words(tokens), [" ".join(words) for words in tokens]
        own = drawn(tagger.backbone.extract(words)[1], rng)
        tags = [[TAGS[own[row]] for row in range(*words.starts[i : i + 2])] for i in range(120)]
        write(folder / "data" / "words", {"tokens": tokens, "tags": tags}, split)
        yes = 1 / (1 + np.exp(-many.backbone.extract(texts)[1].astype(np.float64))) > rng.random((120, 3))
        labels = [[LABELS[i] for i in np.flatnonzero(row)] for row in yes]
        write(folder / "data" / "labels", {"text": texts, "labels": labels}, split)
        kinds = rng.choice(["negative", "positive"], 120).tolist()
        write(folder / "data" / "reviews", {"text": texts, "label": kinds}, split)
    for name, other in (("words", "other"), ("reviews", "asked")):
        shutil.copytree(folder / "data" / name, folder / "data" / other)
    (folder / "grid.yaml").write_text(GRID)
    return folder


@pytest.fixture(scope="module")
def results(place, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ALIEN_DATA", str(place / "data"))
        patch.setattr(cells, "RESAMPLES", 10)
        found = dict(Grid.read(place / "grid.yaml").run())
        classifiers = {
            name: UncertainClassifier.from_pretrained(place / "runs" / name) for name in ("tagger-0", "many-0")
        }
        tests = {
            name: classifiers[model].single_predictions(classifiers[model].features(f"{data}:test"))
            for name, model, data in (("tagger", "tagger-0", "words"), ("many", "many-0", "labels"))
        }
    return {(c.study, c.model.name, c.data.name, c.score): r for c, r in found.items()}, classifiers, tests


def test_words_are_the_rows_of_scores(results):
    found, _, tests = results
    result = found["scores", "tagger", "words", "entropy"]
    assert result["examples"]["test"] == len(tests["tagger"])
    assert found["scores", "tagger", "words", HEAD]["measures"]["ece"]["value"] < 0.1


def test_entities_have_aggregated_scores_and_maps_of_their_own(results):
    found, classifiers, tests = results
    wholes = classifiers["tagger-0"].wholes(tests["tagger"])["entities"]
    result = found["entities", "tagger", "words", "entropy, mean"]
    assert result["examples"]["test"] == len(wholes)
    p = np.exp(tests["tagger"].logits - tests["tagger"].logits.max(1, keepdims=True)).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    expected = roc_auc(wholes.errors, wholes.aggregate(-(p * np.log(p)).sum(1) / np.log(3), "mean"))
    assert result["measures"]["roc_auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert "ece_platt" in result["measures"]
    assert result["against"]["entropy"]["roc_auc"] == pytest.approx(0, abs=1e-9)
    assert "measures" in found["entities", "tagger", "words", f"{HEAD}, mean"]
    assert "no probability" in found["entities", "tagger", "words", "max logit, product"]["skipped"]
    sentences = found["sentences", "tagger", "words", f"{HEAD}, product"]
    assert sentences["examples"]["test"] == 120
    assert "make up no texts" in found["texts", "tagger", "words", "entropy, max"]["skipped"]


def test_a_head_is_carried_over_to_other_words(results):
    assert "measures" in results[0]["transfer", "tagger", "words", "entropy"]


def test_answers_and_texts_of_many_labels(results):
    found, _, tests = results
    assert found["scores", "many", "labels", "entropy"]["examples"]["test"] == len(tests["many"]) == 360
    assert found["scores", "many", "labels", HEAD]["measures"]["ece"]["value"] < 0.1
    assert "one label a text" in found["scores", "many", "labels", f"{HEAD} (paper)"]["skipped"]
    text = found["texts", "many", "labels", f"{HEAD}, product"]
    assert text["examples"]["test"] == 120
    assert "ece_platt" in text["measures"]
    assert "measures" in found["texts", "many", "labels", "entropy, product"]


def test_a_language_model_is_asked_by_the_prompt_of_the_data(results):
    found = results[0]
    assert "measures" in found["scores", "lm", "reviews", "contextual calibration"]
    assert "'asked' has no prompt" in found["scores", "lm", "asked", "entropy"]["error"]
    assert found["scores", "lm", "reviews", "entropy"]["cell"]["data"]["prompt"]["template"] == "{text} is"
    assert "prompt" not in found["scores", "tagger", "words", "entropy"]["cell"]["data"]


def test_tagged_sentences_are_not_divided_anew(place, monkeypatch):
    from aligned_entropy.bench.runs import DataSpec, split_texts

    monkeypatch.setenv("ALIEN_DATA", str(place / "data"))
    with pytest.raises(DataError, match="words: resplit divides texts of one label each"):
        split_texts(DataSpec("words", resplit=True), 0)
