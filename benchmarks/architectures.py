"""Pretrained weights carried into other architectures: models to fine-tune where the embedded ones are all there are.

    python benchmarks/architectures.py FOLDER [NAME ...]

| name      | from                       | function                                              |
|-----------|----------------------------|-------------------------------------------------------|
| `roberta` | MiniLM (`minilm`, BERT)    | the same                                              |
| `electra` | MiniLM                     | the same (ELECTRA has no pooler: its head is all new) |
| `llama`   | SmolLM2 (`smollm2`, Llama) | the same, without its language-model head             |
| `qwen2`   | SmolLM2                    | the same: the new biases are zero                     |
| `qwen3`   | SmolLM2                    | another: the new norms of queries and keys rescale    |
|           |                            | attention, and fine-tuning has to make up for it      |

Each is saved as FOLDER/NAME, in float32 and with its tokenizer: a base model without a classification head, which
`alien train` and `alien bench` (FOLDER inside the folder of runs) take like any other. All five take 1.8 GB.
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

from aligned_entropy.backbones.loading import resolve

POSITIONS = "embeddings.position_embeddings.weight"
RECORDS = {"model_type", "architectures", "transformers_version", "_name_or_path"}  # who a model is, not what it does


def bert_as_roberta(bert: BertModel) -> RobertaModel:
    """The same function: RoBERTa is BERT, with positions that are counted from the padding id on.

    BERT's padding id stays, so its tokenizer serves as it is; positions begin one after that id, and the rows before
    are never read, or only where the attention mask hides the token. Two token types stay too: BERT always adds one.
    Where texts are padded on the left, RoBERTa still counts from the text's first token, and BERT does not.
    """
    unused = bert.config.pad_token_id + 1
    weights = bert.state_dict()
    positions = weights[POSITIONS]
    weights[POSITIONS] = torch.cat([positions.new_zeros(unused, positions.shape[1]), positions])
    config = _config(RobertaConfig, bert, max_position_embeddings=len(weights[POSITIONS]))
    return _filled(RobertaModel(config, add_pooling_layer=bert.pooler is not None), weights)


def bert_as_electra(bert: BertModel) -> ElectraModel:
    """The same function, without BERT's pooler: embeddings as wide as the layers, so none are projected."""
    weights = {name: tensor for name, tensor in bert.state_dict().items() if not name.startswith("pooler.")}
    return _filled(ElectraModel(_config(ElectraConfig, bert, embedding_size=bert.config.hidden_size)), weights)


def llama_as_qwen2(llama: LlamaModel) -> Qwen2Model:
    """The same function: Qwen2 is Llama with biases of queries, keys and values, zero here. No sliding window."""
    weights = llama.state_dict()
    for name, tensor in llama.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            weights.setdefault(name.removesuffix("weight") + "bias", tensor.new_zeros(len(tensor)))
    # Qwen2 has no head_dim of its own, but reads it where there is one.
    return _filled(Qwen2Model(_config(Qwen2Config, llama, head_dim=llama.config.head_dim)), weights)


def llama_as_qwen3(llama: LlamaModel) -> Qwen3Model:
    """Another function: Qwen3 normalizes every query and key, here with weights of one. All else is Llama's."""
    weights = llama.state_dict()
    for layer in range(llama.config.num_hidden_layers):
        for norm in ("q_norm", "k_norm"):
            weights[f"layers.{layer}.self_attn.{norm}.weight"] = torch.ones(llama.config.head_dim)
    return _filled(Qwen3Model(_config(Qwen3Config, llama)), weights)


def _config(kind: type[PreTrainedConfig], source: PreTrainedModel, **own: Any) -> PreTrainedConfig:
    """What the source's configuration says about things that the other architecture has too, and its own."""
    shared = kind().to_dict().keys() - RECORDS
    return kind(**{name: value for name, value in source.config.to_dict().items() if name in shared} | own)


def _filled(model: Any, weights: dict[str, Tensor]) -> Any:
    model.load_state_dict(weights)  # strict: nothing of the random initialization remains, nothing is left out
    return model.eval()


TARGETS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "roberta": ("minilm", bert_as_roberta),
    "electra": ("minilm", bert_as_electra),
    "llama": ("smollm2", lambda llama: llama),
    "qwen2": ("smollm2", llama_as_qwen2),
    "qwen3": ("smollm2", llama_as_qwen3),
}


def save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """A folder from which model and tokenizer load as they are."""
    if model.config.model_type == "qwen2":
        # AutoTokenizer puts Qwen2's own normalizer and splitting in place of the tokenizer's, whatever class its
        # configuration names, unless an auto_map is there; this one names no code, so that class is used. It is saved
        # along with the tokenizer of whatever is trained from here.
        tokenizer.init_kwargs["auto_map"] = {"AutoTokenizer": [None, type(tokenizer).__name__]}
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make and save the models that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(TARGETS)}; all of them by default")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(TARGETS)):
        parser.error(f"no architecture {', '.join(unknown)}: there are {', '.join(TARGETS)}")
    for name in options.names or TARGETS:
        base, carry = TARGETS[name]
        source = resolve(base)
        model = carry(AutoModel.from_pretrained(source, dtype=torch.float32))
        save(model, AutoTokenizer.from_pretrained(source), options.folder / name)
        print(f"{options.folder / name}: {type(model).__name__}, {model.num_parameters():,} parameters of {base}")


if __name__ == "__main__":
    main()
