"""Conversion of GGUF files, in which the embedded language model is distributed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from ..display.progress_bars import without_progress_bars
from ..features.files import cache_folder


@without_progress_bars()
def converted_gguf(folder: Path) -> Path:
    """Convert the GGUF file in a folder to an ordinary checkpoint, unless this was done before; return its folder.

    Transformers can save and train an ordinary checkpoint, but not a GGUF file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target = cache_folder() / "models" / folder.name
    if not target.exists():
        (file,) = folder.glob("*.gguf")
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32)
        plain = type(loaded)(loaded.config)
        plain.load_state_dict(loaded.state_dict())
        if hasattr(plain.config, "quantization_config"):
            del plain.config.quantization_config
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            checkpoint = Path(scratch) / target.name
            tokenizer.save_pretrained(checkpoint)
            plain.save_pretrained(checkpoint)
            try:
                checkpoint.rename(target)
            except OSError:  # another process may have been faster
                if not target.exists():
                    raise
    return target
