"""The `ddi-extraction` pipeline: texts in, entities and relations with character offsets out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from transformers import Pipeline

from .text_iser import split_words
from .visualization_iser import Extraction


# Sentences that go through the encoder at once when the caller does not say.
_BATCH_SIZE = 16

# A leaflet's sentences end at 。 or a line's end, and at a semicolon before the next number.
_SENTENCE_END = re.compile(r"(?<=[。！？!?\n\r])|(?<=[;；])(?=\s*(?:\d{1,2}[.．、](?!\d)|[(（]\d{1,2}[)）]|[①-⑳]))")
# What stands before a sentence and is none of it: headings and numbers.
_BEFORE_SENTENCE = re.compile(
    r"(?:\s|【[^】\n]*】[:：]?|\d{1,2}(?:[.．](?!\d)|[、)）])|[(（]\d{1,2}[)）]|[①-⑳]|[一二三四五六七八九十]{1,3}、)+"
)
# Words by which a leaflet speaks of its own drug.
_OWN_DRUG = re.compile("本品|本药|该品")


class DdiExtractionPipeline(Pipeline):
    """
    Extract entities and relations from raw text; drug-drug interactions with a model trained on those.

    ```python
    extractor = pipeline("ddi-extraction")
    extractor("与多巴胺合用,本品利尿作用加强", drug="布美他尼片")
    ```

    Args (of a call, or of `pipeline(…)` as defaults):
        inputs: a text, or a list, a column of a data set, or a generator of texts (answered one by one). In place of
            a text, `{"text": …, "drug": …}`.
        drug: the drug whose leaflet the texts are from. It is put before every sentence as the prompt `drug@`, which
            is how the model knows what 本品 means.
        split_sentences: read every sentence (up to 。 or the line's end) by itself, as the model was trained; default
            where there is a drug. Otherwise a text is read whole, in overlapping windows where it is too long.
        entity_threshold: least probability of an entity's type, default 0.
        relation_threshold: least score of a relation, default the model's.
        triples: return flat triples only.
        batch_size: sentences that go through the model at once, default 16. In float32 the results do not depend on it.

    Returns:
        For each text an [`Extraction`], a dictionary that notebooks show as a picture:
        `{"text", "drug", "entities", "relations"}`. An entity is `{"text", "type", "start", "end", "score"}`, offsets
        counting characters of the text that was given, so that `text[start:end]` is the entity's text. A relation is
        `{"type", "head", "tail", "score"}`, head and tail being entities. The leaflet's drug given as `drug` is none of
        `entities`, since it does not stand in the text; as head or tail it has `None` for offsets, and
        `drug["mentions"]` lists where the text calls it 本品.

        With `triples`, for each text a list of `{"head", "relation", "tail", "score"}`, names only.

    Raises:
        TypeError: for an input that is no text.
        ValueError: for a text that is not Unicode (half a surrogate pair), and a drug that leaves no room for the text.

    Not for clinical decisions.
    """

    # What the pipeline loads beside the model. (transformers declares the switches as None.)
    _load_tokenizer: Any = True
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    _registered_impl: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extractor: Any = self.model
        tokenizer: Any = self.tokenizer
        if tokenizer is not None:
            self.extractor.tokenizer = tokenizer
        # Checkpoints may be stored in half precision, which processors compute slowly or not at all.
        if self.extractor.dtype == torch.float16 and self.extractor.device.type == "cpu":
            self.extractor.float()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("batch_size") is None:
            kwargs["batch_size"] = self._batch_size or _BATCH_SIZE
        if isinstance(inputs, Iterator):
            inputs = (item for item in inputs)  # transformers streams generators, and no other iterators.
        elif isinstance(inputs, Iterable) and not isinstance(inputs, str | Mapping | torch.utils.data.Dataset):
            inputs = list(inputs)
            if not inputs:
                return []
            # Texts of like length share a batch, so that padding costs little.
            order = sorted(range(len(inputs)), key=lambda index: _length(inputs[index]))
            answers = super().__call__([inputs[index] for index in order], **kwargs)
            by_index = dict(zip(order, answers, strict=True))
            return [by_index[index] for index in range(len(inputs))]
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        drug: str | None = None,
        split_sentences: bool | None = None,
        entity_threshold: float | None = None,
        relation_threshold: float | None = None,
        triples: bool | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        def given(**parameters: Any) -> dict[str, Any]:
            return {name: value for name, value in parameters.items() if value is not None}

        for name, value in given(entity_threshold=entity_threshold, relation_threshold=relation_threshold).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {value!r}.")
        return (
            given(drug=drug, split_sentences=split_sentences),
            given(entity_threshold=entity_threshold, relation_threshold=relation_threshold),
            given(triples=triples),
        )

    def preprocess(
        self, inputs: str | Mapping[str, Any], drug: str | None = None, split_sentences: bool | None = None
    ) -> dict[str, Any]:
        text: Any = inputs
        if isinstance(inputs, Mapping):
            text, drug = inputs.get("text"), inputs["drug"] if inputs.get("drug") is not None else drug
        if not isinstance(text, str):
            raise TypeError(f"The pipeline takes texts, not {type(text).__name__}: {inputs!r:.80}")
        if drug is not None and (not isinstance(drug, str) or not drug.strip()):
            raise TypeError(f"drug is a text that is not empty, not {drug!r}.")
        drug = drug.strip() if drug else None
        split = bool(drug) if split_sentences is None else split_sentences
        return {"requests": {"text": text, "drug": drug, "pieces": split_leaflet(text) if split else [(0, len(text))]}}

    def _forward(self, model_inputs: dict[str, Any], **thresholds: float) -> dict[str, Any]:
        requests = model_inputs["requests"]
        batch = [requests] if isinstance(requests, dict) else list(requests)
        pieces = [(request, start, end) for request in batch for start, end in request["pieces"]]
        documents = iter(
            self.extractor.extract(
                [request["text"][start:end] for request, start, end in pieces],
                prompts=[f"{request['drug']}@" if request["drug"] else "" for request, *_ in pieces],
                batch_size=max(len(batch), _BATCH_SIZE),
                **thresholds,
            )
        )
        answers = [{**request, "documents": [next(documents) for _ in request["pieces"]]} for request in batch]
        return {"answers": answers[0] if isinstance(requests, dict) else answers}

    def postprocess(self, model_outputs: dict[str, Any], triples: bool = False) -> Extraction | list[dict[str, Any]]:
        answer = model_outputs["answers"]
        text, drug = answer["text"], answer["drug"]
        prompt = f"{drug}@" if drug else ""
        own: dict[str, Any] | None = None
        if drug:
            mentions = [
                {"text": match[0], "start": match.start(), "end": match.end()} for match in _OWN_DRUG.finditer(text)
            ]
            own = {"text": drug, "type": self.extractor.config.entity_types[0], "mentions": mentions}
        entities: list[dict[str, Any]] = []
        relations: list[dict[str, Any]] = []
        for (first, _), document in zip(answer["pieces"], answer["documents"], strict=True):
            words = split_words(document["text"])
            shift = first - len(prompt)
            places: list[dict[str, Any] | None] = []
            for entity in document["entities"]:
                start, end = words[entity["start"]][0] + shift, words[entity["end"] - 1][1] + shift
                score = round(entity["score"], 4)
                if start >= first:
                    places.append(
                        {"text": text[start:end], "type": entity["type"], "start": start, "end": end, "score": score}
                    )
                    entities.append(places[-1])  # type: ignore[arg-type]
                elif own is not None and (start, end) == (shift, first - 1):
                    own["type"] = entity["type"]
                    places.append({"text": drug, "type": entity["type"], "start": None, "end": None, "score": score})
                else:  # A part of the prompt, or across its border: nothing in the text.
                    places.append(None)
            for relation in document["relations"]:
                head, tail = places[relation["head"]], places[relation["tail"]]
                if head is not None and tail is not None:
                    score = round(relation["score"], 4)
                    relations.append({"type": relation["type"], "head": head, "tail": tail, "score": score})
        extraction = Extraction(text=text, drug=own, entities=entities, relations=relations)
        return extraction.triples() if triples else extraction


def _length(item: Any) -> int:
    text = item.get("text") if isinstance(item, Mapping) else item
    return len(text) if isinstance(text, str) else 0


def split_leaflet(text: str) -> list[tuple[int, int]]:
    """Character ranges of a leaflet's sentences, without headings and the numbers of items."""
    borders = [0]
    for match in _SENTENCE_END.finditer(text):
        # A colon opens a list, whose items belong together.
        if text[match.end() - 1] not in ";；" or not re.search("[:：]", text[borders[-1] : match.end()]):
            borders.append(match.end())
    pieces = []
    for start, end in pairwise([*borders, len(text)]):
        before = _BEFORE_SENTENCE.match(text, start, end)
        start = before.end() if before else start
        if text[start:end].strip():
            pieces.append((start, end))
    return pieces


__all__ = ["DdiExtractionPipeline"]
