"""Training a classifier: saved models load completely, and only the intended parameters are trained."""

import logging
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from aligned_entropy import ArgumentError, ArgumentTypeError, DataError, UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.data import LabeledTexts, labeled_texts
from aligned_entropy.finetune import Epoch, TrainConfig, train_classifier
from aligned_entropy.finetune.measures import TrainingMeter
from aligned_entropy.finetune.training import check_labels
from fixtures import tiny
from fixtures.cases import always

NAMES = ["bad", "fine", "good"]


def texts(count=90):
    rows = [f"{word} film" for word in ("bad", "fine", "good")] * (count // 3)
    return LabeledTexts([f"{row} {tiny.WORDS[i % 20]}" for i, row in enumerate(rows)], np.arange(count) % 3, NAMES)


def pretrained(kind, folder, **config):
    tokenizer = tiny.tokenizer_of(kind)
    tiny.model(kind, **config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "kind", ["Bert", "Roberta", "Electra", "DistilBert", "Albert", "DebertaV2", "ModernBert", "Llama", "Qwen3"]
)
def test_top_layers_are_trained_on_a_frozen_encoder(kind, tmp_path):
    source = pretrained(kind, tmp_path / "pretrained")
    progress = []
    train_classifier(
        source, texts(), tmp_path / "out", TrainConfig("freeze", epochs=40, learning_rate=1e-2), progress.append
    )
    assert sum(progress) == 90
    classifier = UncertainClassifier.from_pretrained(tmp_path / "out")
    assert classifier.label_names == NAMES
    features = classifier.features(texts())
    assert 1 - features.errors.mean() > 0.5  # chance is a third, since the encoder is random
    before = tiny.model(kind).base_model.state_dict()
    after = classifier.backbone.inner.base_model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if "pooler" not in name)


@pytest.mark.parametrize("mode", ["freeze", "full", "lora"])
def test_an_epoch_reports_loss_and_accuracy_on_the_training_set(mode, tmp_path):
    """With a learning rate of almost zero the model hardly changes, so its own predictions give the values."""
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    source = pretrained("Bert", tmp_path / "pretrained", **no_dropout)
    reports, progress = [], []
    config = TrainConfig(mode, epochs=2, learning_rate=1e-12, batch_size=25)
    train_classifier(source, texts(), tmp_path / "out", config, progress.append, reports.append)
    features = UncertainClassifier.from_pretrained(tmp_path / "out").features(texts())
    loss = torch.nn.functional.cross_entropy(torch.tensor(features.logits), torch.tensor(features.labels)).item()
    assert [(epoch.number, epoch.total) for epoch in reports] == [(1, 2), (2, 2)]
    for epoch in reports:
        assert epoch.accuracy == pytest.approx(1 - features.errors.mean())
        assert epoch.loss == pytest.approx(loss, rel=1e-4)
    assert sum(progress) == (90 if mode == "freeze" else 180)
    assert str(Epoch(2, 3, 0.51234, 0.8)) == "epoch 2 of 3: loss 0.5123, training accuracy 80.0%"


@pytest.mark.parametrize("mode", ["freeze", "full"])
def test_texts_that_are_not_read_completely_are_counted(mode, tmp_path):
    source, data = pretrained("Bert", tmp_path / "pretrained"), texts(30)
    data.texts[4] = data.texts[7] = "good film " * 3  # six tokens and two special ones; the others have five
    counts = [
        train_classifier(source, data, tmp_path / str(length), TrainConfig(mode, epochs=1, max_length=length))
        for length in (8, 7, 5, 4)
    ]
    assert counts == [0, 2, 2, 30]


@pytest.mark.parametrize("mode", ["freeze", "full"])
def test_training_texts_are_tokenized_once(mode, tmp_path, monkeypatch):
    tokenized, encode = [], Backbone.encode
    monkeypatch.setattr(Backbone, "encode", lambda self, texts: tokenized.extend(texts) or encode(self, texts))
    data = texts(30)
    train_classifier(pretrained("Bert", tmp_path / "pretrained"), data, tmp_path / "out", TrainConfig(mode, epochs=1))
    assert [text for text in tokenized if text in set(data.texts)] == data.texts


def test_the_measures_of_an_epoch_are_of_words_and_of_pairs():
    reports = []
    meter = TrainingMeter(2, reports.append)
    tags = torch.tensor([[0, 1, -100], [1, -100, -100]])
    guesses = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0], [1, 1, 1]]), 2).float()
    pairs = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    predicted = []
    for batch in [(torch.tensor(1.0), guesses, tags), (torch.tensor(3.0), *pairs)]:
        meter.add(*batch)
        meter.end_epoch()
        predicted.append(meter.predicted)
    assert [(epoch.loss, epoch.accuracy) for epoch in reports] == [(1.0, 2 / 3), (3.0, 3 / 4)]
    assert predicted == [{0, 1}, set()]


