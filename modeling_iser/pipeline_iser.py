"""The `ddi-extraction` pipeline: texts in, entities and relations with character offsets out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import Pipeline

from .text_iser import split_words


class DdiExtractionPipeline(Pipeline):
    """
    Extract entities and relations from raw text; drug-drug interactions with a model trained on those.

    ```python
    extractor = pipeline("ddi-extraction", model="path/to/checkpoint", trust_remote_code=True)
    extractor("布美他尼片@与多巴胺合用,利尿作用加强")
    ```

    Args (of a call):
        inputs: a text, a list of texts, or an iterator over texts (answered one by one).
        entity_threshold: least probability of an entity's type, default 0.
        relation_threshold: least score of a relation, default the model's.

    Returns:
        For each text `{"text", "entities", "relations"}`: an entity is `{"text", "type", "start", "end",
        "score"}`, offsets counting characters with `text[start:end]` the entity's text; a relation is
        `{"type", "head", "tail", "score"}`, head and tail being entities.

    Not for clinical decisions.
    """

    # What the pipeline loads beside the model. (transformers declares the switches as None.)
    _load_tokenizer: Any = True
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extractor: Any = self.model
        tokenizer: Any = self.tokenizer
        if tokenizer is not None:
            self.extractor.tokenizer = tokenizer

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, Sequence) and len(inputs) == 0 and not isinstance(inputs, str):
            return []
        if isinstance(inputs, Iterator):
            inputs = (text for text in inputs)  # transformers streams generators, and no other iterators.
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, entity_threshold: float | None = None, relation_threshold: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        thresholds = {"entity_threshold": entity_threshold, "relation_threshold": relation_threshold}
        return {}, {name: value for name, value in thresholds.items() if value is not None}, {}

    def preprocess(self, inputs: str) -> dict[str, Any]:
        if not isinstance(inputs, str):
            raise TypeError(f"The pipeline takes texts, not {type(inputs).__name__}: {inputs!r:.80}")
        return {"texts": inputs}

    def _forward(self, model_inputs: dict[str, Any], **thresholds: float) -> dict[str, Any]:
        texts = model_inputs["texts"]
        batch = [texts] if isinstance(texts, str) else list(texts)
        documents = self.extractor.extract(batch, batch_size=len(batch), **thresholds)
        return {"documents": documents[0] if isinstance(texts, str) else documents}

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        document = model_outputs["documents"]
        text = document["text"]
        words = split_words(text)
        entities = []
        for entity in document["entities"]:
            start, end = words[entity["start"]][0], words[entity["end"] - 1][1]
            entities.append({**entity, "text": text[start:end], "start": start, "end": end})
        relations = [
            {**relation, "head": entities[relation["head"]], "tail": entities[relation["tail"]]}
            for relation in document["relations"]
        ]
        return {"text": text, "entities": entities, "relations": relations}


__all__ = ["DdiExtractionPipeline"]
