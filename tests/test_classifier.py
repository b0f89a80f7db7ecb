"""UncertainClassifier from texts to a saved head: what users do, on a classifier that takes a second to train."""

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pytest
import sentiment
import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, pipeline

from aligned_entropy import (
    AlignedEntropyError,
    DataError,
    FitConfig,
    HeadMismatchError,
    NotFittedError,
    UncertainClassifier,
    UnsupportedModelError,
    register_pipeline,
)
from aligned_entropy.backbones import Backbone
from aligned_entropy.scoring import log_entropy

QUICK = FitConfig(folds=3, betas=(300.0,))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def labelled():
    texts, labels = sentiment.texts(400, 2)
    return {"text": texts, "label": [sentiment.NAMES[label] for label in labels]}


@pytest.fixture
def fitted(model_folder, labelled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labelled, config=QUICK)
    return classifier


def test_before_a_fit_the_score_is_the_predictive_entropy(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    predictions = classifier.predict(["a great film", "it was dull and cold", ""])
    p = predictions.probabilities
    np.testing.assert_allclose(predictions.uncertainty, -(p * np.log(p)).sum(1) / np.log(2), atol=1e-5)
    with pytest.raises(NotFittedError, match="fit"):
        _ = predictions.error_probability
    with pytest.raises(NotFittedError, match="nothing to save"):
        classifier.save_pretrained("nowhere")
    assert not Path("nowhere").exists()


def test_predictions_are_arrays_and_rows(fitted):
    predictions = fitted.predict(["a great film", "it was dull and cold"])
    assert predictions.labels.tolist() == ["positive", "negative"]
    assert [row.label for row in predictions] == ["positive", "negative"]
    assert predictions[1].uncertainty == pytest.approx(float(predictions.uncertainty[1]))
    assert predictions.probabilities.shape == (2, 2)
    assert ((predictions.error_probability >= 0) & (predictions.error_probability <= 1)).all()
    columns = ["label", "uncertainty", "error_probability", "probability_negative", "probability_positive"]
    assert list(predictions.to_pandas().columns) == columns
    assert predictions.to_arrow().column_names == columns
    assert len(fitted.predict([])) == 0
    assert len(fitted.predict("a great film")) == 1


def test_fitting_never_changes_the_answers(model_folder, labelled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    before = copy.deepcopy(classifier.backbone.model.state_dict())
    probabilities = classifier.predict(labelled["text"]).probabilities
    classifier.fit(labelled, config=QUICK)
    assert np.array_equal(classifier.predict(labelled["text"]).probabilities, probabilities)
    assert all(torch.equal(v, before[k]) for k, v in classifier.backbone.model.state_dict().items())


def test_something_that_is_no_text_is_refused(fitted):
    with pytest.raises(DataError, match="text 1 is a int"):
        fitted.predict(["fine", 5])


def test_evaluate_compares_with_the_untrained_scores(fitted):
    texts, labels = sentiment.texts(500, 3)
    evaluation = fitted.evaluate({"text": texts, "label": labels.tolist()}, resamples=50)
    assert list(evaluation.table) == [
        "softmax response",
        "entropy",
        "margin",
        "temperature-scaled softmax response",
        "temperature-scaled entropy",
        "aligned entropy",
    ]
    for row in evaluation.table.values():
        assert set(row) == {"roc_auc", "pr_auc", "aurc", "ece", "brier", "nll", "ece_calibrated"}
        assert all(i.low <= i.high for i in row.values())
    assert evaluation.table["aligned entropy"]["roc_auc"].value > 0.6
    assert json.loads(json.dumps(evaluation.to_dict()))["examples"] == 500
    assert "aligned entropy" in str(evaluation)
    untrained = UncertainClassifier(fitted.backbone).evaluate({"text": texts, "label": labels.tolist()}, resamples=50)
    assert list(untrained.table) == ["softmax response", "entropy", "margin", "aligned entropy"]


@pytest.mark.parametrize("config", [QUICK, FitConfig.paper()])
@pytest.mark.parametrize("reference", [False, True])
def test_a_saved_head_says_the_same(model_folder, labelled, tmp_path, config, reference):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    texts, labels = sentiment.texts(600, 1)
    known = {"text": texts, "label": labels.tolist()} if reference else None
    classifier.fit(labelled, config=config, reference=known)
    classifier.save_pretrained(tmp_path / "head")
    assert {p.name for p in (tmp_path / "head").iterdir()} == {"config.json", "head.safetensors", "README.md"}
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    first, second = classifier.predict(labelled["text"]), again.predict(labelled["text"])
    assert np.array_equal(first.uncertainty, second.uncertainty)
    assert np.array_equal(first.error_probability, second.error_probability)
    evaluated = again.evaluate(labelled, resamples=20)
    assert "temperature-scaled entropy" in evaluated.table


def test_a_head_survives_half_precision(fitted, model_folder, labelled, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    half = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head", dtype=torch.bfloat16)
    predictions = half.predict(labelled["text"])
    assert predictions.error_probability.dtype == np.float32
    assert np.corrcoef(predictions.error_probability, fitted.predict(labelled["text"]).error_probability)[0, 1] > 0.95


@pytest.mark.parametrize(("part", "name"), [("encoder", "encoder"), ("classifier", "classifier")])
def test_a_changed_model_is_refused(fitted, model_folder, tmp_path, part, name):
    fitted.save_pretrained(tmp_path / "head")
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    torch.manual_seed(5)
    with torch.no_grad():
        changed = model.bert.encoder if part == "encoder" else model.classifier
        for parameter in changed.parameters():
            parameter.add_(torch.randn_like(parameter))
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    model.save_pretrained(other)
    with pytest.raises(HeadMismatchError, match=f"the {name} of .*other.*sentiment"):
        UncertainClassifier.from_pretrained(other, head=tmp_path / "head")


def test_broken_heads_are_refused(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    with pytest.raises(HeadMismatchError, match="holds no head"):
        UncertainClassifier.from_pretrained(model_folder, head=model_folder)
    damaged = tmp_path / "damaged"
    shutil.copytree(tmp_path / "head", damaged)
    tensors = damaged / "head.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:200])
    with pytest.raises(HeadMismatchError, match="damaged"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)
    (damaged / "config.json").write_text("{}")
    with pytest.raises(HeadMismatchError, match="not the config of a head"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)
    (damaged / "config.json").write_text('{"format": 99}')
    with pytest.raises(HeadMismatchError, match="format 99"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)


def test_names_that_lead_nowhere_are_refused(model_folder, tmp_path):
    with pytest.raises(UnsupportedModelError, match="nosuchmodel"):
        UncertainClassifier.from_pretrained("nosuchmodel")
    with pytest.raises(UnsupportedModelError, match="no folder"):
        UncertainClassifier.from_pretrained(tmp_path / "gone")
    with pytest.raises(HeadMismatchError, match="nosuchhead"):
        UncertainClassifier.from_pretrained(model_folder, head="nosuchhead")


def test_push_and_load_from_a_hub(fitted, model_folder, labelled, tmp_path, monkeypatch):
    """The hub is a folder here: uploads and downloads are copies."""
    import huggingface_hub

    hub = tmp_path / "hub"

    def create_repo(self, repo_id, **_):
        (hub / repo_id).mkdir(parents=True)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, **_: str(hub / repo_id))
    assert "team/head" in fitted.push_to_hub("team/head")
    card = (hub / "team/head" / "README.md").read_text()
    assert "library_name: aligned-entropy" in card
    assert "base_model" not in card  # a local path is no hub id
    again = UncertainClassifier.from_pretrained(model_folder, head="team/head")
    assert np.array_equal(again.predict(labelled["text"]).uncertainty, fitted.predict(labelled["text"]).uncertainty)


def test_label_columns_and_maps_reach_the_data(model_folder, labelled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    data = datasets.Dataset.from_dict(
        {"review": labelled["text"], "stars": ["up" if label == "positive" else "down" for label in labelled["label"]]}
    )
    result = classifier.fit(
        data, text_column="review", label_column="stars", label_map={"up": "positive", "down": "negative"}, config=QUICK
    )
    assert result.summary.examples == 400


# ---------------------------------------------------------------------------------------------------------------
# Attached to the model
# ---------------------------------------------------------------------------------------------------------------


def batch(classifier, texts):
    return classifier.backbone.pad(classifier.backbone.tokenize(texts))


def test_attached_the_output_carries_the_uncertainty(fitted):
    texts = ["a great film", "it was dull and cold"]
    model, inputs = fitted.backbone.model, batch(fitted, texts)
    assert not hasattr(model(**inputs), "uncertainty")
    fitted.attach()
    output = model(**inputs)
    expected = fitted.predict(texts)
    np.testing.assert_allclose(output.uncertainty.numpy(), expected.uncertainty, atol=1e-6)
    np.testing.assert_allclose(output.error_probability.numpy(), expected.error_probability, atol=1e-6)
    assert "uncertainty" not in output.keys()  # noqa: SIM118
    fitted.detach()
    assert not hasattr(model(**inputs), "uncertainty")


def test_attached_an_untrained_head_gives_the_entropy_of_the_logits(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder).attach()
    output = classifier.backbone.model(**batch(classifier, ["a great film", "a story"]))
    torch.testing.assert_close(output.uncertainty, log_entropy(output.logits).exp(), atol=1e-6, rtol=1e-5)
    assert not hasattr(output, "error_probability")


def test_attached_a_tuple_is_refused_with_the_reason(fitted):
    model, inputs = fitted.backbone.model, batch(fitted, ["a film"])
    assert isinstance(model(**inputs, return_dict=False), tuple)
    fitted.attach()
    with pytest.raises(ValueError, match=r"return_dict=False.*no place"):
        model(**inputs, return_dict=False)
    fitted.detach()


def test_attached_concurrent_callers_get_their_own_rows(fitted):
    texts, _ = sentiment.texts(64, 9)
    expected = fitted.predict(texts).uncertainty
    fitted.attach()

    def call(row):
        with torch.no_grad():
            return float(fitted.backbone.model(**batch(fitted, [texts[row]])).uncertainty)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            np.testing.assert_allclose(list(pool.map(call, range(64))), expected, atol=1e-5)
    fitted.detach()


def test_attached_the_trainer_sees_what_it_always_saw(fitted, tmp_path):
    texts, labels = sentiment.texts(20, 4)
    encoded = fitted.backbone.tokenize(texts)
    rows = [{k: v[i] for k, v in encoded.items()} | {"labels": int(labels[i])} for i in range(20)]
    seen = []

    def metrics(prediction):
        seen.append(prediction.predictions)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    def predict():
        arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], disable_tqdm=True, use_cpu=True)
        trainer = Trainer(
            fitted.backbone.model, arguments, processing_class=fitted.backbone.tokenizer, compute_metrics=metrics
        )
        return trainer.predict(rows)

    plain = predict()
    fitted.attach()
    attached = predict()
    fitted.detach()
    assert isinstance(attached.predictions, np.ndarray)
    assert np.array_equal(plain.predictions, attached.predictions)
    assert np.array_equal(seen[0], seen[1])
    assert plain.metrics["test_accuracy"] == attached.metrics["test_accuracy"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_attached_a_plain_pipeline_answers_as_before(fitted, batch_size):
    texts, _ = sentiment.texts(10, 5)
    pipe = pipeline("text-classification", model=fitted.backbone.model, tokenizer=fitted.backbone.tokenizer)
    plain = pipe(texts, batch_size=batch_size)
    fitted.attach()
    assert pipe(texts, batch_size=batch_size) == plain
    fitted.detach()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_registered_pipeline_carries_the_uncertainty(fitted, model_folder, tmp_path, batch_size):
    register_pipeline()
    fitted.save_pretrained(tmp_path / "head")
    texts, _ = sentiment.texts(10, 6)
    pipe = pipeline("uncertain-text-classification", model=str(model_folder), head=str(tmp_path / "head"))
    answers = pipe(texts, batch_size=batch_size)
    expected = fitted.predict(texts)
    assert [answer["label"] for answer in answers] == expected.labels.tolist()
    np.testing.assert_allclose([a["uncertainty"] for a in answers], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose([a["error_probability"] for a in answers], expected.error_probability, atol=1e-5)
    both = pipe(texts[0], top_k=None)
    assert len(both) == 2
    assert all("uncertainty" in answer for answer in both)
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


def test_features_are_reused(model_folder, labelled, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labelled, config=QUICK)

    def refuse(self, *_):
        raise AssertionError("the model ran again")

    again = UncertainClassifier.from_pretrained(model_folder)
    monkeypatch.setattr(Backbone, "extract", refuse)
    assert len(again.features(labelled)) == 400
