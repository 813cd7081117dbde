"""The model card of a checkpoint."""

from __future__ import annotations

from .configuration_iser import IserConfig


def model_card(config: IserConfig, sections: str = "") -> str:
    """
    Model card (README.md with the Hub's YAML head) of a checkpoint.

    Args:
        config: the checkpoint's configuration.
        sections: further Markdown, such as data, settings and scores of the training.
    """
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags:
- iser
- joint-entity-and-relation-extraction
- relation-extraction
- named-entity-recognition
---

# ISER: joint entity and relation extraction

Span-based joint extraction with an interactive fusion representation and semantic enhancement attention.

- Encoder: `{config.encoder_config.model_type}`, hidden size {config.hidden_size}
- Entity types: {", ".join(config.entity_types)}
- Relation types: {", ".join(config.relation_types)}
- Candidate spans: up to {config.max_span_width} words
- Fusion `{config.fusion}`, span context `{config.span_context}`, relation context `{config.relation_context}`

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

The model finds what resembles its training data; it makes mistakes and its scores are not calibrated
probabilities. It is a research tool and **not for clinical decisions**.
"""
