"""Checkpoints as they are found: named adapters, code of their own, one logit, models without positions."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from aligned_entropy import UncertainClassifier, UncertainMultiLabelClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone
from fixtures import tiny
from fixtures.backbones import backbone_of

CLOSE = {"rtol": 0, "atol": 1e-5}


def save(folder: Path, kind: str = "Bert", **options: Any) -> Path:
    tiny.model(kind, **options).save_pretrained(folder)
    tiny.tokenizer_of(kind).save_pretrained(folder)
    return folder


def save_adapters(folder: Path, *names: str) -> Any:
    """Save adapters with names around a model of their own; return the PEFT model."""
    base = save(folder / "base")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    config = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    adapted = get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        adapted.add_adapter(name, config)
    for weights in adapted.parameters():
        if weights.requires_grad:
            torch.nn.init.normal_(weights, std=0.3)
    adapted.save_pretrained(folder / "adapters")
    return adapted.eval()


@pytest.mark.parametrize("place", ["base", "parent", "adapter"])
def test_an_adapter_with_a_name_is_found_one_folder_deeper(place: str, tmp_path: Path) -> None:
    adapted, folder = save_adapters(tmp_path, "mine"), tmp_path / "adapters"
    assert not (folder / "adapter_config.json").exists()
    if place != "base":
        tiny.tokenizer(model_max_length=9).save_pretrained(folder / ("mine" if place == "adapter" else ""))
    expected = Backbone(adapted, tiny.tokenizer()).extract(tiny.TEXTS[:2])[1]
    classifier = UncertainClassifier.from_pretrained(folder)
    np.testing.assert_allclose(classifier.backbone.extract(tiny.TEXTS[:2])[1], expected, **CLOSE)
    assert classifier.backbone.max_length == (32 if place == "base" else 9)
    assert classifier.backbone.name == str(folder)
    named = UncertainClassifier.from_pretrained(folder / "mine")
    np.testing.assert_allclose(named.backbone.extract(tiny.TEXTS[:2])[1], expected, **CLOSE)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks for it
def test_weights_beside_an_adapter_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    save_adapters(tmp_path, "default")
    folder = tmp_path / "adapters"
    assert (folder / "adapter_config.json").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        UncertainClassifier.from_pretrained(folder)
    shutil.copy(save(tmp_path / "full") / "model.safetensors", folder)
    with pytest.warns(UserWarning, match=r"weights of a model, model\.safetensors: the adapter on .*base is used"):
        UncertainClassifier.from_pretrained(folder)


def test_of_several_adapters_one_must_be_named(tmp_path: Path) -> None:
    save_adapters(tmp_path, "first", "second")
    with pytest.raises(UnsupportedModelError, match=r"holds 2 adapters: name the folder of one, .*first, .*second"):
        UncertainClassifier.from_pretrained(tmp_path / "adapters")
    assert UncertainClassifier.from_pretrained(tmp_path / "adapters" / "second").predict("bad").truncated is not None


def test_a_model_with_adapters_below_it_is_loaded_itself(tmp_path: Path) -> None:
    save_adapters(tmp_path, "mine")
    save(tmp_path / "adapters", seed=3)
    expected = Backbone(tiny.model("Bert", seed=3), tiny.tokenizer()).extract(tiny.TEXTS)[1]
    loaded = UncertainClassifier.from_pretrained(tmp_path / "adapters")
    np.testing.assert_allclose(loaded.backbone.extract(tiny.TEXTS)[1], expected, **CLOSE)


CODE = """
from transformers import BertConfig, BertForSequenceClassification

class OddConfig(BertConfig):
    model_type = "odd"

class OddModel(BertForSequenceClassification):
    config_class = OddConfig
