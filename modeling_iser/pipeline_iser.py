"""
Pipelines that extract entities and relations, with character offsets, from texts.

`joint-extraction` is for any checkpoint, `ddi-extraction` for checkpoints trained on drug leaflets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from transformers import Pipeline

from .calibration_iser import relation_threshold as threshold_of_confidence
from .configuration_iser import check_choice
from .drugs_iser import DRUG_TYPES, OWN_DRUG, core_name
from .rules_iser import apply_rules, chosen_rules
from .text_iser import split_words
from .visualization_iser import Extraction


BACKENDS = ("torch", "int8", "onnx", "onnx-int8")
"""Backends that compute the scores."""

# Default batch size, in sentences.
_BATCH_SIZE = 16

# A leaflet's sentences end at 。, ！, ？ or a line break, and at a semicolon before a numbered item.
_SENTENCE_END = re.compile(r"(?<=[。！？!?\n\r])|(?<=[;；])(?=\s*(?:\d{1,2}[.．、](?!\d)|[(（]\d{1,2}[)）]|[①-⑳]))")
# Headings and numbers before a sentence, which are not part of it.
_BEFORE_SENTENCE = re.compile(
    r"(?:\s|【[^】\n]*(?:作用|事项|禁忌|反应|用法|用量|成[分份]|性状|适应症|规格|用药|过量|毒理|动力学|须知|说明)】[:：]?|\d{1,2}(?:[.．](?!\d)|[、)）])|[(（]\d{1,2}[)）]|[①-⑳]|[一二三四五六七八九十]{1,3}、)+"
)


class JointExtractionPipeline(Pipeline):
    """
    Extract entities and relations from raw text with any checkpoint.

    ```python
    extractor = pipeline("joint-extraction", model="path/to/checkpoint", trust_remote_code=True)
    extractor("Anna Berg lives in Lund.")
    ```

    Args (of a call, or defaults in `pipeline(…)`):
        inputs: a text, or a list, a column of a data set or a generator of texts (a generator streams its results). A
            text may also be given as `{"text": …, "entities": …}`.
        entities: given entities of the text, `{"start", "end", "type"}`, offsets counting characters; for a list of
            texts, a list for each text. Relations are then scored only between these. `type` may be omitted if the
            model has only one entity type.
        split_sentences: process each sentence (up to 。 or the end of the line) separately, for models trained on
            single sentences. Otherwise a text is processed as a whole, in overlapping windows if it is too long.
        entity_threshold: minimum score of an entity, default 0.
        relation_threshold: minimum score of a relation, default the model's.
        min_confidence: alternative to `relation_threshold`: a score or, for a calibrated checkpoint, the percentage of
            relations that should be correct, such as `"95%"`.
        triples: return only flat triples.
        batch_size: sentences per batch, default 16. In float32 the results do not depend on it.
        backend (only of `pipeline(…)`): `"torch"`; `"int8"` for 8-bit integers on the CPU; `"onnx"` or `"onnx-int8"`
            for ONNX Runtime, after `python -m modeling_iser.onnx_iser` has exported the checkpoint's graphs.

    Returns:
        An [`Extraction`] for each text, a dictionary that notebooks display as a picture:
        `{"text", "entities", "relations"}`. An entity is `{"text", "type", "start", "end", "score"}`, offsets counting
        characters of the given text, so that `text[start:end]` is the entity's text. A relation is
        `{"type", "head", "tail", "score"}`, where head and tail are entities.

        With `triples`, a list of `{"head", "relation", "tail", "score"}` for each text, by name only.

    Raises:
        TypeError: if an input is not a text, or an argument is unknown.
        ValueError: if a text has an unpaired surrogate, or a given entity is not in the text or does not start and end
            at word boundaries.
    """

    # What to load in addition to the model. (transformers declares these switches as None.)
    _load_tokenizer: Any = True
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    _registered_impl: Any

    PREPROCESS: ClassVar[tuple[str, ...]] = ("entities", "split_sentences")
    FORWARD: ClassVar[tuple[str, ...]] = ("entity_threshold", "relation_threshold")
    POSTPROCESS: ClassVar[tuple[str, ...]] = ("triples",)
    BESIDE: ClassVar[tuple[str, ...]] = ("entities",)
    """Arguments that a text may have of its own; with a list of texts, they may be lists with a value for each text."""

    def __init__(self, *args: Any, backend: str = "torch", **kwargs: Any) -> None:
        check_choice("backend", backend, BACKENDS)
        super().__init__(*args, **kwargs)
        self.extractor: Any = self.model
        if backend == "int8":
            from .quantization_iser import quantize_int8

            self.extractor = quantize_int8(self.model.float())
        elif backend != "torch":
            from .onnx_iser import OnnxExtractor

            self.extractor = OnnxExtractor(str(self.model.name_or_path), int8=backend == "onnx-int8")
        tokenizer: Any = self.tokenizer
        if tokenizer is not None:
            self.extractor.tokenizer = tokenizer
        # Checkpoints may be stored in half precision, which CPUs compute slowly or not at all.
        if self.model.dtype == torch.float16 and self.model.device.type == "cpu":
            self.model.float()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("batch_size") is None:
            kwargs["batch_size"] = self._batch_size or _BATCH_SIZE
        inputs = self._with_lists(inputs, kwargs)
        if isinstance(inputs, Iterator):
            inputs = (item for item in inputs)  # transformers streams only generators, not other iterators.
        elif _are_several(inputs):
            inputs = list(inputs)
            if not inputs:
                return []
            # Texts of similar length share a batch, to reduce padding.
            order = sorted(range(len(inputs)), key=lambda index: _length(inputs[index]))
            answers = super().__call__([inputs[index] for index in order], **kwargs)
            by_index = dict(zip(order, answers, strict=True))
            return [by_index[index] for index in range(len(inputs))]
        return super().__call__(inputs, **kwargs)

    def _with_lists(self, inputs: Any, arguments: dict[str, Any]) -> Any:
        """Move arguments that are lists with a value for each text into the inputs."""
        for name in self.BESIDE:
            value = arguments.get(name)
            if value is None or isinstance(value, str) or isinstance(inputs, str | Mapping):
                continue
            del arguments[name]
            if not _are_several(inputs):
                raise ValueError(
                    f"A list for {name} requires a list of texts. To stream texts, give each its own: "
                    f'{{"text": …, "{name}": …}}.'
                )
            inputs, values = list(inputs), list(value)
            if len(inputs) != len(values):
                raise ValueError(f"{name} has {len(values)} values for {len(inputs)} texts.")
            inputs = [
                {name: one, **(item if isinstance(item, Mapping) else {"text": item})}
                for item, one in zip(inputs, values, strict=True)
            ]
        return inputs

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        stages = (self.PREPROCESS, self.FORWARD, self.POSTPROCESS)
        known = [*(name for stage in stages for name in stage), "min_confidence", "batch_size"]
        for name in parameters:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                if name == "drug":
                    self._refuse_drug(parameters[name])
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"{name!r} is not an argument of the pipeline. Known: {', '.join(known)}.{hint}")
        given = {name: value for name, value in parameters.items() if value is not None}
        if "drug" in given:
            check_takes_drug(self.model.config, given["drug"])
        given |= thresholds(
            self.model.config, **{name: given.pop(name, None) for name in (*self.FORWARD, "min_confidence")}
        )
        first, second, third = ({name: given[name] for name in stage if name in given} for stage in stages)
        return first, second, third

    def preprocess(
        self,
        inputs: str | Mapping[str, Any],
        entities: Sequence[Mapping[str, Any]] | None = None,
        split_sentences: bool = False,
    ) -> dict[str, Any]:
        """The request for a text: its `pieces` as character ranges, their `prompt`, and its `given` entities."""
        text: Any = inputs
        if isinstance(inputs, Mapping):
            text = inputs.get("text")
            entities = inputs["entities"] if inputs.get("entities") is not None else entities
            if "drug" not in self.BESIDE and inputs.get("drug") is not None:
                self._refuse_drug(inputs["drug"])
        if not isinstance(text, str):
            raise TypeError(f"The pipeline takes texts, not {type(text).__name__}: {inputs!r:.80}")
        pieces = split_leaflet(text) if split_sentences else [(0, len(text))]
        given = self._given(text, pieces, entities) if entities is not None else None
        return {"requests": {"text": text, "prompt": "", "pieces": pieces, "given": given}}

    def _refuse_drug(self, drug: Any) -> None:
        check_takes_drug(self.model.config, drug)
        raise ValueError(f'drug={drug!r}: only pipeline("ddi-extraction") takes a drug.')

    def _given(
        self, text: str, pieces: list[tuple[int, int]], entities: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """The given entities in each piece, offsets counting its words."""
        types = self.extractor.config.entity_types
        words = [[(first + a, first + b) for a, b in split_words(text[first:last])] for first, last in pieces]
        given: list[list[dict[str, Any]]] = [[] for _ in pieces]
        for entity in entities:
            if not isinstance(entity, Mapping) or not {"start", "end"} <= entity.keys():
                raise ValueError(f'An entity must be {{"start", "end", "type"}}, not {entity!r:.80}.')
            start, end, kind = entity["start"], entity["end"], entity.get("type")
            if kind is None and len(types) > 1:
                raise ValueError(f"The entity {text[start:end]!r} has no type. The model knows {', '.join(types)}.")
            piece = next((index for index, (a, b) in enumerate(pieces) if a <= start < end <= b), None)
            if piece is None:
                raise ValueError(
                    f"The entity from {start!r} to {end!r}, {text[start:end]!r:.60}, does not lie within a sentence of "
                    "the text; with split_sentences=False, the text is processed as a whole."
                )
            starts, ends = ([border[side] for border in words[piece]] for side in (0, 1))
            if start not in starts or end not in ends:
                near = [text[a:b] for a, b in words[piece] if a < end and start < b]
                raise ValueError(
                    f"The entity from {start} to {end}, {text[start:end]!r:.60}, does not start and end at word "
                    f"boundaries. The words there: {', '.join(map(repr, near)) or 'none'}."
                )
            given[piece].append({"start": starts.index(start), "end": ends.index(end) + 1, "type": kind or types[0]})
        return given

    def _forward(self, model_inputs: dict[str, Any], **thresholds: float) -> dict[str, Any]:
        requests = model_inputs["requests"]
        batch = [requests] if isinstance(requests, dict) else list(requests)
        found: dict[int, list[Any]] = {}
        for with_entities in (False, True):
            chosen = [index for index, request in enumerate(batch) if (request["given"] is not None) == with_entities]
            pieces = [(index, piece) for index in chosen for piece in range(len(batch[index]["pieces"]))]
            texts = [batch[i]["text"][slice(*batch[i]["pieces"][piece])] for i, piece in pieces]
            documents = self.extractor.extract(
                texts,
                prompts=[batch[index]["prompt"] for index, _ in pieces],
                batch_size=max(len(batch), _BATCH_SIZE),
                entities=[self._in_words(batch[i], piece) for i, piece in pieces] if with_entities else None,
                **thresholds,
            )
            for (index, _), document in zip(pieces, documents, strict=True):
                found.setdefault(index, []).append(document)
        answers = [{**request, "documents": found.get(index, [])} for index, request in enumerate(batch)]
        return {"answers": answers[0] if isinstance(requests, dict) else answers}

    def _in_words(self, request: dict[str, Any], piece: int) -> list[dict[str, Any]]:
        """The given entities of a piece, offsets including the words of the prompt, with the drug in the prompt."""
        prompt = len(split_words(request["prompt"]))
        given = [{**e, "start": e["start"] + prompt, "end": e["end"] + prompt} for e in request["given"][piece]]
        if prompt:  # The drug is the prompt without the final @.
            given.insert(0, {"start": 0, "end": prompt - 1, "type": self.model.config.drug_type})
        return given

    def postprocess(self, model_outputs: dict[str, Any], triples: bool = False) -> Extraction | list[dict[str, Any]]:
        extraction = self._extraction(model_outputs["answers"])
        return extraction.triples() if triples else extraction

    def _extraction(self, answer: dict[str, Any]) -> Extraction:
        entities, relations = _in_characters(answer)
        return Extraction(text=answer["text"], entities=entities, relations=relations)


class DdiExtractionPipeline(JointExtractionPipeline):
    """
    Extract drugs and their interactions from leaflets.

    ```python
    extractor = pipeline("ddi-extraction")
    extractor("与多巴胺合用,本品利尿作用加强", drug="布美他尼片")
    ```

    Args (of a call, or defaults in `pipeline(…)`), in addition to those of [`JointExtractionPipeline`]:
        drug: the drug whose leaflet the text is from; for a list of texts, one drug or a list with one for each. It is
            prepended to every sentence as the prompt `drug@`, from which the model knows what 本品 refers to. A text
            may have its own: `{"text": …, "drug": …}`.
        split_sentences: as in [`JointExtractionPipeline`], but by default true if there is a drug.
        rules: whether to apply the rules of `rules_iser` if there is a drug, or the names of those to apply; default
            all.

    Returns:
        As [`JointExtractionPipeline`], with `drug`. The drug given as `drug` is not in `entities`, since it is not part
        of the text; as head or tail its offsets are `None`. `drug["mentions"]` lists where the text refers to it as
        本品 or by name.

    Raises:
        TypeError: if the drug is not a text, or is blank.
        ValueError: if there is a drug and the model knows none of `DRUG_TYPES`, or the drug leaves too little
            room in the encoder for the text.

    Not for clinical decisions.
    """

    PREPROCESS = ("drug", "entities", "split_sentences")
    POSTPROCESS = ("rules", "triples")
    BESIDE = ("drug", "entities")

    def preprocess(
        self,
        inputs: str | Mapping[str, Any],
        drug: str | None = None,
        entities: Sequence[Mapping[str, Any]] | None = None,
        split_sentences: bool | None = None,
    ) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            drug = inputs["drug"] if inputs.get("drug") is not None else drug
        if drug is not None and (not isinstance(drug, str) or not drug.strip()):
            raise TypeError(f"drug must be a text that is not blank, not {drug!r}.")
        if drug is not None:
            check_takes_drug(self.model.config, drug)
        split = drug is not None if split_sentences is None else split_sentences
        model_inputs = super().preprocess(inputs, entities, split)
        request = model_inputs["requests"]
        request["drug"] = drug.strip() if drug else None
        request["prompt"] = f"{request['drug']}@" if drug else ""
        return model_inputs

    def postprocess(
        self, model_outputs: dict[str, Any], triples: bool = False, rules: bool | Sequence[str] = True
    ) -> Extraction | list[dict[str, Any]]:
        answer = model_outputs["answers"]
        text, drug = answer["text"], answer["drug"]
        entities, relations = _in_characters(answer)
        own: dict[str, Any] | None = None
        if drug:
            names = chosen_rules(rules)
            if answer["given"] is not None:  # Given entities are never dropped.
                names = tuple(name for name in names if name != "no_drug")
            entities, relations = apply_rules(entities, relations, drug, names)
            mentions = [(match.start(), match.end()) for match in OWN_DRUG.finditer(text)]
            if "own_name" in names:
                mentions += [(e["start"], e["end"]) for e in entities if core_name(e["text"]) == core_name(drug)]
            own = {
                "text": drug,
                "type": self.model.config.drug_type,
                "mentions": [{"text": text[start:end], "start": start, "end": end} for start, end in sorted(mentions)],
            }
        extraction = Extraction(text=text, drug=own, entities=entities, relations=relations)
        return extraction.triples() if triples else extraction


def check_takes_drug(config: Any, value: Any, argument: str = "drug") -> None:
    """
    Refuse the value of an argument that is about the leaflet's drug.

    Raises:
        ValueError: if the model cannot make use of a drug.
    """
    if config.drug_type is None:
        known = ", ".join(config.entity_types)
        raise ValueError(
            f"{argument}={value!r}: this model takes no drug, since none of its entity types ({known}) is named "
            f"{', '.join(DRUG_TYPES[:-1])} or {DRUG_TYPES[-1]}."
        )


def thresholds(
    config: Any,
    entity_threshold: float | None = None,
    relation_threshold: float | None = None,
    min_confidence: float | str | None = None,
) -> dict[str, float]:
    """
    The minimum scores that are given, under `entity_threshold` and `relation_threshold`; see the pipeline.

    Raises:
        ValueError: for a score that is not between 0 and 1, and for a confidence that the model is not calibrated for.
    """
    if min_confidence is not None:
        if relation_threshold is not None:
            raise ValueError(
                f"min_confidence={min_confidence!r} and relation_threshold={relation_threshold!r} exclude each other."
            )
        relation_threshold = threshold_of_confidence(min_confidence, config)
    scores = {"entity_threshold": entity_threshold, "relation_threshold": relation_threshold}
    for name, score in scores.items():
        if score is not None and not 0 <= score <= 1:
            raise ValueError(f"{name}={score!r} must lie between 0 and 1.")
    return {name: score for name, score in scores.items() if score is not None}


def _are_several(inputs: Any) -> bool:
    """Whether the inputs are a list or column of texts, rather than one text or a stream."""
    one_or_stream = isinstance(inputs, str | Mapping | Iterator | torch.utils.data.Dataset)
    return isinstance(inputs, Iterable) and not one_or_stream


def _in_characters(answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """
    Entities and relations from the documents of a text's pieces, offsets counting the text's characters. The drug in
    the prompt, as head or tail, has offsets `None`; other entities that overlap the prompt are dropped.
    """
    text, prompt = answer["text"], answer["prompt"]
    entities: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    for (first, _), document in zip(answer["pieces"], answer["documents"], strict=True):
        words = split_words(document["text"])
        shift = first - len(prompt)
        places: list[dict[str, Any] | None] = []
        for entity in document["entities"]:
            start, end = words[entity["start"]][0] + shift, words[entity["end"] - 1][1] + shift
            found = {"text": text[start:end], "type": entity["type"], "start": start, "end": end}
            found["score"] = round(entity["score"], 4)
            if start >= first:
                places.append(found)
                entities.append(found)
            elif (start, end) == (shift, first - 1):
                places.append({**found, "text": prompt[:-1], "start": None, "end": None})
            else:
                places.append(None)
        for relation in document["relations"]:
            head, tail = places[relation["head"]], places[relation["tail"]]
            if head is not None and tail is not None:
                score = round(relation["score"], 4)
                relations.append({"type": relation["type"], "head": head, "tail": tail, "score": score})
    return entities, relations


def _length(item: Any) -> int:
    text = item.get("text") if isinstance(item, Mapping) else item
    return len(text) if isinstance(text, str) else 0


def split_leaflet(text: str) -> list[tuple[int, int]]:
    """Character ranges of a leaflet's sentences, without headings and item numbers."""
    borders = [0]
    for match in _SENTENCE_END.finditer(text):
        # A colon introduces a list, whose items are kept together.
        if text[match.end() - 1] not in ";；" or not re.search("[:：]", text[borders[-1] : match.end()]):
            borders.append(match.end())
    pieces = []
    for start, end in pairwise([*borders, len(text)]):
        before = _BEFORE_SENTENCE.match(text, start, end)
        start = before.end() if before else start
        if text[start:end].strip():
            pieces.append((start, end))
    return pieces


__all__ = ["DdiExtractionPipeline", "JointExtractionPipeline", "check_takes_drug", "thresholds"]
