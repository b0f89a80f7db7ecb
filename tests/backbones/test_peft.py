"""PEFT: the active module is copied with its adapters, and an adapter with missing weights is refused."""

import copy
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import BertForMaskedLM

from aligned_entropy import FitConfig, HeadMismatchError, MissingExtraError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone
from aligned_entropy.data import LabeledTexts
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.scoring import log_entropy
from fixtures import tiny

ATTENTION = {
    "Bert": ["query", "value"],
    "Roberta": ["query", "value"],
    "DistilBert": ["q_lin", "v_lin"],
    "DebertaV2": ["query_proj", "value_proj"],
    "Llama": ["q_proj", "v_proj"],
}
MODULE = {"Bert": "classifier", "Roberta": "classifier", "DistilBert": "classifier", "Llama": "score"}
LAYER = {"Bert": "classifier", "Roberta": "out_proj", "Llama": "score"}  # the layer whose output is the logits
KINDS = pytest.mark.parametrize("kind", LAYER)
CLOSE = {"rtol": 0, "atol": 1e-5}


def settings(kind, training, **options):
    """Configure LoRA; the classification module is trained (``saved``), adapted (``lora``) or left (``neither``)."""
    targets = [*ATTENTION[kind], LAYER[kind]] if training == "lora" else ATTENTION[kind]
    saved = [MODULE[kind]] if training == "saved" else None
    return LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=saved, **options)


def train(model, seed=1):
    """Change all trainable weights and no others, as a training does."""
    generator = torch.Generator().manual_seed(seed)
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = torch.randn(weights.shape, generator=generator).to(weights) * 0.3
    return model.eval()


def lora(kind, training, **options):
    return train(get_peft_model(tiny.model(kind, **options), settings(kind, training)))


def logits_of(model, kind):
    with torch.inference_mode():
        return model(**tiny.tokenizer_of(kind)(tiny.TEXTS, padding=True, return_tensors="pt")).logits


def put(model, state):
    """Return the model in a state, and a context manager within which the state holds."""
    if state in ("merged", "unmerged again"):
        model.merge_adapter()
    if state == "unmerged again":
        model.unmerge_adapter()
    if state == "unloaded":
        model = model.merge_and_unload()
    return model, model.disable_adapter() if state == "disabled" else nullcontext()


@KINDS
@pytest.mark.parametrize("training", ["saved", "lora", "neither"])
@pytest.mark.parametrize("state", ["unmerged", "merged", "unmerged again", "unloaded", "disabled"])
def test_the_head_copies_the_active_module(kind, training, state):
    model, context = put(lora(kind, training), state)
    with context:
        expected, before = logits_of(model, kind), copy.deepcopy(model.state_dict())
        backbone = Backbone(model, tiny.tokenizer_of(kind))
        inputs = dict(tiny.tokenizer_of(kind)(tiny.TEXTS, padding=True, return_tensors="pt"))
        hidden, logits = backbone.forward(**inputs)
        assert torch.equal(logits, expected)
        head = AlignedEntropyHead(backbone.copy_classification_module())
        torch.testing.assert_close(head.copy_logits(hidden), logits, **CLOSE)
        p = logits.double().softmax(-1)
        entropy = torch.special.entr(p).sum(-1) / np.log(3)
        torch.testing.assert_close(head(hidden).double(), entropy, **CLOSE)
        assert not any("lora" in name or "modules_to_save" in name for name, _ in head.named_modules())
        assert torch.equal(logits_of(model, kind), expected), "copying merges nothing in the model"
        after = model.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    plain = logits_of(tiny.model(kind), kind)
    assert torch.allclose(logits, plain) == (state == "disabled")


@KINDS
def test_a_saved_module_is_copied_bit_by_bit_and_the_original_is_not(kind):
    model = lora(kind, "saved")
    wrapper = model.get_base_model().get_submodule(MODULE[kind])
    copied = Backbone(model, tiny.tokenizer_of(kind)).copy_classification_module().state_dict()
    trained, original = wrapper.modules_to_save["default"].state_dict(), wrapper.original_module.state_dict()
    assert copied.keys() == trained.keys()
    assert all(torch.equal(copied[name], value) for name, value in trained.items())
    assert not all(torch.equal(copied[name], value) for name, value in original.items())