@pytest.mark.parametrize("mode", ["freeze", "full"])
def test_a_classifier_that_predicts_one_class_only_gives_a_warning(mode, tmp_path):
    rows = {"text": [f"text {number}" for number in range(60)], "label": ["often"] * 58 + ["seldom"] * 2}
    config = TrainConfig(mode, epochs=3, learning_rate=0.01)
    with pytest.warns(UserWarning, match="nothing but 'often': it has not learned to tell the classes apart"):
        train_classifier(pretrained("Bert", tmp_path / "pretrained"), rows, tmp_path / "out", config)


@pytest.mark.parametrize(
    ("labels", "is_refused"), [(range(400), True), ([*range(200)] * 2, False), ([*range(300), *range(100)], False)]
)
def test_labels_that_hardly_repeat_are_refused(labels, is_refused):
    """A column of numbers of rows, or of customers, would be learned as thousands of classes."""
    data = {"text": tiny.WORDS[:1] * 400, "label": [f"customer {label}" for label in labels]}
    message = "400 different labels in 400 rows, such as customer 0, customer 1, customer 10, …, which are no classes"
    with pytest.raises(DataError, match=message) if is_refused else nullcontext(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_labels(labeled_texts(data))


def test_a_training_has_no_report_on_weights_that_are_meant_to_be_new(tmp_path):
    class Reports(logging.Handler):
        def emit(self, record):
            reports.append(record.getMessage())

    reports, handler = [], Reports()
    rows = {"text": ["good film", "bad film"] * 20, "label": ["a", "b"] * 20}
    model = pretrained("Bert", tmp_path / "pretrained")
    tiny.model("Bert").bert.save_pretrained(model)  # without a classification module
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        AutoModelForSequenceClassification.from_pretrained(model)
        assert any("LOAD REPORT" in report for report in reports)
        reports.clear()
        train_classifier(model, rows, tmp_path / "out", TrainConfig("freeze", epochs=1))
    finally:
        logger.removeHandler(handler)
    assert not any("LOAD REPORT" in report for report in reports)


def test_columns_have_names_of_their_own(tmp_path):
    rows = {"body": ["good film", "bad film"] * 50, "team": ["a", "b"] * 50, "ticket": [str(row) for row in range(100)]}
    pretrained("Bert", tmp_path / "pretrained")
    columns = {"text_column": "body", "label_column": "team"}
    train_classifier(tmp_path / "pretrained", rows, tmp_path / "out", TrainConfig("freeze", epochs=1), **columns)
    assert UncertainClassifier.from_pretrained(tmp_path / "out").label_names == ["a", "b"]
    with pytest.raises(DataError, match="100 different labels in 100 rows"):
        train_classifier(tmp_path / "pretrained", rows, tmp_path / "other", text_column="body", label_column="ticket")


def test_one_label_of_which_every_text_may_have_it_is_learned(tmp_path):
    """There are no classes, of which some could be left out."""
    data = LabeledTexts(["bad film", "good film"] * 20, np.array([[1], [0]] * 20), ["toxic"])
    train_classifier(pretrained("Bert", tmp_path / "pretrained"), data, tmp_path / "out", TrainConfig(epochs=1))
    assert UncertainClassifier.from_pretrained(tmp_path / "out").label_names == ["toxic"]


def test_classes_that_are_never_predicted_give_a_warning(tmp_path):
    labels = ["bad", "good"] * 30 + ["seldom"] * 2
    rows = {"text": [f"{label if label != 'seldom' else 'fine'} film" for label in labels], "label": labels}
    config = TrainConfig(epochs=20, learning_rate=1e-3)
    with pytest.warns(UserWarning, match="never predicted 1 of 3 classes: seldom. Train for more epochs"):
        train_classifier(pretrained("Bert", tmp_path / "pretrained"), rows, tmp_path / "out", config)


def test_a_class_with_a_single_text_gives_a_warning():
    rows = {"text": [f"text {number}" for number in range(22)], "label": ["good", "bad"] * 10 + ["dull", "new"]}
    with pytest.warns(UserWarning, match="2 of 4 classes have a single text: dull, new. Correct labels"):
        check_labels(labeled_texts(rows))


def test_misspelled_labels_give_a_warning_with_what_they_look_like():
    labels = ["good", "bad"] * 10 + ["Good "] * 9 + ["goods"] * 2 + ["god"] * 4 + ["bed"] * 5
    data = LabeledTexts([""] * len(labels), np.unique(labels, return_inverse=True)[1], sorted(set(labels)))
    pairs = r"'Good ' \(9\) of 'good' \(10\), 'god' \(4\) of 'good' \(10\), 'goods' \(2\) of 'good' \(10\)"
    with pytest.warns(UserWarning, match=f"look like misspellings, with their numbers of texts: {pairs}. Each is"):
        check_labels(data)


@pytest.mark.parametrize("kind", always("Bert", "ModernBert", "Llama", "GPT2", of=tiny.ARCHITECTURES))
@pytest.mark.filterwarnings("ignore:in the last epoch the classifier never predicted:UserWarning")
def test_adapters_are_saved_with_all_new_modules(kind, tmp_path):
    source = pretrained(kind, tmp_path / "pretrained")
    train_classifier(source, texts(30), tmp_path / "out", TrainConfig("lora", epochs=1))
    classifier = UncertainClassifier.from_pretrained(tmp_path / "out")
    assert classifier.label_names == NAMES
    assert classifier.predict(["good film"]).probabilities.shape == (1, 3)


def test_features_of_the_training_texts_are_stored(tmp_path, monkeypatch):
    source = pretrained("Bert", tmp_path / "pretrained")
    train_classifier(source, texts(), tmp_path / "out", TrainConfig("freeze", epochs=2))
    classifier = UncertainClassifier.from_pretrained(tmp_path / "out")
    computed = classifier.backbone.extract(texts().texts)
    monkeypatch.setattr(classifier.backbone, "extract", lambda *_: pytest.fail("features were computed again"))
    stored = classifier.features(texts())
    np.testing.assert_allclose(stored.hidden, computed[0], atol=1e-5)
    np.testing.assert_allclose(stored.logits, computed[1], atol=1e-5)


@pytest.mark.parametrize("mode", always("full", of=["full", "lora", "freeze"]))
def test_training_in_bfloat16_keeps_float32_weights_and_nearly_the_same_predictions(mode, tmp_path, monkeypatch):
    source, inner_products = pretrained("Bert", tmp_path / "pretrained"), set()
    linear = torch.nn.functional.linear

    def recorded(*arguments):
        product = linear(*arguments)
        inner_products.add(product.dtype)
        return product

    monkeypatch.setattr(torch.nn.functional, "linear", recorded)
    for dtype in ("float32", "bfloat16"):
        inner_products.clear()
        train_classifier(
            source, texts(), tmp_path / dtype, TrainConfig(mode, epochs=2, learning_rate=1e-3, dtype=dtype)
        )
        assert (torch.bfloat16 in inner_products) == (dtype == "bfloat16")
    exact, rounded = (UncertainClassifier.from_pretrained(tmp_path / dtype) for dtype in ("float32", "bfloat16"))
    assert {parameter.dtype for parameter in rounded.backbone.inner.parameters()} == {torch.float32}
    p, q = (classifier.predict(texts().texts).probabilities for classifier in (exact, rounded))
    assert 0 < np.abs(p - q).max() < 0.05


@pytest.mark.parametrize(("name", "value"), [("mode", "frozen"), ("dtype", "bf16")])
def test_unknown_modes_and_precisions_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name}='{value}' is none of f"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "batch_size", "max_length"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_that_are_not_positive_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name}={value} is not a positive number"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(("mode", "epochs", "peak"), [("full", 3, 5e-5), ("lora", 3, 3e-4), ("freeze", 20, 1e-3)])
def test_each_mode_has_default_epochs_and_a_default_learning_rate(mode, epochs, peak):
    config = TrainConfig(mode)
    assert (config.total_epochs, config.peak_learning_rate) == (epochs, peak)
    assert TrainConfig(mode, epochs=1).total_epochs == 1
    assert TrainConfig(mode, learning_rate=1e-6).peak_learning_rate == 1e-6


