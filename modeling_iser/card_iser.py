"""The model card of a checkpoint."""

from __future__ import annotations

from .configuration_iser import IserConfig, JointExtractionConfig


def model_card(config: JointExtractionConfig, sections: str = "") -> str:
    """
    The model card of a checkpoint: the text of a README.md with YAML front matter for the Hub.

    Args:
        config: the checkpoint's configuration.
        sections: additional Markdown, such as training data, settings and scores.
    """
    if isinstance(config, IserConfig):
        title = "ISER: joint entity and relation extraction"
        system = (
            "Span-based joint extraction with an interactive fusion representation and semantic enhancement "
            "attention.\n\n"
            f"- Fusion `{config.fusion}`, span context `{config.span_context}`, relation context "
            f"`{config.relation_context}`"
        )
    else:
        title = f"{config.model_type}: joint entity and relation extraction"
        system = f"- System `{config.model_type}`"
    scores = (
        "it makes mistakes and its scores are not calibrated probabilities."
        if config.calibration is None
        else "it makes mistakes. Its scores are calibrated on its validation documents: they estimate how often such "
        "predictions are correct there, and are less reliable on other text."
    )
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags:
- iser
- joint-entity-and-relation-extraction
- relation-extraction
- named-entity-recognition
---

# {title}

{system}
- Encoder: `{config.encoder_config.model_type}`, hidden size {config.hidden_size}
- Entity types: {", ".join(config.entity_types)}
- Relation types: {", ".join(config.relation_types)}
- Entities of up to {config.max_span_width} words

## Use

```python
from transformers import AutoModel, pipeline

model = AutoModel.from_pretrained("path/to/checkpoint", trust_remote_code=True)
model.extract(["A text."])

extractor = pipeline("joint-extraction", model="path/to/checkpoint", trust_remote_code=True)
extractor("A text.")
```
{sections}
## Limits

The model finds what resembles its training data; {scores} It is a research tool and **not for clinical decisions**.
"""
