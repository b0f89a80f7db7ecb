"""The model card of a saved head."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _model_card(config: dict[str, Any]) -> str:
    backbone, fit = config["backbone"], config["fit"]
    name = backbone.get("name") or "path-of-the-model"
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

Says how likely an answer of this classifier is to be wrong. The classifier itself is not part of it and is not changed.

```python
from aligned_entropy import UncertainClassifier

classifier = UncertainClassifier.from_pretrained("{name}", head="path-or-id-of-this-head")
for row in classifier.predict(["some text"]):
    print(row.label, row.error_probability)
```

| | |
|---|---|
{rows}
Method: ALIEN, arXiv 2505.15443. Valid for texts like those that it was calibrated on; measure it on your own before
relying on it. The head may hold projected hidden vectors and labels of the texts that it was fitted on, never the
texts.
"""
