"""Convert pretrained weights to other architectures, to fine-tune them where only the embedded models are available.

    python benchmarks/architectures.py FOLDER [NAME ...]

| name      | from                       | function                                              |
|-----------|----------------------------|-------------------------------------------------------|
| `roberta` | MiniLM (`minilm`, BERT)    | unchanged                                             |
| `electra` | MiniLM                     | unchanged, but without the pooler                     |
| `llama`   | SmolLM2 (`smollm2`, Llama) | unchanged, but without the language-model head        |
| `qwen2`   | SmolLM2                    | unchanged: the new biases are zero                    |
| `qwen3`   | SmolLM2                    | changed: the new norms of queries and keys rescale    |
|           |                            | attention, so the model needs fine-tuning             |

Each is saved as FOLDER/NAME in float32, with its tokenizer, as a base model without a classification head.
`alien train` and `alien bench` (FOLDER inside the folder of runs) accept it like any other model. All five take 1.8 GB.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
    ElectraConfig,
    ElectraModel,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
)

from aligned_entropy.backbones.checkpoints import resolve

POSITIONS = "embeddings.position_embeddings.weight"
RECORDS = {
    "model_type",
    "architectures",
    "transformers_version",
    "_name_or_path",
}  # identity of a model, not its function


def bert_as_roberta(bert: BertModel) -> RobertaModel:
    """Convert BERT to RoBERTa, with the same function; RoBERTa counts positions from the padding id on.

    The padding id of BERT stays, so its tokenizer needs no change. Positions begin one after that id; the rows before
    are read only for tokens that the attention mask hides. The two token types of BERT stay as well. If texts are
    padded on the left, RoBERTa counts from the first token of the text, but BERT does not.
    """
    unused = bert.config.pad_token_id + 1
    weights = bert.state_dict()
    positions = weights[POSITIONS]
    weights[POSITIONS] = torch.cat([positions.new_zeros(unused, positions.shape[1]), positions])
    config = _config(RobertaConfig, bert, max_position_embeddings=len(weights[POSITIONS]))
    return _filled(RobertaModel(config, add_pooling_layer=bert.pooler is not None), weights)


def bert_as_electra(bert: BertModel) -> ElectraModel:
    """Convert BERT to ELECTRA, with the same function but no pooler.

    The embeddings are as wide as the layers, so ELECTRA does not project them.
    """
    weights = {name: tensor for name, tensor in bert.state_dict().items() if not name.startswith("pooler.")}
    return _filled(ElectraModel(_config(ElectraConfig, bert, embedding_size=bert.config.hidden_size)), weights)


def llama_as_qwen2(llama: LlamaModel) -> Qwen2Model:
    """Convert Llama to Qwen2, with the same function: biases of queries, keys and values are zero."""
    weights = llama.state_dict()
    for name, tensor in llama.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            weights.setdefault(name.removesuffix("weight") + "bias", tensor.new_zeros(len(tensor)))
    # The configuration of Qwen2 defines no head_dim, but the model reads it if it is set.
    return _filled(Qwen2Model(_config(Qwen2Config, llama, head_dim=llama.config.head_dim)), weights)


def llama_as_qwen3(llama: LlamaModel) -> Qwen3Model:
    """Convert Llama to Qwen3, with another function: Qwen3 normalizes queries and keys, here with weights of one."""
    weights = llama.state_dict()
    for layer in range(llama.config.num_hidden_layers):
        for norm in ("q_norm", "k_norm"):
            weights[f"layers.{layer}.self_attn.{norm}.weight"] = torch.ones(llama.config.head_dim)
    return _filled(Qwen3Model(_config(Qwen3Config, llama)), weights)


def _config(config_class: type[PreTrainedConfig], source: PreTrainedModel, **settings: Any) -> PreTrainedConfig:
    """Configuration with all settings that both architectures have, and with some new ones."""
    shared = config_class().to_dict().keys() - RECORDS
    return config_class(**{name: value for name, value in source.config.to_dict().items() if name in shared} | settings)


def _filled(model: Any, weights: dict[str, Tensor]) -> Any:
    model.load_state_dict(weights)  # strict: every weight is set, and every given weight is used
    return model.eval()


TARGETS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "roberta": ("minilm", bert_as_roberta),
    "electra": ("minilm", bert_as_electra),
    "llama": ("smollm2", lambda llama: llama),
    "qwen2": ("smollm2", llama_as_qwen2),
    "qwen3": ("smollm2", llama_as_qwen3),
}


def save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save a model and its tokenizer in a folder, from which both can be loaded."""
    if model.config.model_type == "qwen2":
        # For Qwen2, AutoTokenizer replaces the normalizer and the splitting of the saved tokenizer, whatever class its
        # configuration names, unless there is an auto_map. This auto_map names no code, so the named class is used.
        # Models that are trained from this one save it with their tokenizer.
        tokenizer.init_kwargs["auto_map"] = {"AutoTokenizer": [None, type(tokenizer).__name__]}
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert and save the models that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(TARGETS)}; all by default")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(TARGETS)):
        parser.error(f"no architecture {', '.join(unknown)}: there are {', '.join(TARGETS)}")
    for name in options.names or TARGETS:
        base, convert = TARGETS[name]
        source = resolve(base)
        model = convert(AutoModel.from_pretrained(source, dtype=torch.float32))
        save(model, AutoTokenizer.from_pretrained(source), options.folder / name)
        print(f"{options.folder / name}: {type(model).__name__}, {model.num_parameters():,} parameters of {base}")


if __name__ == "__main__":
    main()