def test_a_changed_copy_changes_no_part_of_the_model():
    model = lora("Llama", "saved")
    before = copy.deepcopy(model.state_dict())
    head = AlignedEntropyHead(Backbone(model, tiny.tokenizer_of("Llama")).copy_classification_module())
    tiny.stir(head, seed=5)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@KINDS
@pytest.mark.parametrize("training", ["saved", "lora"])
def test_of_several_adapters_the_active_one_is_copied(kind, training):
    model = get_peft_model(tiny.model(kind), settings(kind, training))
    model.add_adapter("second", settings(kind, training))
    for seed, name in enumerate(("default", "second")):
        model.set_adapter(name)
        train(model, seed)
    for name in ("default", "second", "default"):
        model.set_adapter(name)
        backbone = Backbone(model, tiny.tokenizer_of(kind))
        hidden, logits = backbone.extract(tiny.TEXTS)
        np.testing.assert_allclose(backbone.copy_classification_module()(head_input(backbone, hidden)), logits, **CLOSE)


def head_input(backbone, hidden):
    return AlignedEntropyHead(backbone.copy_classification_module()).module_input(torch.tensor(hidden))


@pytest.mark.parametrize("training", ["saved", "lora"])
def test_active_adapters_are_in_the_fingerprint(training):
    """Switching adapters changes no weight, but stored features of another adapter must not be used."""
    model = get_peft_model(tiny.model("Bert"), settings("Bert", training))
    model.add_adapter("second", settings("Bert", training))
    model.set_adapter("default")

    def fingerprint():
        return Backbone(model, tiny.tokenizer()).model_fingerprint

    expected = fingerprint()
    assert fingerprint() == expected
    with model.disable_adapter():
        others = [fingerprint()]
    model.set_adapter("second")
    others.append(fingerprint())
    model.set_adapter("default")
    model.merge_adapter()
    others.append(fingerprint())
    model.unmerge_adapter()
    others.append(get_fingerprint_with_alpha(training))
    assert len({expected, *others}) == 5


@pytest.mark.parametrize("training", ["saved", "lora", "neither"])
def test_a_head_is_not_used_on_another_adapter(training):
    """An untrained head follows the adapter; a fitted one raises an error, attached or not."""
    model = get_peft_model(tiny.model("Bert"), settings("Bert", training))
    model.add_adapter("second", settings("Bert", training))
    for seed, name in enumerate(("second", "default")):
        model.set_adapter(name)
        train(model, seed)
    fitted, following = (UncertainClassifier(Backbone(model, tiny.tokenizer())) for _ in range(2))
    data = LabeledTexts(tiny.TEXTS * 12, np.arange(96) % 3, fitted.label_names)
    fitted.fit(data, config=FitConfig(folds=3, betas=()))
    inputs = dict(tiny.tokenizer()(tiny.TEXTS, padding=True, return_tensors="pt"))
    expected, stored = fitted.predict(tiny.TEXTS), fitted.features(data)

    def refused():
        for call in (fitted.attach, lambda: fitted.predict(tiny.TEXTS), lambda: fitted.evaluate(data)):
            with pytest.raises(HeadMismatchError, match=r"'classifier' or other adapters .* create a new"):
                call()
        entropy = log_entropy(torch.tensor(np.log(following.predict(tiny.TEXTS).probabilities))).exp()
        np.testing.assert_allclose(following.predict(tiny.TEXTS).uncertainty, entropy, atol=1e-5)
        output = following.attach().backbone.model(**inputs)
        torch.testing.assert_close(output.uncertainty, log_entropy(output.logits).exp(), **CLOSE)
        following.detach()

    following.attach()
    model.set_adapter("second")
    output = model(**inputs)
    torch.testing.assert_close(output.uncertainty, log_entropy(output.logits).exp(), **CLOSE)
    following.detach()
    model.set_adapter("default")
    fitted.attach()
    model.set_adapter("second")
    with pytest.raises(HeadMismatchError):
        model(**inputs)
    fitted.detach()
    refused()
    with model.disable_adapter():
        refused()
    assert not np.allclose(fitted.features(data).logits, stored.logits, atol=1e-3)
    model.set_adapter("default")
    model.merge_adapter()  # the same function
    np.testing.assert_allclose(fitted.predict(tiny.TEXTS).uncertainty, expected.uncertainty, atol=1e-3)
    model.unmerge_adapter()
    np.testing.assert_allclose(fitted.predict(tiny.TEXTS).uncertainty, expected.uncertainty, atol=1e-3)


