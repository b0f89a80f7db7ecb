"""A transformers pipeline whose answers carry their uncertainty: ``uncertain-text-classification``."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSequenceClassification, TextClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .backbones import Backbone
from .classifier import UncertainClassifier
from .errors import UnsupportedModelError

TASK = "uncertain-text-classification"


class UncertainTextClassificationPipeline(TextClassificationPipeline):
    """Text classification with ``uncertainty`` and, with a fitted head, ``error_probability`` in every answer.

    Args:
        head: path or hub id of a fitted head, or a fitted :class:`UncertainClassifier`'s saved head; the untrained
            entropy when left out. One that does not fit the model is refused here, not at the first text.
        args: of transformers' own pipeline.
        kwargs: likewise.
    """

    def __init__(self, *args: Any, head: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.tokenizer is None:
            raise UnsupportedModelError("an uncertain-text-classification pipeline needs a tokenizer: pass tokenizer=…")
        self.uncertain = UncertainClassifier(Backbone(self.model, self.tokenizer, name=self.model.name_or_path))
        if head is not None:
            self.uncertain.load_head(head)
        self.uncertain.attach()

    def _forward(self, model_inputs: Any) -> dict[str, Any]:
        output = super()._forward(model_inputs)
        tensors = {"logits": output.logits, "uncertainty": output.uncertainty}
        if hasattr(output, "error_probability"):
            tensors["error_probability"] = output.error_probability
        return tensors  # a plain dict: the pipeline takes it apart text by text, whatever the batch size

    def postprocess(self, model_outputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Transformers' answer, with the uncertainty of the text."""
        answer = super().postprocess(model_outputs, *args, **kwargs)
        known = [name for name in ("uncertainty", "error_probability") if name in model_outputs]
        extra = {name: float(model_outputs[name].reshape(-1)[0]) for name in known}
        return answer | extra if isinstance(answer, dict) else [item | extra for item in answer]


def register() -> None:
    """Make the task known to ``transformers.pipeline``."""
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=UncertainTextClassificationPipeline, pt_model=AutoModelForSequenceClassification
    )