@pytest.mark.parametrize("mode", ["full", "lora", "freeze"])
def test_a_decoder_without_a_padding_token_is_saved_with_the_padding_token_of_its_training(mode, tmp_path):
    tiny.model("Llama", pad_token_id=None).save_pretrained(tmp_path / "pretrained")
    tiny.tokenizer("decoder", pad_token=None).save_pretrained(tmp_path / "pretrained")
    train_classifier(tmp_path / "pretrained", texts(30), tmp_path / "out", TrainConfig(mode, epochs=1))
    backbone = UncertainClassifier.from_pretrained(tmp_path / "out").backbone
    assert backbone.config.pad_token_id == backbone.tokenizer.pad_token_id == tiny.SEP


def test_the_seed_determines_the_trained_model(tmp_path):
    source = pretrained("Bert", tmp_path / "pretrained")
    logits = []
    for run, seed in enumerate((0, 0, 1)):
        train_classifier(source, texts(), tmp_path / str(run), TrainConfig("freeze", epochs=2, seed=seed))
        logits.append(UncertainClassifier.from_pretrained(tmp_path / str(run)).features(texts()).logits)
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": ["a", "b"], "label": ["good", "good"]}, "one class only, 'good': add texts of another one"),
        (LabeledTexts(["a", "b"], np.array([2, 2]), NAMES), "one class only, 'good'"),
        ({"tokens": [["a", "b"]], "tags": [["O", "O"]]}, "one tag only, 'O'"),
    ],
)
def test_data_of_one_class_are_refused_before_a_model_is_loaded(tmp_path, data, message):
    with pytest.raises(DataError, match=f"the training set holds {message}"):
        train_classifier(tmp_path / "no model", data, tmp_path / "out")