def test_a_model_whose_adapter_was_merged_into_it_runs_as_before():
    model = lora("Bert", "saved")
    expected = logits_of(model, "Bert")
    UncertainClassifier(Backbone(model, tiny.tokenizer())).attach().detach()
    torch.testing.assert_close(logits_of(model.merge_and_unload(), "Bert"), expected, **CLOSE)


def get_fingerprint_with_alpha(training):
    config = settings("Bert", training)
    config.lora_alpha = 16
    torch.manual_seed(0)
    return Backbone(get_peft_model(tiny.model("Bert"), config), tiny.tokenizer()).model_fingerprint


# Loading


@pytest.fixture(params=["Bert", "Llama"])
def kind(request):
    return request.param


def save_base(kind, folder, trained=False, **options):
    """Save the base model of an adapter: a pretrained encoder, or a trained classifier with its own labels."""
    model = tiny.model(kind, **options)
    (model if trained else model.base_model).save_pretrained(folder)
    tiny.tokenizer_of(kind).save_pretrained(folder)
    return folder


def save_adapter(kind, base, folder, modules, classes, targets=None, **options):
    """Train an adapter for some classes on the model in a folder, and save it as PEFT does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tiny.model(kind, num_labels=classes, **options)
        targets = targets or ATTENTION[kind]
        config = LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=4, target_modules=targets, modules_to_save=modules)
        model.name_or_path = base and str(base)
        adapted = train(get_peft_model(model, config))
        adapted.save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("beside", ["nothing", "config", "config and tokenizer"])
@pytest.mark.parametrize("trained_base", [False, True])
def test_an_adapters_folder(kind, classes, beside, trained_base, tmp_path):
    base = save_base(kind, tmp_path / "base", trained_base)  # a trained base has three classes
    adapted = save_adapter(kind, base, tmp_path / "adapter", [MODULE[kind]], classes)
    names = [f"name {number}" for number in range(classes)]
    if beside != "nothing":
        adapted.config.id2label = dict(enumerate(names))
        adapted.config.save_pretrained(tmp_path / "adapter")
    if "tokenizer" in beside:
        tiny.tokenizer_of(kind).save_pretrained(tmp_path / "adapter")
    backbone = Backbone.from_pretrained(tmp_path / "adapter")
    assert backbone.label_names == (names if beside != "nothing" else [f"LABEL_{i}" for i in range(classes)])
    hidden, logits = backbone.extract(tiny.TEXTS)
    np.testing.assert_allclose(logits, logits_of(adapted, kind), **CLOSE)
    np.testing.assert_allclose(backbone.copy_classification_module()(head_input(backbone, hidden)), logits, **CLOSE)


def test_an_adapter_on_a_trained_classifier_needs_no_module_of_its_own(kind, tmp_path):
    base = save_base(kind, tmp_path / "base", trained=True)
    adapted = save_adapter(kind, base, tmp_path / "adapter", None, 3)
    backbone = Backbone.from_pretrained(tmp_path / "adapter")
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], logits_of(adapted, kind), **CLOSE)


def test_an_adapter_of_the_classification_module_itself(tmp_path):
    base = save_base("Llama", tmp_path / "base", trained=True)
    adapted = save_adapter("Llama", base, tmp_path / "adapter", None, 3, targets=["q_proj", "score"])
    backbone = Backbone.from_pretrained(tmp_path / "adapter")
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], logits_of(adapted, "Llama"), **CLOSE)


def test_an_adapter_without_a_trained_classifier_is_refused(kind, tmp_path):
    base = save_base(kind, tmp_path / "base")
    save_adapter(kind, base, tmp_path / "adapter", None, 3)
    with pytest.raises(UnsupportedModelError, match=rf"neither the adapter .* modules_to_save .*{MODULE[kind]}"):
        Backbone.from_pretrained(tmp_path / "adapter")


def test_an_adapter_of_random_numbers_is_refused(tmp_path):
    """LoRA on `score` saves only the change; the weights that it changes were saved nowhere."""
    base = save_base("Llama", tmp_path / "base")
    save_adapter("Llama", base, tmp_path / "adapter", None, 3, targets=["q_proj", "score"])
    with pytest.raises(UnsupportedModelError, match=r"score\.weight would be random"):
        Backbone.from_pretrained(tmp_path / "adapter")


def test_layers_before_the_classification_module_have_to_be_trained_too(tmp_path):
    """DeBERTa's pooler is new like its `classifier`, but PEFT saves only the modules that are named."""
    base = save_base("DebertaV2", tmp_path / "base")
    save_adapter("DebertaV2", base, tmp_path / "lacking", ["classifier"], 5)
    with pytest.raises(UnsupportedModelError, match=r"pooler\.dense\.weight would be .* include pooler\.dense"):
        Backbone.from_pretrained(tmp_path / "lacking")
    adapted = save_adapter("DebertaV2", base, tmp_path / "complete", ["classifier", "pooler"], 5)
    backbone = Backbone.from_pretrained(tmp_path / "complete")
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], logits_of(adapted, "DebertaV2"), **CLOSE)