"""


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    folder = save(tmp_path / "model")
    (folder / "odd.py").write_text(CODE)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "odd.OddConfig", "AutoModelForSequenceClassification": "odd.OddModel"},
    }
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("options", [{}, {"task": "text-classification"}])
def test_code_in_a_checkpoint_runs_only_if_it_is_trusted(
    options: dict[str, Any], with_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("nothing is asked on the terminal"))
    with pytest.raises(
        UnsupportedModelError, match=r"pass trust_remote_code=True \(in the shell --trust-remote-code\)"
    ):
        UncertainClassifier.from_pretrained(with_code, **options)
    with pytest.raises(UnsupportedModelError, match="needs Python code that is saved with it"):
        Backbone.from_pretrained(with_code)
    trusted = UncertainClassifier.from_pretrained(with_code, trust_remote_code=True, **options)
    expected = Backbone(tiny.model("Bert"), tiny.tokenizer()).extract(tiny.TEXTS)[1]
    np.testing.assert_allclose(trusted.backbone.extract(tiny.TEXTS)[1], expected, **CLOSE)
    assert "trust_remote_code" not in trusted.backbone.facts


def test_a_model_with_one_logit_is_read_as_the_yes_or_no_of_a_label_if_asked(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", num_labels=1)
    classifier = UncertainClassifier.from_pretrained(folder, task="multi-label-classification")
    assert isinstance(classifier, UncertainMultiLabelClassifier)
    predictions = classifier.predict(tiny.TEXTS)
    logits = classifier.backbone.extract(tiny.TEXTS)[1]
    np.testing.assert_allclose(predictions.probabilities, 1 / (1 + np.exp(-logits)), **CLOSE)
    assert predictions.labels == [["LABEL_0"] if logit > 0 else [] for (logit,) in logits]


def test_a_model_without_positions_has_the_usual_length() -> None:
    config = transformers.XLNetConfig(
        vocab_size=tiny.VOCABULARY, d_model=16, n_layer=1, n_head=2, d_inner=24, num_labels=3, pad_token_id=tiny.PAD
    )
    assert config.max_position_embeddings == -1
    model = tiny.stir(transformers.XLNetForSequenceClassification(config)).eval()
    tokenizer = tiny.tokenizer("decoder", model_max_length=10**30, padding_side="left")
    backbone = Backbone(model, tokenizer)
    assert (backbone.max_length, backbone.capture.name) == (512, "logits_proj")
    with torch.inference_mode():
        expected = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in tiny.TEXTS]
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], torch.stack(expected), **CLOSE)


@pytest.mark.parametrize("positions", [-1, 0])
@pytest.mark.parametrize("limit", [100, 10**30])
def test_the_limit_of_the_tokenizer_holds_without_positions(positions: int, limit: int) -> None:
    model = tiny.model("Bert")
    model.config.max_position_embeddings = positions
    assert Backbone(model, tiny.tokenizer(model_max_length=limit)).max_length == min(512, limit)


# --- Round trips, and checkpoints that are refused.


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "DebertaV2", "ModernBert", "Llama", "Qwen3"])
def test_round_trip(kind, tmp_path):
    names = {0: "bad", 1: "so-so", 2: "good"}
    label2id = {name: i for i, name in names.items()}
    folder = save(tmp_path / "model", kind, id2label=names, label2id=label2id)
    backbone = Backbone.from_pretrained(folder)
    assert backbone.label_names == ["bad", "so-so", "good"]
    assert backbone.name == str(folder)
    for values, expected in zip(backbone.extract(tiny.TEXTS), backbone_of(kind).extract(tiny.TEXTS), strict=True):
        np.testing.assert_allclose(values, expected, **CLOSE)


def test_precision_of_a_checkpoint(tmp_path):
    tiny.model("Bert").bfloat16().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    assert next(Backbone.from_pretrained(tmp_path / "model").model.parameters()).dtype == torch.float32
    half = Backbone.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert next(half.model.parameters()).dtype == torch.bfloat16


def test_a_folder_laid_out_like_a_repository(tmp_path):
    """The folder also holds a model card, weights of other frameworks and files of a training."""
    folder = save(tmp_path / "repository", "Roberta")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "training_args.bin").write_bytes(b"\x80\x04N.")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"nothing")
    (folder / "checkpoint-10").mkdir()
    shutil.copy(folder / "config.json", folder / "checkpoint-10")
    backbone = Backbone.from_pretrained(str(folder))
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], backbone_of("Roberta").extract(tiny.TEXTS)[1], **CLOSE)


def test_a_model_in_the_hubs_cache_is_used_offline(tmp_path, monkeypatch):
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny-roberta"
    save(repository / "snapshots" / revision, "Roberta")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    for module in ("huggingface_hub.constants", "huggingface_hub.file_download", "transformers.utils.hub"):
        for name in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE"):
            monkeypatch.setattr(f"{module}.{name}", str(tmp_path / "hub"), raising=False)
    backbone = Backbone.from_pretrained("someone/tiny-roberta")
    assert backbone.name == "someone/tiny-roberta"
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], backbone_of("Roberta").extract(tiny.TEXTS)[1], **CLOSE)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Llama"])
def test_a_checkpoint_without_a_trained_classifier_is_refused(kind, tmp_path):
    tiny.model(kind).base_model.save_pretrained(tmp_path / "encoder")
    tiny.tokenizer_of(kind).save_pretrained(tmp_path / "encoder")
    module = "score" if kind == "Llama" else "classifier"
    with pytest.raises(UnsupportedModelError, match=rf"no trained classifier.*{module}\.weight.*alien train"):
        Backbone.from_pretrained(tmp_path / "encoder")


def test_a_language_model_is_refused(tmp_path):
    transformers.BertForMaskedLM(tiny.config("Bert")).save_pretrained(tmp_path / "lm")
    with pytest.raises(UnsupportedModelError, match=r"no trained classifier.*pooler.*classifier\.weight"):
        Backbone.from_pretrained(tmp_path / "lm")


@pytest.mark.parametrize("module", [None, "classifier", "classifier.out_proj"])
def test_a_classifier_without_its_last_layer_is_refused(module, tmp_path):
    folder = save(tmp_path / "model", "Roberta")
    model = transformers.RobertaForSequenceClassification(tiny.config("Roberta"))
    state = {name: value for name, value in model.state_dict().items() if "out_proj" not in name}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(UnsupportedModelError, match=r"classifier\.out_proj\.weight"):
        Backbone.from_pretrained(folder, classification_module=module)


@pytest.mark.parametrize(
    ("kind", "model_class"),
    [
        ("Bert", transformers.BertForTokenClassification),
        ("ModernBert", transformers.ModernBertForTokenClassification),
    ],
)
def test_a_token_classification_checkpoint_is_refused(kind, model_class, tmp_path):
    """That of ModernBERT has all weights of a sequence classifier, with the same names."""
    model_class(tiny.config(kind)).save_pretrained(tmp_path / "token-classifier")
    tiny.tokenizer().save_pretrained(tmp_path / "token-classifier")
    transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "token-classifier"
    )  # transformers accepts it
    with pytest.raises(UnsupportedModelError, match=r"classifies the words of a text"):
        Backbone.from_pretrained(tmp_path / "token-classifier")


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DebertaV2", "MPNet", "Llama", "Qwen3"])
def test_a_model_that_was_saved_without_its_tokenizer_is_refused(kind, tmp_path):
    """Transformers would create a tokenizer without words, for which all texts are equal."""
    tiny.model(kind).save_pretrained(tmp_path / "model")
    with pytest.raises(UnsupportedModelError, match="holds no tokenizer"):
        Backbone.from_pretrained(tmp_path / "model")


def test_unknown_names():
    with pytest.raises(
        UnsupportedModelError, match=r"'someone/unknown-model' is no folder .*minilm, mpnet, smollm2, gem"
    ):
        Backbone.from_pretrained("someone/unknown-model")
    with pytest.raises(UnsupportedModelError, match=r"no folder '\./not/a/folder', and it is no hub id"):
        Backbone.from_pretrained("./not/a/folder")
