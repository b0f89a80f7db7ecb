"""A backbone copies its classification module once, and again only after a change of the module."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from aligned_entropy import FitConfig, HeadMismatchError, UncertainClassifier
from aligned_entropy.backbones import EXTRAS, Backbone, LabelWordBackbone
from aligned_entropy.data import LabeledTexts
from aligned_entropy.head.scoring import log_entropy
from aligned_entropy.scores import SCORES, arrays_of
from fixtures import tiny
from fixtures.cases import always

LABELS = {"negative": "bad", "positive": ["good", "great"]}
QUICK = FitConfig(folds=3, betas=())
KINDS = ["Bert", "Roberta", "Electra", "Llama"]


def backbone(kind="Bert", **options):
    return Backbone(tiny.model(kind, **options), tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder"))


def language_backbone(kind="Llama"):
    model = tiny.language_model(kind)
    return LabelWordBackbone(model, tiny.subwords(), labels=LABELS, template="review: {text} sentiment:")


def labeled(classifier):
    return LabeledTexts(tiny.TEXTS * 12, np.arange(96) % 3, classifier.label_names)


def module_of(bone):
    return bone.inner.get_submodule(bone.capture.name)


def matrix(bone):
    """The largest weight of the classification module."""
    return max(module_of(bone).parameters(), key=torch.numel)


@pytest.fixture
def copies(monkeypatch):
    """Modules that were copied, by a backbone or by a head."""
    copied = []

    def deepcopy(module, memo):
        copied.append(module)
        return copy.deepcopy(module, memo)

    monkeypatch.setattr("aligned_entropy.head.modules.copy", SimpleNamespace(deepcopy=deepcopy))
    return copied


@pytest.fixture
def backbone_copies(monkeypatch):
    """Modules that were copied by a backbone."""
    from aligned_entropy.backbones import sequence

    copied, plain_copy = [], sequence.plain_copy
    monkeypatch.setattr(sequence, "plain_copy", lambda module: copied.append(module) or plain_copy(module))
    return copied


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_repeated_predictions_make_no_copy(kind, is_fitted, copies):
    classifier = UncertainClassifier(backbone(kind))
    if is_fitted:
        classifier.fit(labeled(classifier), config=QUICK)
    classifier.predict(tiny.TEXTS)
    copies.clear()
    for _ in range(3):
        classifier.predict(tiny.TEXTS)
    assert copies == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_copy_serves_a_fit_and_a_load(kind, backbone_copies, tmp_path):
    classifier = UncertainClassifier(backbone(kind))
    classifier.fit(labeled(classifier), config=QUICK)
    assert len(backbone_copies) == 1
    classifier.save_pretrained(tmp_path)
    expected = classifier.predict(tiny.TEXTS).uncertainty
    backbone_copies.clear()
    loaded = UncertainClassifier(backbone(kind)).load_head(tmp_path)
    assert np.array_equal(loaded.predict(tiny.TEXTS).uncertainty, expected)
    assert len(backbone_copies) == 1


def copy_in_place(weight):
    with torch.no_grad():
        weight.copy_(1.5 * weight)


def optimizer_step(weight):
    weight.requires_grad_().grad = -weight.detach().clone()
    torch.optim.SGD([weight], lr=0.5).step()


def write_data(weight):
    weight.data.mul_(1.5)


def write_one_entry(weight):
    weight.data[1, 2] += 10.0


def reverse_rows(weight):
    weight.data.copy_(weight.data.flip(0).clone())


def reverse_columns(weight):
    weight.data.copy_(weight.data.flip(1).clone())


def replace_data(weight):
    weight.data = 1.5 * weight.data


CHANGES = [
    copy_in_place, optimizer_step, write_data, write_one_entry, reverse_rows, reverse_columns, replace_data,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", always(optimizer_step, write_one_entry, of=CHANGES))
def test_the_next_prediction_notices_changed_weights(kind, change):
    fitted, untrained = UncertainClassifier(backbone(kind)), UncertainClassifier(backbone(kind))
    fitted.fit(labeled(fitted), config=QUICK)
    for classifier in (fitted, untrained):
        classifier.predict(tiny.TEXTS)
        change(matrix(classifier.backbone))
    with pytest.raises(HeadMismatchError, match="made for another classification module"):
        fitted.predict(tiny.TEXTS)
    predictions = untrained.predict(tiny.TEXTS)
    expected = log_entropy(torch.tensor(untrained.backbone.extract(tiny.TEXTS)[1])).exp()
    np.testing.assert_allclose(predictions.uncertainty, expected, atol=1e-5)


def test_a_fitted_head_accepts_a_change_by_rounding(copies):
    classifier = UncertainClassifier(backbone())
    classifier.fit(labeled(classifier), config=QUICK)
    expected = classifier.predict(tiny.TEXTS).uncertainty
    copies.clear()
    matrix(classifier.backbone).data.mul_(1.0001)
    for _ in range(3):
        np.testing.assert_allclose(classifier.predict(tiny.TEXTS).uncertainty, expected, rtol=1e-2)
    assert len(copies) == 1
    for _ in range(200):  # many small changes are compared with the module at the fit, not with the one before
        matrix(classifier.backbone).data.mul_(1.0001)
    with pytest.raises(HeadMismatchError):
        classifier.predict(tiny.TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_is_the_same_object_until_the_module_changes(kind):
    bone = backbone(kind)
    first = bone.copy_classification_module()
    bone.model.train()
    bone.extract(tiny.TEXTS)
    assert bone.copy_classification_module() is first
    matrix(bone).data.mul_(2)
    second = bone.copy_classification_module()
    assert second is not first
    assert all(torch.equal(copied, weight) for copied, weight in zip(
        second.parameters(), module_of(bone).parameters(), strict=True
    ))  # fmt: skip


def test_a_new_module_and_a_new_precision_are_copied():
    bone = backbone("Roberta")
    copies = [bone.copy_classification_module()]
    module_of(bone).dense = copy.deepcopy(module_of(bone).dense)
    copies.append(bone.copy_classification_module())
    bone.model.to(torch.bfloat16)
    copies.append(bone.copy_classification_module())
    assert len({id(module) for module in copies}) == 3
    assert {weight.dtype for weight in copies[-1].parameters()} == {torch.float32}
    assert bone.copy_classification_module() is copies[-1]


def test_settings_and_functions_of_the_module_count():
    class Scaled(nn.Linear):
        factor = 1.0
        activation = staticmethod(torch.tanh)

        def forward(self, hidden):
            return self.factor * self.activation(super().forward(hidden))

    model = tiny.model("Bert")
    model.classifier = Scaled(16, 3)
    bone = Backbone(model, tiny.tokenizer())
    first = bone.copy_classification_module()
    hidden = torch.ones(1, 16)
    for name, value in (("factor", 2.0), ("activation", torch.sin)):
        setattr(model.classifier, name, value)
        copied = bone.copy_classification_module()
        torch.testing.assert_close(copied(hidden), model.classifier(hidden))
    assert copied is not first


def test_weights_that_are_not_finite_are_copied_once():
    bone = backbone()
    matrix(bone).data[0, 0] = torch.nan
    assert bone.copy_classification_module() is bone.copy_classification_module()


def test_a_copy_made_in_inference_mode_can_be_trained():
    bone = backbone("Roberta")
    matrix(bone).data.mul_(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        module = bone.copy_classification_module()
    assert bone.copy_classification_module() is module
    assert not any(weight.is_inference() for weight in module.parameters())
    trained = copy.deepcopy(module).requires_grad_(True)
    trained(torch.ones(2, 1, 16)).sum().backward()


def test_a_parametrized_module():
    model = tiny.model("Bert")
    nn.utils.parametrizations.weight_norm(model.classifier)
    bone = Backbone(model, tiny.tokenizer())
    first = bone.copy_classification_module()
    assert bone.copy_classification_module() is first
    model.classifier.parametrizations.weight.original0.data.mul_(2)
    second = bone.copy_classification_module()
    torch.testing.assert_close(second.weight, 2 * first.weight)


def test_merged_and_disabled_adapters(copies):
    settings = LoraConfig(target_modules=["query", "classifier"])
    model = get_peft_model(tiny.model("Bert"), settings)
    tiny.stir(model, seed=3)
    bone = Backbone(model, tiny.tokenizer())
    hidden, logits = map(torch.tensor, bone.extract(tiny.TEXTS))
    adapted = bone.copy_classification_module()
    torch.testing.assert_close(adapted(hidden), logits, atol=1e-4, rtol=0)
    with model.disable_adapter():
        original = bone.copy_classification_module()
        assert torch.equal(original.weight, model.base_model.model.classifier.base_layer.weight)
    model.merge_adapter()
    torch.testing.assert_close(bone.copy_classification_module()(hidden), logits, atol=1e-4, rtol=0)
    model.base_model.model.classifier.unmerge()
    torch.testing.assert_close(bone.copy_classification_module()(hidden), logits, atol=1e-4, rtol=0)
    before = len(copies)
    bone.copy_classification_module()
    assert len(copies) == before


def test_a_copied_backbone_looks_at_its_own_module():
    bone = backbone()
    first = bone.copy_classification_module()
    twin = copy.deepcopy(bone)
    matrix(twin).data.mul_(2)
    torch.testing.assert_close(twin.copy_classification_module().weight, 2 * first.weight)
    assert bone.copy_classification_module() is first


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "Phi"])
def test_label_words_are_copied_again_when_their_rows_change(kind):
    bone = language_backbone(kind)
    first = bone.copy_classification_module()
    bone.extract(tiny.TEXTS)
    assert bone.copy_classification_module() is first
    weight = bone.inner.get_output_embeddings().weight
    tokens = {token for label in bone.prompts.tokens for token in label}
    other = next(token for token in range(len(weight)) if token not in tokens)
    weight.data[other] += 1.0
    assert bone.copy_classification_module() is first, "no label reads this row"
    weight.data[max(tokens), 0] += 1.0
    second = bone.copy_classification_module()
    assert second is not first
    with torch.no_grad():
        weight[min(tokens)] += 1.0
    assert bone.copy_classification_module() is not second


def test_scores_ask_for_extras_that_backbones_compute():
    assert arrays_of(SCORES) == set(EXTRAS)
