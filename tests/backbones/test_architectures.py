"""Weights transferred to other architectures: the same function if that is claimed, and no random weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import LabeledTexts
from aligned_entropy.finetune import TrainConfig, train_classifier
from fixtures import tiny

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "architectures.py"
spec = importlib.util.spec_from_file_location("architectures", SCRIPT)
architectures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(architectures)

LENGTHS = (7, 3, 1)
CARRIED = [
    ("Bert", architectures.bert_as_roberta),
    ("Bert", architectures.bert_as_electra),
    ("Llama", architectures.llama_as_qwen2),
    ("Llama", architectures.llama_as_qwen3),
]


def base(kind, **options):
    """Make a tiny base model in which no vector of parameters is constant, as after initialization."""
    model = tiny.model(kind, **options).base_model
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() == 1:
                weights.add_(torch.randn(weights.shape, generator=generator) * 0.2)
    return model


def batch(model, side, lengths=LENGTHS):
    """Make a batch of random tokens, padded on one side."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(len(tiny.SPECIAL), tiny.VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    positions = torch.arange(max(lengths)).expand(ids.shape)
    length = torch.tensor(lengths).unsqueeze(1)
    mask = (positions < length if side == "right" else positions >= max(lengths) - length).long()
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id), "attention_mask": mask}


def states(model, inputs, **more):
    """Compute the hidden states of the tokens, after the embeddings and after every layer."""
    with torch.inference_mode():
        hidden = model(**inputs, output_hidden_states=True, **more).hidden_states
    return torch.stack(hidden)[:, inputs["attention_mask"].bool()]


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pad", [0, 1])  # MiniLM's, RoBERTa's
def test_roberta_is_bert(pad):
    bert = base("Bert", pad_token_id=pad)
    roberta = architectures.bert_as_roberta(bert)
    inputs = batch(bert, "right", (40, 3, 1))  # the longest text uses every position
    assert_same(states(roberta, inputs), states(bert, inputs))
    types = inputs["input_ids"] % 2
    assert_same(states(roberta, inputs, token_type_ids=types), states(bert, inputs, token_type_ids=types))
    with torch.inference_mode():
        assert_same(roberta(**inputs).pooler_output, bert(**inputs).pooler_output)


def test_roberta_counts_from_the_first_token_of_a_text_padded_on_the_left():
    bert = base("Bert")
    inputs = batch(bert, "left")
    counted = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    ours = states(architectures.bert_as_roberta(bert), inputs)
    assert_same(ours, states(bert, inputs, position_ids=counted))
    assert not np.allclose(ours, states(bert, inputs), atol=1e-2)


@pytest.mark.parametrize("side", ["right", "left"])
def test_electra_is_bert(side):
    bert = base("Bert")
    inputs = batch(bert, side, (40, 3, 1))
    electra = architectures.bert_as_electra(bert)
    assert_same(states(electra, inputs), states(bert, inputs))
    assert not hasattr(electra, "embeddings_project")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head_dim": 4, "rms_norm_eps": 1e-2, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
        {"tie_word_embeddings": True, "num_key_value_heads": 2, "hidden_act": "gelu"},
    ],
)
def test_qwen2_is_llama(side, options):
    llama = base("Llama", **options)
    inputs = batch(llama, side)
    qwen2 = architectures.llama_as_qwen2(llama)
    assert_same(states(qwen2, inputs), states(llama, inputs))
    assert set(qwen2.config.layer_types) == {"full_attention"}
    new = qwen2.state_dict().keys() - llama.state_dict().keys()
    assert {name.split(".", 3)[3] for name in new} == {"q_proj.bias", "k_proj.bias", "v_proj.bias"}
    assert not any(qwen2.state_dict()[name].any() for name in new)


def test_qwen3_has_the_weights_of_llama_and_norms_of_its_own():
    llama = base("Llama", head_dim=4)
    qwen3 = architectures.llama_as_qwen3(llama)
    weights = qwen3.state_dict()
    assert all(torch.equal(weights.pop(name), tensor) for name, tensor in llama.state_dict().items())
    assert {name.split(".", 3)[3] for name in weights} == {"q_norm.weight", "k_norm.weight"}
    assert all(torch.equal(tensor, torch.ones(4)) for tensor in weights.values())
    inputs = batch(llama, "right")
    ours, theirs = states(qwen3, inputs), states(llama, inputs)
    assert_same(ours[0], theirs[0])
    assert not np.allclose(ours[-1], theirs[-1], atol=1e-2)