def test_the_classes_are_counted_at_the_last_layer(tmp_path):
    """PEFT also saves `pre_classifier` as a `classifier`, since its name ends like that."""
    base = save_base("DistilBert", tmp_path / "base")
    adapted = save_adapter("DistilBert", base, tmp_path / "adapter", ["classifier"], 5)
    backbone = Backbone.from_pretrained(tmp_path / "adapter")
    assert backbone.classes == 5
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], logits_of(adapted, "DistilBert"), **CLOSE)


def test_a_random_pooler_is_refused(tmp_path):
    """A masked language model has no pooler; the one that the adapter was trained with is lost."""
    BertForMaskedLM(tiny.config("Bert")).save_pretrained(tmp_path / "base")
    save_adapter("Bert", tmp_path / "base", tmp_path / "adapter", ["classifier"], 3)
    with pytest.raises(UnsupportedModelError, match=r"bert\.pooler\.dense"):
        Backbone.from_pretrained(tmp_path / "adapter")


def test_an_adapter_in_half_precision(kind, tmp_path):
    base = save_base(kind, tmp_path / "base")
    adapted = save_adapter(kind, base, tmp_path / "adapter", [MODULE[kind]], 4)
    backbone = Backbone.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16)
    hidden, logits = backbone.extract(tiny.TEXTS)
    np.testing.assert_allclose(logits, logits_of(adapted, kind), rtol=0.1, atol=0.1)
    copied = backbone.copy_classification_module()(head_input(backbone, hidden))
    np.testing.assert_allclose(copied, logits, rtol=0.05, atol=0.05)


def test_a_base_model_that_is_gone(kind, tmp_path):
    save_adapter(kind, "someone/gone", tmp_path / "adapter", [MODULE[kind]], 3)
    with pytest.raises(UnsupportedModelError, match="'someone/gone' is no folder"):
        Backbone.from_pretrained(tmp_path / "adapter")
    save_adapter(kind, None, tmp_path / "nameless", [MODULE[kind]], 3)
    with pytest.raises(UnsupportedModelError, match="nameless is an adapter that does not say which model"):
        Backbone.from_pretrained(tmp_path / "nameless")


def test_peft_is_an_extra(tmp_path, monkeypatch):
    base = save_base("Bert", tmp_path / "base")
    save_adapter("Bert", base, tmp_path / "adapter", ["classifier"], 3)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'aligned-entropy\[peft\]'"):
        Backbone.from_pretrained(tmp_path / "adapter")