def test_a_folder_with_a_model_or_other_files_is_not_written_into(tmp_path):
    source = pretrained("Bert", tmp_path / "pretrained")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("kept")
    config = TrainConfig("freeze", epochs=1)
    with pytest.raises(DataError, match=r"notes holds other files, such as read\.me: name another one"):
        train_classifier(source, texts(30), tmp_path / "notes", config)
    train_classifier(source, texts(30), tmp_path / "out", config)
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    other = TrainConfig("freeze", epochs=1, seed=1)
    with pytest.raises(DataError, match=r"out holds a model, which would be replaced: .* with force=True or --force"):
        train_classifier(source, texts(30), tmp_path / "out", other)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    train_classifier(source, texts(30), tmp_path / "out", other, force=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != weights


def test_a_model_that_replaces_an_adapter_is_the_one_that_is_loaded(tmp_path):
    source = pretrained("Bert", tmp_path / "pretrained")
    full = TrainConfig("full", epochs=4, learning_rate=1e-2)
    train_classifier(source, texts(60), tmp_path / "fresh", full)
    train_classifier(source, texts(60), tmp_path / "out", TrainConfig("lora", epochs=1))
    (tmp_path / "out" / "notes.txt").write_text("kept")
    train_classifier(source, texts(60), tmp_path / "out", full, force=True)
    assert not list((tmp_path / "out").glob("adapter_*"))
    assert (tmp_path / "out" / "notes.txt").read_text() == "kept"
    fresh, out = (
        UncertainClassifier.from_pretrained(tmp_path / name).predict(texts(5).texts) for name in ("fresh", "out")
    )
    assert np.array_equal(fresh.probabilities, out.probabilities)
    train_classifier(source, texts(60), tmp_path / "out", TrainConfig("lora", epochs=1), force=True)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_file_and_the_model_itself_are_not_written_into(tmp_path):
    source = pretrained("Bert", tmp_path / "pretrained")
    (tmp_path / "file").write_text("")
    config = TrainConfig("full", epochs=1)
    with pytest.raises(DataError, match="file is a file, and a classifier needs a folder"):
        train_classifier(source, texts(30), tmp_path / "file", config, force=True)
    with pytest.raises(DataError, match="pretrained is the folder of the model that is trained"):
        train_classifier(source, texts(30), source, config, force=True)


def test_arguments_of_a_wrong_type_or_name_are_refused(tmp_path):
    arguments = ("no model", {"text": ["a", "b"], "label": ["x", "y"]}, tmp_path / "out")
    with pytest.raises(ArgumentTypeError, match=r"config is a str: pass a TrainConfig"):
        train_classifier(*arguments, "freeze")
    with pytest.raises(ArgumentTypeError, match=r"no argument 'mode': those that .* settings are fields of config"):
        train_classifier(*arguments, mode="freeze")
    with pytest.raises(ArgumentError, match="label_column: a LabeledTexts has been read"):
        train_classifier("no model", labeled_texts(arguments[1]), tmp_path / "out", label_column="label")


def test_training_pads_texts_as_predictions_do(tmp_path):
    data = {"text": ["a", "good", "a good film", "it is not bad at all"] * 8, "label": ["no", "yes"] * 16}
    weights = []
    for side in ("left", "right"):
        folder = tmp_path / side
        tiny.model("Bert", num_labels=2).save_pretrained(folder / "base")
        tiny.tokenizer(padding_side=side).save_pretrained(folder / "base")
        train_classifier(folder / "base", data, folder / "trained", TrainConfig(epochs=1, batch_size=8))
        weights.append(load_file(folder / "trained" / "model.safetensors"))
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
