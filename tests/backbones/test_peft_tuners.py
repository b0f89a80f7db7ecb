"""All kinds of PEFT adapters: the head copies the module in use, before and after a merge."""

from itertools import cycle, product
from typing import Any

import numpy as np
import peft
import pytest
import torch

from aligned_entropy import UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, LabelWordBackbone
from fixtures import tiny
from fixtures.cases import always

CLOSE = {"rtol": 0, "atol": 1e-4}
LAYERS = {"Bert": ["query", "value"], "Llama": ["q_proj", "v_proj"]}
NORMS = {"Bert": ["LayerNorm"], "Llama": ["norm"]}
PROMPT = {"num_virtual_tokens": 3}
RANK = {"r": 2}
TUNERS: dict[str, dict[str, Any]] = {
    "AdaLora": {"total_step": 10, "init_r": 4, "target_r": 2},  # it calls `forward` past the hooks of the model
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 8},
    "Delora": RANK,
    "FourierFT": {"n_frequency": 10},
    "HRA": RANK,
    "IA3": {"feedforward_modules": []},
    "LNTuning": {},
    "LoHa": RANK,
    "LoKr": RANK,
    "Lora": RANK,
    "Lora-dora": {**RANK, "use_dora": True},
    "Lora-rslora": {**RANK, "use_rslora": True},
    "Miss": RANK,
    "OFT": {"oft_block_size": 4},
    "PrefixTuning": PROMPT,  # for an encoder it replaces the forward pass of the model
    "PromptEncoder": {**PROMPT, "encoder_hidden_size": 8},
    "PromptTuning": PROMPT,
    "RandLora": RANK,
    "Road": {"group_size": 8},
    "Shira": RANK,
    "TrainableTokens": {"token_indices": [4, 5]},
    "VBLoRA": {"num_vectors": 8, "vector_length": 4, "topk": 2},
    "Vera": RANK,
    "WaveFT": {"n_frequency": 10},
}
WITHOUT_LAYERS = {"LNTuning", "PrefixTuning", "PromptEncoder", "PromptTuning", "TrainableTokens"}


def adapted(kind: str, tuner: str, **options: Any) -> Any:
    """Put an adapter with random weights around a tiny classifier."""
    name = tuner.partition("-")[0]
    settings = {"task_type": "SEQ_CLS", **TUNERS.get(tuner, {}), **options}
    if name == "LNTuning":
        settings["target_modules"] = NORMS[kind]
    elif name not in WITHOUT_LAYERS:
        settings["target_modules"] = LAYERS[kind]
    model = peft.get_peft_model(tiny.model(kind), getattr(peft, f"{name}Config")(**settings))
    return train(model)


def train(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = torch.randn(weights.shape, generator=generator) * 0.3
    return model.eval()


def logits_of(model: Any, kind: str) -> torch.Tensor:
    """Logits of texts one by one, as the adapter computes them."""
    with torch.inference_mode():
        batches = [tiny.tokenizer_of(kind)([text], return_tensors="pt") for text in tiny.TEXTS]
        return torch.cat([model(**inputs).logits for inputs in batches]).double()


def entropy(logits: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1) / np.log(logits.shape[-1])


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PEFT, about its own settings
@pytest.mark.parametrize(("kind", "tuner"), always(*zip(cycle(LAYERS), TUNERS), of=list(product(LAYERS, TUNERS))))
def test_the_untrained_head_gives_the_entropy_of_the_adapted_model(tuner: str, kind: str) -> None:
    model = adapted(kind, tuner)
    logits = logits_of(model, kind)
    assert not np.allclose(logits, logits_of(tiny.model(kind), kind), atol=1e-3), "the adapter changes the logits"
    classifier = UncertainClassifier(Backbone(model, tiny.tokenizer_of(kind)))
    for is_merged in [False] if hasattr(model, "prompt_encoder") else [False, True]:
        if is_merged:
            model.merge_adapter()
        predictions = classifier.predict(tiny.TEXTS)
        np.testing.assert_allclose(predictions.probabilities, logits.softmax(-1), **CLOSE)
        np.testing.assert_allclose(predictions.uncertainty, entropy(logits), **CLOSE)
        np.testing.assert_allclose(attached_uncertainty(classifier, kind), entropy(logits), **CLOSE)


def attached_uncertainty(classifier: UncertainClassifier, kind: str) -> np.ndarray:
    """Uncertainty that the user's calls of the model carry."""
    classifier.attach()
    with torch.inference_mode():
        tokens = [tiny.tokenizer_of(kind)([text], return_tensors="pt") for text in tiny.TEXTS]
        outputs = [classifier.backbone.model(**row) for row in tokens]
    classifier.detach()
    assert not hasattr(outputs[0], "label_uncertainty")
    return np.concatenate([output.uncertainty for output in outputs])


@pytest.mark.parametrize("tuner", ["AdaLora", "Lora", "PrefixTuning", "TrainableTokens"])
def test_a_language_model_with_an_adapter_gives_the_logits_of_its_words(tuner: str) -> None:
    settings = {"task_type": "CAUSAL_LM", **TUNERS[tuner]}
    if tuner not in WITHOUT_LAYERS:
        settings["target_modules"] = LAYERS["Llama"]
    config = getattr(peft, f"{tuner}Config")(**settings)
    model = train(peft.get_peft_model(tiny.language_model("Llama"), config))
    options = {"labels": {"no": "bad", "yes": "good"}, "template": "review: {text} sentiment:"}
    backbone = LabelWordBackbone(model, tiny.subwords(), **options)
    hidden, logits = backbone.extract(tiny.TEXTS)
    tokens = [token for (token,) in backbone.prompts.tokens]
    with torch.inference_mode():
        ids = [torch.tensor([prompt]) for prompt in backbone.prompts.encode(tiny.TEXTS)]
        expected = torch.cat([model(input_ids=prompt).logits[:, -1, tokens] for prompt in ids])
    np.testing.assert_allclose(logits, expected, **CLOSE)
    np.testing.assert_allclose(backbone.copy_classification_module()(torch.tensor(hidden)), expected, **CLOSE)


@pytest.mark.parametrize(
    ("tuner", "options", "reason"),
    [
        ("Lily", RANK, "depends on the other texts of a batch"),
        ("Poly", RANK, "needs the task of every text"),
        ("MultitaskPromptTuning", {**PROMPT, "num_tasks": 2, "num_ranks": 1}, "needs the task of every text"),
    ],
)
def test_adapters_that_need_more_than_the_text_are_refused(tuner: str, options: dict[str, Any], reason: str) -> None:
    if tuner == "MultitaskPromptTuning":
        config = peft.MultitaskPromptTuningConfig(task_type="SEQ_CLS", **options)
        model = peft.get_peft_model(tiny.model("Llama"), config)
    else:
        model = adapted("Bert", tuner, **options)
    with pytest.raises(UnsupportedModelError, match=f"{reason}: train an adapter of another kind"):
        Backbone(model, tiny.tokenizer())