def test_qwen3_is_llama_except_for_the_norms():
    """Zero queries are not changed by the norms."""
    llama = base("Llama")
    with torch.no_grad():
        for layer in llama.layers:
            layer.self_attn.q_proj.weight.zero_()
    inputs = batch(llama, "left")
    assert_same(states(architectures.llama_as_qwen3(llama), inputs), states(llama, inputs))


@pytest.mark.parametrize(("kind", "carry"), CARRIED)
def test_nothing_is_random_and_the_source_is_unchanged(kind, carry):
    source = base(kind)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    transferred = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        transferred.append(carry(source).state_dict())
    assert all(torch.equal(tensor, transferred[1][name]) for name, tensor in transferred[0].items())
    for tensor in transferred[0].values():
        tensor.fill_(9.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.state_dict().items())


def test_weights_without_a_counterpart_are_refused():
    with pytest.raises(RuntimeError, match=r"o_proj\.bias"):
        architectures.llama_as_qwen2(base("Llama", attention_bias=True))
    without_pooler = type(base("Bert"))(base("Bert").config, add_pooling_layer=False)
    assert architectures.bert_as_roberta(without_pooler).pooler is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Run the command on tiny models instead of the embedded ones; it makes all five architectures."""
    words = {word: i for i, word in enumerate(["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tiny.WORDS])}
    sources = {"minilm": BertTokenizer(vocab=words, model_max_length=32), "smollm2": tiny.tokenizer("decoder")}
    base("Bert", vocab_size=len(words), pad_token_id=0).save_pretrained(tmp_path / "minilm")
    base("Llama").save_pretrained(tmp_path / "smollm2")
    for name, tokenizer in sources.items():
        tokenizer.save_pretrained(tmp_path / name)
    monkeypatch.setattr(architectures, "resolve", lambda name: str(tmp_path / name))
    architectures.main([str(tmp_path / "bases")])
    return tmp_path / "bases"


@pytest.mark.filterwarnings("ignore:in the last epoch the classifier predicted nothing but")  # of texts without sense
@pytest.mark.parametrize("name", architectures.TARGETS)
def test_a_saved_folder_loads_and_can_be_trained(folder, name, tmp_path):
    source = tmp_path / architectures.TARGETS[name][0]
    ids = AutoTokenizer.from_pretrained(source)(tiny.TEXTS).input_ids
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    assert tokenizer(tiny.TEXTS).input_ids == ids

    inputs = tokenizer(tiny.TEXTS, padding=True, return_tensors="pt")
    ours = states(AutoModel.from_pretrained(folder / name), inputs)
    theirs = states(AutoModel.from_pretrained(source), inputs)
    assert np.allclose(ours, theirs, atol=1e-5) == (name != "qwen3")

    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder / name, num_labels=2, output_loading_info=True
    )
    assert model.config.model_type == name
    assert {missing.split(".")[0] for missing in info["missing_keys"]} <= {"classifier", "score"}
    assert not info["mismatched_keys"]
    assert all("pooler" in key for key in info["unexpected_keys"])  # RoBERTa's classifier has no pooler

    data = LabeledTexts(tiny.TEXTS, np.arange(len(tiny.TEXTS)) % 2, ["even", "odd"])
    train_classifier(folder / name, data, tmp_path / "trained", TrainConfig(epochs=1))
    trained = UncertainClassifier.from_pretrained(tmp_path / "trained")
    assert trained.backbone.config.model_type == name
    assert trained.backbone.tokenize(tiny.TEXTS)["input_ids"] == ids


def test_only_named_architectures_are_made(tmp_path, folder, capsys):
    architectures.main([str(tmp_path / "one"), "electra"])
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["electra"]
    with pytest.raises(SystemExit):
        architectures.main([str(tmp_path / "one"), "gpt5"])
    assert "no architecture gpt5: there are roberta" in capsys.readouterr().err
