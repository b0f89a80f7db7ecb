"""Model card of a saved head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..backbones import ENDPOINT, OUTPUTS


def model_card(config: dict[str, Any]) -> str:
    """Markdown of the model card of a head, with the metadata block that the Hub reads.

    Args:
        config: config of the saved head.
    """
    backbone, fit = config["backbone"], config["fit"]
    name = backbone.get("name") or "path-of-the-model"
    loading = f'from_pretrained("{name}", head="path-or-id-of-this-head")'
    inputs = '[("some text", "its second text")]' if fit.get("pairs") else '["some text"]'
    if backbone.get("model class") == OUTPUTS:
        name, loading = OUTPUTS, 'from_outputs(head="path-or-id-of-this-head")'
        inputs = '"outputs.jsonl"'
    elif backbone.get("model class") == ENDPOINT:
        loading = 'from_endpoint("http://127.0.0.1:8080/v1", head="path-or-id-of-this-head")'
    rows = "".join(
        f"| {key} | {value} |\n" for key, value in (backbone | fit).items() if not isinstance(value, (dict, list))
    )
    hub_id = f"base_model: {name}\n" if name.count("/") == 1 and not Path(name).exists() else ""
    return f"""---
library_name: aligned-entropy
{hub_id}tags:
- uncertainty-estimation
- selective-prediction
- text-classification
---

# Uncertainty head for {name}

Estimates how likely a prediction of this classifier is to be wrong. The classifier is neither included nor changed.

```python
from aligned_entropy import UncertainClassifier

classifier = UncertainClassifier.{loading}
for row in classifier.predict({inputs}):
    print(row.label, row.error_probability)
```

| | |
|---|---|
{rows}
Method: ALIEN, arXiv 2505.15443. The error probabilities are valid for texts like those of the calibration set; measure
them on your own data before you rely on them. The head may hold projected hidden vectors and labels of the texts that
it was fitted on, never the texts.
"""
