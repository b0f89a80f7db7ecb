"""Views of classifiers by label words: layers at the end of a prompt, tokens of a text, equal numbers everywhere."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import nn

from aligned_entropy import FitConfig, NotApplicableError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import LabelWordBackbone
from aligned_entropy.backbones.prompts import LabelPrompts
from aligned_entropy.export import export_onnx
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.refit import refit
from aligned_entropy.saved.format import read_config
from aligned_entropy.scores import HEAD
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings
from fixtures import tiny
from fixtures.command_line import in_process

QUICK = FitConfig(folds=3, betas=(), gain_prior=GainPrior(0.5, 0.5))  # a gain by views is expected
PROMPT = {
    "labels": {"negative": ["bad", "dull"], "positive": "good"},
    "template": "review: {text} sentiment:",
    "examples": [("a dull plot", "negative"), ("the film is warm", "positive")],
}
CHAT = "{% for m in messages %}[CLS]{{ m['role'] }}: {{ m['content'] | trim }}[SEP]{% endfor %}[CLS]assistant:"
EVERY_KIND = pytest.mark.parametrize("kind", tiny.LANGUAGE_MODELS)


def labeled(count, seed):
    """Texts of random words, whose labels the model knows little better than by chance."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(tiny.WORDS, rng.integers(4, 10))) for _ in range(count)]
    positive = [not {"warm", "is", "old"}.isdisjoint(text.split()) for text in texts]
    return {"text": texts, "label": ["positive" if value else "negative" for value in positive]}


TEXTS = labeled(60, 9)["text"]


def label_backbone(kind="Llama", model=None, tokenizer=None, **options):
    return LabelWordBackbone(model or tiny.language_model(kind), tokenizer or tiny.subwords(), **{**PROMPT, **options})


def with_views(backbone, texts):
    return backbone.extract_encoded(backbone.encode(texts), views=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.language_model("Llama").save_pretrained(folder)
    tiny.subwords().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["calibration", "reference"])
def classifier(request, folder, tmp_path_factory):
    """Classifier whose head has views, fitted on the calibration labels or on training texts."""
    reference = labeled(300, 4) if request.param == "reference" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(folder, **PROMPT)
        classifier.fit(labeled(400, 2), reference=reference, config=QUICK)
    assert classifier.head.views == ["layers", "tokens"]
    return classifier


@pytest.fixture(scope="module")
def head(classifier, tmp_path_factory):
    """Folder of the saved head."""
    head = tmp_path_factory.mktemp("head")
    classifier.save_pretrained(head)
    return head


# --- Inputs of views.


@EVERY_KIND
@pytest.mark.parametrize("examples", [[], PROMPT["examples"]], ids=["plain", "with a shared start"])
def test_layers_are_the_states_at_the_end_of_the_prompt(kind, examples):
    model, tokenizer, texts = tiny.language_model(kind), tiny.subwords(), [*tiny.TEXTS, ""]
    backbone = label_backbone(kind, model=model, examples=examples)
    assert set(backbone.view_shapes) == {"layers", "tokens"}
    features = with_views(backbone, texts)
    assert features.views["layers"].dtype == np.float16
    (layers,) = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == 2]
    outputs = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, out: outputs.append(out[0] if isinstance(out, tuple) else out))
    for text, rows in zip(texts, features.views["layers"], strict=True):
        outputs.clear()
        with torch.no_grad():
            ids = tokenizer(backbone.prompts.render(text), return_tensors="pt")["input_ids"]
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        first, second = (output.reshape(-1, 16)[-1].numpy() for output in outputs)
        assert any(np.array_equal(first, state[0, -1]) for state in states)
        np.testing.assert_allclose(rows, [first, second], rtol=2e-3, atol=2e-3)
    hidden, logits = backbone.extract(texts)
    np.testing.assert_array_equal(features.hidden, hidden)
    np.testing.assert_array_equal(features.logits, logits)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("start", [False, True])
def test_tokens_are_those_of_the_text_alone(chat, start):
    tokenizer = tiny.subwords(start, chat_template=CHAT)
    tokens = with_views(label_backbone(tokenizer=tokenizer, chat=chat), [*tiny.TEXTS, ""]).views["tokens"]
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in [*tiny.TEXTS, ""]]
    assert [row[row >= 0].tolist() for row in tokens] == expected
    assert tokens.shape == (9, max(map(len, expected)))
    assert tokens.dtype == np.int32


