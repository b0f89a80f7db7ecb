"""UncertainClassifier from texts to a saved head: what users do, on a classifier that takes a second to train."""

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, pipeline

from aligned_entropy import (
    DataError,
    FitConfig,
    HeadMismatchError,
    NotFittedError,
    UncertainClassifier,
    UnsupportedModelError,
)
from aligned_entropy.backbones import Backbone
from aligned_entropy.backbones.extras import dropout_passes, token_states
from aligned_entropy.evaluation.fitted_scores import BASELINES
from aligned_entropy.head.scoring import log_entropy
from aligned_entropy.metrics import CALIBRATION, RANKING, ece
from aligned_entropy.saved.format import head_fingerprint, save_head
from aligned_entropy.scores import HEAD, SCORES
from aligned_entropy.selective import Goal, Rule, Threshold
from fixtures import sentiment, tiny
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=(300.0,))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture
def labeled():
    return named(400, 2)


@pytest.fixture
def fitted(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labeled, config=QUICK)
    return classifier


def test_before_a_fit_the_score_is_the_predictive_entropy(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    predictions = classifier.predict(["a great film", "it was dull and cold", "?"])
    p = predictions.probabilities
    np.testing.assert_allclose(predictions.uncertainty, -(p * np.log(p)).sum(1) / np.log(2), atol=1e-5)
    with pytest.raises(NotFittedError, match="fit"):
        _ = predictions.error_probability
    with pytest.raises(NotFittedError, match="untrained head cannot be saved"):
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


def test_fitting_never_changes_the_answers(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    before = copy.deepcopy(classifier.backbone.model.state_dict())
    probabilities = classifier.predict(labeled["text"]).probabilities
    classifier.fit(labeled, config=QUICK)
    assert np.array_equal(classifier.predict(labeled["text"]).probabilities, probabilities)
    assert all(torch.equal(v, before[k]) for k, v in classifier.backbone.model.state_dict().items())


def test_rows_of_predictions_are_predictions(fitted):
    texts = sentiment.texts(5, 7)[0]
    whole = fitted.predict(texts)
    for rows in (slice(0, 1), slice(None, None, -2), slice(9, None)):
        part = whole[rows]
        assert part.to_pandas().equals(whole.to_pandas().iloc[rows].reset_index(drop=True))
    assert replace(whole, optional_error_probability=None)[:2].optional_error_probability is None


def test_texts_may_come_one_by_one(fitted):
    texts = sentiment.texts(5, 7)[0]
    assert fitted.predict(text for text in texts).to_pandas().equals(fitted.predict(texts).to_pandas())


def test_of_a_model_that_overflows_nothing_is_known(fitted):
    bias = fitted.backbone.model.bert.pooler.dense.bias
    with torch.no_grad():
        kept = bias.clone()
        bias[0] = float("nan")
        said = fitted.predict(["a film"])
        bias.copy_(kept)
    assert np.isnan([said.uncertainty, said.error_probability]).all()


@pytest.mark.parametrize("change", ["scaled", "exchanged"])
def test_a_classification_module_that_was_changed(fitted, labeled, change):
    backbone, untrained = fitted.backbone, UncertainClassifier(fitted.backbone)
    if change == "scaled":
        backbone.model.classifier.weight.data.mul_(1.3)
    else:
        backbone.model.classifier = torch.nn.Linear(backbone.width, 2)
    for use in (fitted.predict, lambda texts: fitted.evaluate(labeled), lambda texts: fitted.attach()):
        with pytest.raises(
            HeadMismatchError,
            match="the head was made for another classification module 'classifier' or other adapters",
        ):
            use(["a film"])
    said = untrained.predict(labeled["text"])
    entropy = log_entropy(torch.tensor(said.probabilities).log()).exp()
    np.testing.assert_allclose(said.uncertainty, entropy, atol=1e-5)
    fitted.fit(labeled, config=QUICK)
    assert len(fitted.predict(labeled["text"]).error_probability) == 400


def test_something_that_is_no_text_is_refused(fitted):
    with pytest.raises(DataError, match="text 1 is a int"):
        fitted.predict(["fine", 5])


MAPPED = {"ece_platt", "ece_isotonic", "smooth_ece_platt", "smooth_ece_isotonic"}
UNTRAINED = {"softmax response", "entropy", "margin"}
SCALED = {"temperature-scaled softmax response", "temperature-scaled entropy"}


def aucs(evaluation):
    return [row["roc_auc"].value for row in evaluation.table.values()]


def test_evaluate_compares_with_the_untrained_scores(fitted):
    evaluation = fitted.evaluate(named(500, 3), resamples=50)
    assert set(evaluation.table) == UNTRAINED | SCALED | {"aligned entropy"}
    assert aucs(evaluation) == sorted(aucs(evaluation), reverse=True)
    assert evaluation.p_values[next(iter(evaluation.table))] == 1
    for row in evaluation.table.values():
        assert set(row) == {*RANKING, *CALIBRATION} | MAPPED
        assert all(i.low <= i.high for i in row.values())
    assert evaluation.table["aligned entropy"]["roc_auc"].value > 0.6
    assert json.loads(json.dumps(evaluation.to_dict()))["examples"] == 500
    assert "aligned entropy" in str(evaluation)
    untrained = UncertainClassifier(fitted.backbone).evaluate(named(500, 3), resamples=50)
    assert set(untrained.table) == UNTRAINED | {"aligned entropy"}
    assert not any(MAPPED & set(row) for row in untrained.table.values())  # no calibration set, no maps
    assert untrained.table["aligned entropy"]["roc_auc"] == untrained.table["entropy"]["roc_auc"]


def test_scores_that_are_asked_for_are_fitted_on_the_sets_that_are_given(fitted, labeled):
    test, train = named(500, 3), named(600, 1)
    asked = ["Mahalanobis", "energy", "temperature-scaled entropy"]
    evaluation = fitted.evaluate(test, scores=asked, train=train, calibration=labeled, resamples=10)
    assert set(evaluation.table) == {*asked, "aligned entropy"}  # a fitted head is always among them
    assert not evaluation.skipped
    for name, row in evaluation.table.items():
        unit = name.endswith("entropy")
        assert set(row) == {*RANKING, *(CALIBRATION if unit else ())} | MAPPED
    own = SCORES["Mahalanobis"](fitted.backbone.copy_classification_module()).fit(fitted.features(train))
    np.testing.assert_allclose(evaluation.scores["Mahalanobis"], own.score(fitted.features(test)))
    other = fitted.evaluate(test, scores=asked, train=named(600, 8), calibration=named(400, 9), resamples=10)
    for name in ("Mahalanobis", "temperature-scaled entropy"):
        assert not np.allclose(evaluation.scores[name], other.scores[name])
    assert np.array_equal(evaluation.scores["energy"], other.scores["energy"])
    assert evaluation.table["energy"]["ece_platt"] != other.table["energy"]["ece_platt"]


def test_the_mapped_measures_are_those_of_the_mapped_scores(fitted):
    evaluation = fitted.evaluate(named(500, 3), resamples=10)
    fitted_maps = {name: rival.maps for name, rival in fitted.saved.baselines.items()} | {HEAD: fitted.saved.maps}
    for name, row in evaluation.table.items():
        for kind, probability in fitted_maps[name].probabilities(evaluation.scores[name]).items():
            assert row[f"ece_{kind}"].value == pytest.approx(ece(evaluation.errors, probability))
    entropy = evaluation.table["entropy"]
    assert max(entropy[measure].value for measure in MAPPED) < entropy["ece"].value / 2


def test_what_a_score_lacks_is_said(fitted):
    asked = ["entropy", "temperature-scaled entropy", "Mahalanobis", "deep ensemble PV", "MC dropout PV"]
    evaluation = fitted.evaluate(named(300, 3), scores=asked, resamples=10)
    assert set(evaluation.table) == {"entropy", "aligned entropy"}
    reasons = {
        "temperature-scaled entropy": "needs labeled calibration features",
        "Mahalanobis": "needs labeled train features",
        "deep ensemble PV": "hold no members",
        "MC dropout PV": "BertForSequenceClassification has no dropout",
    }
    assert set(evaluation.skipped) == set(reasons)
    for name, reason in reasons.items():
        assert reason in evaluation.skipped[name]
        assert f"skipped: {name}. {evaluation.skipped[name]}" in " ".join(str(evaluation).split())


def test_a_score_that_was_measured_is_not_said_to_be_skipped(fitted):
    evaluation = fitted.evaluate(named(300, 3), scores=["aligned entropy", "entropy"], resamples=10)
    assert set(evaluation.table) == {"aligned entropy", "entropy"}
    assert evaluation.skipped == {}


def test_a_fitted_head_is_measured_as_it_is_and_not_fitted_again(fitted):
    test = named(300, 3)
    evaluation = fitted.evaluate(test, scores=["aligned entropy"], calibration=named(300, 9), resamples=10)
    np.testing.assert_allclose(evaluation.scores[HEAD], fitted.predict(test["text"]).uncertainty, atol=1e-6)


def test_evaluate_is_evaluate_features_of_the_features(fitted, labeled):
    test, train = named(300, 3), named(300, 1)
    options = {"scores": ["entropy", "relative Mahalanobis", "attention probe"], "resamples": 10}
    first = fitted.evaluate(test, train=train, calibration=labeled, **options)
    assert "attention probe" in first.table
    second = fitted.evaluate_features(
        fitted.features(test, extras={"states"}),
        train=fitted.features(train),
        calibration=fitted.features(labeled, extras={"states"}),
        **options,
    )
    assert first.to_dict() == second.to_dict()


def test_features_carry_the_extras_that_are_asked_for(fitted, labeled):
    progress = []
    plain = fitted.features(labeled)
    assert plain.states is None
    assert plain.passes is None
    assert not plain.absent
    found = fitted.features(labeled, progress.append, extras=("states",))
    assert sum(progress) == 2 * len(labeled["text"])
    assert np.array_equal(found.states, token_states(fitted.backbone, labeled["text"]))
    assert np.array_equal(found.hidden, plain.hidden)
    assert np.array_equal(found.labels, plain.labels)


def test_passes_with_dropout_become_scores():
    classifier = UncertainClassifier(Backbone(tiny.model("Bert"), tiny.tokenizer()))
    labels = np.arange(len(tiny.TEXTS)) % 3
    data = {"text": tiny.TEXTS, "label": labels.tolist()}
    asked = ["MC dropout SMP", "MC dropout PV", "MC dropout BALD"]
    evaluation = classifier.evaluate(data, scores=asked, resamples=10)
    assert set(evaluation.table) == set(asked)
    p = torch.tensor(dropout_passes(classifier.backbone, tiny.TEXTS)).softmax(-1)
    np.testing.assert_allclose(evaluation.scores["MC dropout SMP"], 1 - p.mean(1).amax(1).numpy(), atol=1e-6)
    assert (evaluation.scores["MC dropout PV"] > 1e-4).all()


def test_a_saved_head_brings_its_rivals_and_maps_along(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert list(again.saved.baselines) == list(fitted.saved.baselines) == list(BASELINES)
    pairs = [(fitted.saved.maps, again.saved.maps)]
    for name, rival in fitted.saved.baselines.items():
        assert again.saved.baselines[name].score.state == rival.score.state
        pairs.append((rival.maps, again.saved.baselines[name].maps))
    for before, after in pairs:
        assert np.array_equal(before.platt, after.platt)
        assert np.array_equal(before.isotonic, after.isotonic)
    assert len({maps.platt.tobytes() for maps, _ in pairs}) >= 4  # each has its own
    test = named(300, 3)
    first, second = (classifier.evaluate(test, resamples=10) for classifier in (fitted, again))
    assert first.to_dict() == second.to_dict()


def test_a_head_without_rivals_and_maps_is_saved_and_evaluated_too(fitted, model_folder, tmp_path):
    save_head(replace(fitted.saved, baselines={}, maps=None), tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert again.saved.baselines == {}
    assert again.saved.maps is None
    evaluation = again.evaluate(named(300, 3), resamples=10)
    assert set(evaluation.table) == UNTRAINED | {"aligned entropy"}
    assert not MAPPED & set(evaluation.table["aligned entropy"])


@pytest.mark.parametrize("config", [QUICK, FitConfig.paper()])
@pytest.mark.parametrize("reference", [False, True])
def test_a_saved_head_says_the_same(model_folder, labeled, tmp_path, config, reference):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    known = named(600, 1) if reference else None
    classifier.fit(labeled, config=config, reference=known)
    classifier.save_pretrained(tmp_path / "head")
    assert {p.name for p in (tmp_path / "head").iterdir()} == {"config.json", "head.safetensors", "README.md"}
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    first, second = classifier.predict(labeled["text"]), again.predict(labeled["text"])
    assert np.array_equal(first.uncertainty, second.uncertainty)
    assert np.array_equal(first.error_probability, second.error_probability)
    evaluated = again.evaluate(named(300, 3), resamples=20)
    assert "temperature-scaled entropy" in evaluated.table


def test_a_head_survives_half_precision(fitted, model_folder, labeled, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    half = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head", dtype=torch.bfloat16)
    predictions = half.predict(labeled["text"])
    assert predictions.error_probability.dtype == np.float32
    assert np.corrcoef(predictions.error_probability, fitted.predict(labeled["text"]).error_probability)[0, 1] > 0.95


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


def test_a_head_of_another_architecture_is_refused_before_anything_of_it_is_used(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    tiny.model("Llama").save_pretrained(tmp_path / "llama")
    tiny.tokenizer("decoder").save_pretrained(tmp_path / "llama")
    message = r"fitted for a BertForSequenceClassification \(.*\), but this model is a LlamaForSequenceClassification"
    with pytest.raises(HeadMismatchError, match=message):
        UncertainClassifier.from_pretrained(tmp_path / "llama", head=tmp_path / "head")
    with pytest.raises(HeadMismatchError, match=message):
        UncertainClassifier.from_pretrained(tmp_path / "llama").load_head(tmp_path / "head")


def test_a_head_that_is_saved_over_another(fitted, labeled, model_folder, tmp_path):
    """Who has loaded the old one keeps it; half of each is no head."""
    fitted.save_pretrained(tmp_path / "head")
    kept = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert head_fingerprint(kept.saved) == head_fingerprint(fitted.saved)
    before = kept.predict(labeled["text"]).uncertainty
    other = UncertainClassifier.from_pretrained(model_folder)
    other.fit({name: values[:200] for name, values in labeled.items()}, config=QUICK)
    config = (tmp_path / "head" / "config.json").read_text()
    other.save_pretrained(tmp_path / "head")
    assert head_fingerprint(other.saved) != head_fingerprint(kept.saved)
    assert np.array_equal(kept.predict(labeled["text"]).uncertainty, before)
    assert {p.name for p in (tmp_path / "head").iterdir()} == {"config.json", "head.safetensors", "README.md"}
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert head_fingerprint(again.saved) == head_fingerprint(other.saved)
    (tmp_path / "head" / "config.json").write_text(config)
    with pytest.raises(HeadMismatchError, match=r"does not belong to its config\.json"):
        UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")


def test_a_threshold_is_part_of_what_a_head_says(fitted, labeled):
    own, rule = copy.copy(fitted), Rule(Goal(coverage=0.5), {"": Threshold(0.3, 1, 1, 0, 1.0, 0.0, "")})
    own.saved = replace(fitted.saved, rule=rule)
    assert head_fingerprint(own.saved) != head_fingerprint(fitted.saved)


@pytest.mark.parametrize("head", ["fitted", "untrained"])
def test_an_answer_that_is_not_finite_has_no_uncertainty(fitted, model_folder, head):
    rule = Rule(Goal(coverage=0.5), {"": Threshold(1.0, 1, 1, 0, 1.0, 0.0, "")})  # accepts whatever has one
    own = copy.copy(fitted) if head == "fitted" else UncertainClassifier.from_pretrained(model_folder)
    own.saved = replace(own.saved, rule=rule) if head == "fitted" else own.saved
    features = own.features(named(300, 3))
    logits = features.logits.copy()
    logits[3, 0], logits[5, 1] = np.inf, np.nan
    said = own.predict_features(replace(features, logits=logits))
    assert np.flatnonzero(np.isnan(said.uncertainty)).tolist() == [3, 5]
    if head == "fitted":
        assert np.flatnonzero(np.isnan(said.error_probability)).tolist() == [3, 5]
        assert np.flatnonzero(~said.accepted).tolist() == [3, 5]
    with pytest.raises(DataError, match=r"not finite in 2 of \d+ rows \(3, 5\): remove these rows"):
        own.evaluate_features(replace(features, logits=logits), resamples=10)


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


def test_a_head_never_overwrites_a_model(fitted, model_folder, tmp_path):
    for name in ("model", "adapter"):
        place = tmp_path / name
        place.mkdir()
        config = "config.json" if name == "model" else "adapter_config.json"
        (place / config).write_text('{"model_type": "bert"}')
        with pytest.raises(DataError, match="holds a model, whose files would be overwritten: name another folder"):
            fitted.save_pretrained(place)
        assert [path.name for path in place.iterdir()] == [config]


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_a_head_overwrites_only_the_files_of_a_head(fitted, tmp_path, name):
    place = tmp_path / "place"
    place.mkdir()
    (place / name).write_text("{}")
    with pytest.raises(DataError, match=f"holds {name} of something else, which would be overwritten"):
        fitted.save_pretrained(place)
    assert [path.name for path in place.iterdir()] == [name]
    for _ in range(2):
        fitted.save_pretrained(tmp_path / "head")


def test_under_autocast_a_head_computes_in_float32(fitted, labeled):
    """A trainer that evaluates in half precision calls the model there, and what is attached with it."""
    classifier, texts = copy.copy(fitted), labeled["text"][:64]
    features = classifier.features({name: values[:64] for name, values in labeled.items()})
    expected = classifier.predict_features(features).uncertainty
    inputs = batch(classifier, texts)
    classifier.attach()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            again = classifier.predict_features(features).uncertainty
            output = classifier.backbone.model(**inputs)
    finally:
        classifier.detach()
    assert np.array_equal(again, expected)
    with torch.no_grad():
        views = {name: values.clone() for name, values in output.views.items()}
        own = fitted.head(output.hidden.float(), output.logits.float(), views)
    torch.testing.assert_close(output.uncertainty, own, atol=1e-6, rtol=0)


def test_modules_with_whole_numbers_and_models_that_look_for_an_end(labeled, model_folder):
    from transformers import BartConfig, BartForSequenceClassification

    own = AutoModelForSequenceClassification.from_pretrained(model_folder)
    own.classifier = torch.nn.Sequential(torch.nn.BatchNorm1d(own.classifier.in_features), own.classifier).eval()
    classifier = UncertainClassifier(Backbone(own, sentiment.tokenizer()))
    classifier.fit(labeled, config=QUICK)
    assert np.isfinite(classifier.predict(labeled["text"][:3]).uncertainty).all()
    config = BartConfig(
        vocab_size=tiny.config("Bert").vocab_size, d_model=16, encoder_layers=1, decoder_layers=1, num_labels=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        pad_token_id=tiny.tokenizer().pad_token_id, eos_token_id=tiny.tokenizer().sep_token_id,
        id2label=dict(enumerate(sentiment.NAMES)),
    )  # fmt: skip
    torch.manual_seed(0)
    model = BartForSequenceClassification(config).eval()
    own = UncertainClassifier(Backbone(model, tiny.tokenizer(), classification_module="classification_head"))
    flipped = np.random.default_rng(0).random(400) < 0.3
    said = np.where(flipped, np.array(sentiment.NAMES)[::-1][own.predict(labeled["text"]).classes], "")
    said = np.where(flipped, said, own.predict(labeled["text"]).labels)
    own.fit({"text": labeled["text"], "label": said.tolist()}, config=QUICK)
    assert own.saved.probe["input_ids"].shape == (4, 9)
    assert np.isfinite(own.predict(labeled["text"][:3]).error_probability).all()


def test_push_and_load_from_a_hub(fitted, model_folder, labeled, tmp_path, monkeypatch):
    """The hub is a folder here: uploads and downloads are copies."""
    import huggingface_hub

    hub = tmp_path / "hub"

    def create_repo(self, repo_id, **_):
        (hub / repo_id).mkdir(parents=True, exist_ok=True)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)

    def list_repo_files(self, repo_id):
        return [path.name for path in (hub / repo_id).iterdir()]

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, **_: str(hub / repo_id))
    assert "team/head" in fitted.push_to_hub("team/head")
    card = (hub / "team/head" / "README.md").read_text()
    assert "library_name: aligned-entropy" in card
    assert "base_model" not in card  # a local path is no hub id
    again = UncertainClassifier.from_pretrained(model_folder, head="team/head")
    assert np.array_equal(again.predict(labeled["text"]).uncertainty, fitted.predict(labeled["text"]).uncertainty)
    assert "team/head" in fitted.push_to_hub("team/head"), "a head may be replaced"
    shutil.copytree(model_folder, hub / "team/model")
    with pytest.raises(DataError, match="repository team/model holds a model"):
        fitted.push_to_hub("team/model")


def test_label_columns_and_maps_reach_the_data(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    data = datasets.Dataset.from_dict(
        {"review": labeled["text"], "stars": ["up" if label == "positive" else "down" for label in labeled["label"]]}
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
    with pytest.raises(ValueError, match=r"return_dict=False.*cannot carry"):
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


def test_features_are_reused(model_folder, labeled, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labeled, config=QUICK)

    def refuse(self, *_):
        raise AssertionError("the model ran again")

    again = UncertainClassifier.from_pretrained(model_folder)
    monkeypatch.setattr(Backbone, "extract", refuse)
    assert len(again.features(labeled)) == 400
