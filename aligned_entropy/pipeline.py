"""A transformers pipeline whose answers carry their uncertainty: ``uncertain-text-classification``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification, TextClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .backbones import Backbone
from .classifier import UncertainClassifier
from .errors import HeadMismatchError, UnsupportedModelError
from .saved.format import read_config
from .saved.hub import resolve_head

TASK = "uncertain-text-classification"


class UncertainTextClassificationPipeline(TextClassificationPipeline):
    """Text classification whose answers say ``uncertainty``; after a fit ``error_probability``, by a rule ``accepted``.

    Texts are cut where the head's calibration texts were, without a head at the model's own limit up to 512 tokens;
    ``truncation`` and ``max_length`` at a call say otherwise.

    Args:
        head: path or hub id of a fitted head, as :meth:`UncertainClassifier.save_pretrained` leaves it; the untrained
            entropy when left out. One that does not fit the model is refused here, not at the first text.
        args: of transformers' own pipeline.
        kwargs: likewise.

    Attributes:
        uncertain: the classifier with its head, attached to the pipeline's model.

    Raises:
        HeadMismatchError: the head is none, or was fitted for another model.
        UnsupportedModelError: there is no tokenizer, or the model is no classifier.
    """

    def __init__(self, *args: Any, head: str | Path | None = None, **kwargs: Any) -> None:
        if head is not None and not isinstance(head, (str, Path)):
            raise HeadMismatchError(
                f"head is a {type(head).__name__}, a path or hub id is needed: call save_pretrained(folder) and pass "
                "the folder."
            )
        super().__init__(*args, **kwargs)
        if self.tokenizer is None:
            raise UnsupportedModelError("an uncertain-text-classification pipeline needs a tokenizer: pass tokenizer=…")
        known = {} if head is None else read_config(resolve_head(head))["backbone"]
        name, max_length = self.model.name_or_path, known.get("max_length")
        self.uncertain = UncertainClassifier(Backbone(self.model, self.tokenizer, max_length=max_length, name=name))
        if head is not None:
            self.uncertain.load_head(head)
        self.uncertain.attach()

    def preprocess(self, inputs: Any, **tokenizer_kwargs: Any) -> Any:
        """Transformers' own, with the texts cut as the head's calibration texts were."""
        length = {"truncation": True, "max_length": self.uncertain.backbone.max_length}
        return super().preprocess(inputs, **(length | tokenizer_kwargs))

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
        extra: dict[str, Any] = {name: float(model_outputs[name].reshape(-1)[0]) for name in known}
        rule = self.uncertain.saved.rule
        if rule is not None:
            label = self.uncertain.label_names[int(model_outputs["logits"].reshape(-1).argmax())]
            extra["accepted"] = bool(rule.accepts([extra["uncertainty"]], [label])[0])
        return answer | extra if isinstance(answer, dict) else [item | extra for item in answer]


def register() -> None:
    """Make the task known to ``transformers.pipeline``."""
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=UncertainTextClassificationPipeline, pt_model=AutoModelForSequenceClassification
    )