def test_tokens_are_cut_where_the_prompt_cuts_the_text(monkeypatch):
    backbone, text = label_backbone(examples=[], max_length=30), "the film is good " * 9
    encoded = backbone.encode(["bad", text])
    assert encoded.truncated.tolist() == [False, True]
    part = tiny.subwords().decode(encoded.text_ids[1])
    shorter, longer = (
        tiny.subwords()(f"review: {text[:k]} sentiment:")["input_ids"] for k in (len(part), len(part) + 1)
    )
    assert encoded.text_ids == [tiny.subwords()(text)["input_ids"] for text in ("bad", part)]
    assert text.startswith(part)
    assert encoded.inputs["input_ids"][1] == shorter
    assert len(shorter) == 30 < len(longer)
    monkeypatch.setattr("aligned_entropy.backbones.causal.MAX_TOKENS", 5)
    monkeypatch.setattr("aligned_entropy.head.views.MAX_TOKENS", 5)
    bounded = label_backbone(examples=[], max_length=30)
    assert bounded.view_shapes["tokens"] == (5,)
    assert with_views(bounded, [text]).views["tokens"].tolist() == [encoded.text_ids[1][:5]]


def test_a_text_may_have_more_tokens_alone_than_its_prompt(folder):
    """A word is one token after the space of the template, and several at the start of a text."""
    backbone = label_backbone(template=" {text}:", examples=[])
    prompts, alone = backbone.encode(["sentiment"]).inputs["input_ids"], tiny.subwords()("sentiment")["input_ids"]
    assert len(alone) > len(prompts[0])
    assert with_views(backbone, ["sentiment"]).views["tokens"].tolist() == [alone]
    assert backbone.features(["sentiment"], views=True).views["tokens"][0, : len(alone)].tolist() == alone


