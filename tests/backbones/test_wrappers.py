"""Wrappers around a model: torch.compile, data parallelism, and weights that accelerate offloads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, init_empty_weights
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertForSequenceClassification

from aligned_entropy import ArgumentError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, LabelWordBackbone
from fixtures import tiny
from fixtures.cases import always

CLOSE = {"rtol": 0, "atol": 1e-5}


def small() -> Any:
    return tiny.model("Bert", num_hidden_layers=1)


def eager(model: Any) -> Any:
    """Compile a module without a C++ compiler."""
    return torch.compile(model, backend="eager")


def compiled_in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def with_compiled_classifier(model: Any) -> Any:
    model.classifier = eager(model.classifier)
    return model


def with_compiled_encoder(model: Any) -> Any:
    model.base_model.compile(backend="eager")
    return model


def in_peft(model: Any) -> Any:
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    return eager(adapted)


WRAPPERS = [
    eager,
    compiled_in_place,
    with_compiled_classifier,
    with_compiled_encoder,
    in_peft,
    nn.DataParallel,
    lambda model: nn.DataParallel(eager(model)),
]
ATTACHED = [eager, with_compiled_classifier, nn.DataParallel]


@pytest.fixture(autouse=True)
def _without_graphs() -> None:
    torch.compiler.reset()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return dict(tiny.tokenizer()(tiny.TEXTS, padding=True, return_tensors="pt"))


@pytest.mark.parametrize("wrap", always(eager, in_peft, nn.DataParallel, of=WRAPPERS))
def test_a_wrapped_model_gives_the_same_predictions_and_then_views(
    wrap: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The graphs of a compiled model are those of passes without views, so views need other ones."""
    plain = UncertainClassifier(Backbone(small(), tiny.tokenizer()))
    classifier = UncertainClassifier(Backbone(wrap(small()), tiny.tokenizer()))
    expected, predictions = plain.predict(tiny.TEXTS), classifier.predict(tiny.TEXTS)
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, **CLOSE)
    np.testing.assert_allclose(predictions.uncertainty, expected.uncertainty, **CLOSE)
    assert classifier.backbone.facts["model class"] == "BertForSequenceClassification"
    expected_views = plain.backbone.features(tiny.TEXTS, views=True).views
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))  # the other model would read these from the store
    views = classifier.backbone.features(tiny.TEXTS, views=True).views
    assert set(views) == set(expected_views) == {"layers", "tokens"}
    for name, values in views.items():
        np.testing.assert_allclose(np.float32(values), np.float32(expected_views[name]), **CLOSE)


@pytest.mark.parametrize("wrap", ATTACHED)
def test_calls_of_a_wrapped_model_carry_the_uncertainty(
    wrap: Callable[[Any], Any], inputs: dict[str, torch.Tensor]
) -> None:
    expected = UncertainClassifier(Backbone(small(), tiny.tokenizer())).predict(tiny.TEXTS)
    model = wrap(small())
    classifier = UncertainClassifier(Backbone(model, tiny.tokenizer())).attach()
    with torch.no_grad():
        for _ in range(2):
            np.testing.assert_allclose(model(**inputs).uncertainty, expected.uncertainty, **CLOSE)
        classifier.detach()
        assert not hasattr(model(**inputs), "uncertainty")


def test_graphs_from_before_the_attachment_are_reported(inputs: dict[str, torch.Tensor]) -> None:
    model = eager(small())
    with torch.no_grad():
        model(**inputs)
        classifier = UncertainClassifier(Backbone(model, tiny.tokenizer())).attach()
        with pytest.raises(UnsupportedModelError, match=r"call torch\.compiler\.reset\(\) after attach"):
            model(**inputs)
        torch.compiler.reset()
        output = model(**inputs)
    np.testing.assert_allclose(output.uncertainty, classifier.predict(tiny.TEXTS).uncertainty, **CLOSE)


def test_replicas_of_data_parallelism_are_refused(inputs: dict[str, torch.Tensor]) -> None:
    model = tiny.model("Bert")
    classifier = UncertainClassifier(Backbone(nn.DataParallel(model), tiny.tokenizer())).attach()
    replica = model._replicate_for_data_parallel()  # a call on several GPUs runs such copies
    for name, part in model._modules.items():
        replica._modules[name] = part
    with pytest.raises(ArgumentError, match=r"DataParallel .* lose `\.uncertainty`: call backbone\.model instead"):
        replica(**inputs)
    classifier.detach()
    assert replica(**inputs).logits.shape == (8, 3)


def on_cpu(model: Any, _: Path) -> Any:
    return cpu_offload(model, execution_device=torch.device("cpu"))


def on_disk(model: Any, folder: Path) -> Any:
    disk_offload(model, folder, execution_device=torch.device("cpu"))
    return model


@pytest.mark.parametrize("offload", [on_cpu, on_disk])
@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Llama"])
def test_offloaded_weights_are_loaded(offload: Callable[..., Any], kind: str, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer_of(kind)
    plain = Backbone(tiny.model(kind), tokenizer)
    expected = UncertainClassifier(plain).predict(tiny.TEXTS)
    model = offload(tiny.model(kind), tmp_path)
    assert {weights.device.type for weights in model.parameters()} == {"meta"}
    classifier = UncertainClassifier(Backbone(model, tokenizer))
    predictions = classifier.predict(tiny.TEXTS)
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, **CLOSE)
    np.testing.assert_allclose(predictions.uncertainty, expected.uncertainty, **CLOSE)
    assert classifier.backbone.model_fingerprint == plain.model_fingerprint
    classifier.attach()
    with torch.no_grad():
        output = model(**tokenizer(tiny.TEXTS, padding=True, return_tensors="pt"))
    np.testing.assert_allclose(output.uncertainty, expected.uncertainty, **CLOSE)
    assert {weights.device.type for weights in model.parameters()} == {"meta"}


@pytest.mark.parametrize("offload", [on_cpu, on_disk])
def test_offloaded_weights_of_a_language_model_are_loaded(offload: Callable[..., Any], tmp_path: Path) -> None:
    options = {"labels": {"no": "bad", "yes": ["good", "great"]}, "template": "review: {text} sentiment:"}
    plain = LabelWordBackbone(tiny.language_model("Qwen3"), tiny.subwords(), **options)
    offloaded = LabelWordBackbone(offload(tiny.language_model("Qwen3"), tmp_path), tiny.subwords(), **options)
    np.testing.assert_allclose(offloaded.extract(tiny.TEXTS)[1], plain.extract(tiny.TEXTS)[1], **CLOSE)
    assert offloaded.model_fingerprint == plain.model_fingerprint


def test_a_model_without_values_is_refused() -> None:
    with init_empty_weights():
        model = BertForSequenceClassification(tiny.config("Bert"))
    with pytest.raises(UnsupportedModelError, match="on the meta device, so they have no values: load them"):
        Backbone(model, tiny.tokenizer())


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2))])
def test_another_module_is_refused(model: nn.Module) -> None:
    with pytest.raises(UnsupportedModelError, match="a Linear is no transformers model: pass a model of transformers"):
        Backbone(model, tiny.tokenizer())