def test_all_layers_of_a_text_have_a_bounded_size(monkeypatch):
    monkeypatch.setattr("aligned_entropy.backbones.output_embedding.LAYER_VALUES", 2 * 16)
    many = label_backbone(model=tiny.language_model("Llama", num_hidden_layers=5))
    monkeypatch.undo()
    whole = label_backbone(model=tiny.language_model("Llama", num_hidden_layers=5))
    assert (many.view_shapes["layers"], whole.view_shapes["layers"]) == ((2, 16), (5, 16))
    chosen, layers = (with_views(backbone, TEXTS).views["layers"] for backbone in (many, whole))
    np.testing.assert_array_equal(chosen, layers[:, [1, 4]])


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_a_learned_prompt_has_no_views_until_it_is_switched_off(config):
    model = get_peft_model(tiny.language_model("Llama"), config(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    backbone = label_backbone(model=model)
    assert backbone.view_shapes == {}
    assert with_views(backbone, TEXTS).views == backbone.features(TEXTS, views=True).views == {}
    with model.disable_adapter():
        expected = with_views(label_backbone(), TEXTS).views
        np.testing.assert_allclose(with_views(backbone, TEXTS).views["layers"], expected["layers"], atol=5e-3)


def test_layers_inside_an_adapter():
    torch.manual_seed(1)
    config = LoraConfig("CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(tiny.language_model("Llama"), config).eval()
    adapted = with_views(label_backbone(model=model), TEXTS).views["layers"]
    plain = with_views(label_backbone(), TEXTS).views["layers"]
    merged = with_views(label_backbone(model=model.merge_and_unload()), TEXTS).views["layers"]
    np.testing.assert_allclose(adapted, merged, rtol=5e-3, atol=5e-3)
    assert np.abs(adapted - plain).max() > 0.1


def test_layers_that_are_not_found_leave_the_tokens():
    model = tiny.language_model("Llama")
    model.model.other = nn.ModuleList([nn.Identity(), nn.Identity()])  # another list with as many parts
    backbone = label_backbone(model=model)
    assert backbone.view_shapes == {"tokens": (128,)}
    assert set(with_views(backbone, TEXTS).views) == set(backbone.features(TEXTS, views=True).views) == {"tokens"}


def test_the_model_is_left_without_hooks_and_a_pass_without_views_has_none(monkeypatch):
    backbone = label_backbone()
    with_views(backbone, TEXTS)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.model.modules())

    def refuse(*_: object) -> None:
        raise AssertionError("no view was requested")

    monkeypatch.setattr("aligned_entropy.backbones.layers._vectors_at", refuse)
    monkeypatch.setattr(LabelPrompts, "encode_alone", refuse)
    assert backbone.extract_encoded(backbone.encode(TEXTS)).views == {}


def test_threads_get_the_layers_of_their_own_texts():
    backbone = label_backbone()
    expected = {text: with_views(backbone, [text]).views["layers"] for text in tiny.TEXTS}
    turns = tiny.TEXTS * 6
    with ThreadPoolExecutor(4) as threads:
        for text, features in zip(turns, threads.map(lambda text: with_views(backbone, [text]), turns), strict=True):
            np.testing.assert_allclose(features.views["layers"], expected[text], atol=5e-3)


# --- Equal numbers from every way of running a head with views.


def test_features_give_the_predictions_of_texts(classifier):
    features = classifier.backbone.features(TEXTS, views=True)
    assert features.views["layers"].shape == (60, 2, 16)
    assert features.views["tokens"].shape == (60, 128)
    uncertainty = classifier.predict(TEXTS).uncertainty
    np.testing.assert_array_equal(classifier.predict_features(features).uncertainty, uncertainty)
    rows = np.array([3, 50])
    np.testing.assert_allclose(classifier.predict_features(features[rows]).uncertainty, uncertainty[rows], atol=1e-6)
    np.testing.assert_allclose(classifier.predict(TEXTS[7]).uncertainty, uncertainty[7], atol=1e-4)


def test_an_older_store_is_filled_up(monkeypatch, tmp_path):
    backbone = label_backbone()
    assert backbone.features(TEXTS).views == {}
    (hidden,) = tmp_path.rglob("hidden.npy")
    written = hidden.stat().st_mtime_ns
    filled, fresh = backbone.features(TEXTS, views=True).views, with_views(backbone, TEXTS).views
    assert hidden.stat().st_mtime_ns == written
    np.testing.assert_array_equal(filled["layers"], fresh["layers"])
    width = fresh["tokens"].shape[1]
    np.testing.assert_array_equal(filled["tokens"][:, :width], fresh["tokens"])
    assert (filled["tokens"][:, width:] == -1).all()

    def refuse(*_: object) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(LabelWordBackbone, "extract_encoded", refuse)
    np.testing.assert_array_equal(backbone.features(TEXTS, views=True).views["tokens"], filled["tokens"])


def test_a_saved_head_gives_the_same_uncertainty(classifier, head, folder):
    assert read_config(head)["format"] == 2, "former versions would leave the views out"
    again = UncertainClassifier.from_pretrained(folder, head=head)
    np.testing.assert_array_equal(again.predict(TEXTS).uncertainty, classifier.predict(TEXTS).uncertainty)


def test_a_batch_and_a_server_give_the_same_uncertainty(classifier, head, folder, tmp_path):
    expected = classifier.predict(TEXTS).uncertainty
    pd.DataFrame({"text": TEXTS}).to_csv(tmp_path / "in.csv", index=False)
    done = in_process("predict", folder, tmp_path / "in.csv", "--head", head, "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv").uncertainty, expected, atol=1e-4)
    with TestClient(create_app(UncertainClassifier.from_pretrained(folder, head=head), head, Settings())) as client:
        rows = client.post("/v1/predict", json={"texts": TEXTS}).json()["predictions"]
    np.testing.assert_allclose([row["uncertainty"] for row in rows], expected, atol=1e-4)


def test_a_refit_keeps_the_views(classifier):
    feedback = classifier.features(labeled(900, 11))
    assert set(feedback.views) == {"layers", "tokens"}, "the head needs them"
    result = refit(classifier, feedback, calibration=classifier.features(labeled(400, 2)))
    assert any("views" in candidate for candidate in result.classifier.saved.fit["candidates"])


def test_an_evaluation_beside_prompts_without_content(classifier):
    data = labeled(300, 5)
    evaluation = classifier.evaluate(data, scores=[HEAD, "contextual calibration"], resamples=20)
    np.testing.assert_array_equal(evaluation.scores[HEAD], classifier.predict(data["text"]).uncertainty)
    aucs = {name: row["roc_auc"].value for name, row in evaluation.table.items()}
    assert aucs[HEAD] > aucs["contextual calibration"] + 0.2, "layers and tokens know what the logits do not"


def test_a_head_with_views_is_neither_attached_nor_exported(classifier, tmp_path):
    with pytest.raises(NotApplicableError, match=r"can be called with any prompt: use predict\(texts\) instead"):
        classifier.attach()
    with pytest.raises(UnsupportedModelError, match="its prompt is not part of a graph"):
        export_onnx(classifier, tmp_path)
