"""
The pipelines: texts in, entities and relations with character offsets out.

`joint-extraction` is for any checkpoint, `ddi-extraction` for those that read drug leaflets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from transformers import Pipeline

from .calibration_iser import relation_threshold
from .configuration_iser import check_choice
from .rules_iser import apply_rules, chosen_rules, core_name
from .text_iser import split_words
from .visualization_iser import Extraction


BACKENDS = ("torch", "int8", "onnx", "onnx-int8")
"""What may compute the scores."""

# Sentences that go through the encoder at once when the caller does not say.
_BATCH_SIZE = 16

# A leaflet's sentences end at 。 or a line's end, and at a semicolon before the next number.
_SENTENCE_END = re.compile(r"(?<=[。！？!?\n\r])|(?<=[;；])(?=\s*(?:\d{1,2}[.．、](?!\d)|[(（]\d{1,2}[)）]|[①-⑳]))")
# What stands before a sentence and is none of it: headings and numbers.
_BEFORE_SENTENCE = re.compile(
    r"(?:\s|【[^】\n]*(?:作用|事项|禁忌|反应|用法|用量|成[分份]|性状|适应症|规格|用药|过量|毒理|动力学|须知|说明)】[:：]?|\d{1,2}(?:[.．](?!\d)|[、)）])|[(（]\d{1,2}[)）]|[①-⑳]|[一二三四五六七八九十]{1,3}、)+"
)
# Words by which a leaflet speaks of its own drug.
_OWN_DRUG = re.compile("本品|本药|该品")


class JointExtractionPipeline(Pipeline):
    """
    Extract entities and relations from raw text with any checkpoint.

    ```python
    extractor = pipeline("joint-extraction", model="path/to/checkpoint", trust_remote_code=True)
    extractor("Anna Berg lives in Lund.")
    ```

    Args (of a call, or of `pipeline(…)` as defaults):
        inputs: a text, or a list, a column of a data set, or a generator of texts (answered one by one). In place of
            a text, `{"text": …, "entities": …}`.
        entities: of one text the entities that the caller knows, `{"start", "end", "type"}`, offsets counting
            characters; beside a list of texts a list for each. Relations are then scored among these alone. `type` may
            be left out where the model knows one type only.
        split_sentences: read every sentence (up to 。 or the line's end) by itself, as a model was trained that saw
            single sentences. Otherwise a text is read whole, in overlapping windows where it is too long.
        entity_threshold: least probability of an entity's type, default 0.
        relation_threshold: least score of a relation, default the model's.
        min_confidence: the same, as a score or, for a calibrated checkpoint, as the share of relations that shall be
            right, such as `"95%"`.
        triples: return flat triples only.
        batch_size: sentences that go through the model at once, default 16. In float32 the results do not depend on it.
        backend (of `pipeline(…)` alone): `"torch"`; `"int8"` for 8-bit integers on the CPU; `"onnx"` or `"onnx-int8"`
            for ONNX Runtime, where `python -m modeling_iser.onnx_iser` has written the checkpoint's graphs.

    Returns:
        For each text an [`Extraction`], a dictionary that notebooks show as a picture:
        `{"text", "entities", "relations"}`. An entity is `{"text", "type", "start", "end", "score"}`, offsets counting
        characters of the text that was given, so that `text[start:end]` is the entity's text. A relation is
        `{"type", "head", "tail", "score"}`, head and tail being entities.

        With `triples`, for each text a list of `{"head", "relation", "tail", "score"}`, names only.

    Raises:
        TypeError: for an input that is no text, and an argument that is not known.
        ValueError: for a text that is not Unicode (half a surrogate pair), and entities that are not in the text or cut
            its words.
    """

    # What the pipeline loads beside the model. (transformers declares the switches as None.)
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
    """Arguments that a text may bring along; beside a list of texts, a list of them is one for each."""

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
        # Checkpoints may be stored in half precision, which processors compute slowly or not at all.
        if self.model.dtype == torch.float16 and self.model.device.type == "cpu":
            self.model.float()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("batch_size") is None:
            kwargs["batch_size"] = self._batch_size or _BATCH_SIZE
        inputs = self._with_lists(inputs, kwargs)
        if isinstance(inputs, Iterator):
            inputs = (item for item in inputs)  # transformers streams generators, and no other iterators.
        elif _are_several(inputs):
            inputs = list(inputs)
            if not inputs:
                return []
            # Texts of like length share a batch, so that padding costs little.
            order = sorted(range(len(inputs)), key=lambda index: _length(inputs[index]))
            answers = super().__call__([inputs[index] for index in order], **kwargs)
            by_index = dict(zip(order, answers, strict=True))
            return [by_index[index] for index in range(len(inputs))]
        return super().__call__(inputs, **kwargs)

    def _with_lists(self, inputs: Any, arguments: dict[str, Any]) -> Any:
        """The inputs, each with its own of the lists among the arguments, which are taken out."""
        for name in self.BESIDE:
            value = arguments.get(name)
            if value is None or isinstance(value, str) or isinstance(inputs, str | Mapping):
                continue
            del arguments[name]
            if not _are_several(inputs):
                raise ValueError(
                    f"A list of {name} goes with a list of texts. To stream texts, give each its own: "
                    f'{{"text": …, "{name}": …}}.'
                )
            inputs, values = list(inputs), list(value)
            if len(inputs) != len(values):
                raise ValueError(f"There are {len(values)} of {name} for {len(inputs)} texts.")
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
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"{name!r} is no argument of the pipeline. Known: {', '.join(known)}.{hint}")
        given = {name: value for name, value in parameters.items() if value is not None}
        if "min_confidence" in given:
            if "relation_threshold" in given:
                raise ValueError("Give either min_confidence or relation_threshold.")
            given["relation_threshold"] = relation_threshold(given["min_confidence"], self.model.config)
        for name in self.FORWARD:
            if not 0 <= given.get(name, 0) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {given[name]!r}.")
        first, second, third = ({name: given[name] for name in stage if name in given} for stage in stages)
        return first, second, third

    def preprocess(
        self,
        inputs: str | Mapping[str, Any],
        entities: Sequence[Mapping[str, Any]] | None = None,
        split_sentences: bool = False,
    ) -> dict[str, Any]:
        """The request for a text: its `pieces` as character ranges, the `prompt` before each, its `given` entities."""
        text: Any = inputs
        if isinstance(inputs, Mapping):
            text = inputs.get("text")
            entities = inputs["entities"] if inputs.get("entities") is not None else entities
        if not isinstance(text, str):
            raise TypeError(f"The pipeline takes texts, not {type(text).__name__}: {inputs!r:.80}")
        pieces = split_leaflet(text) if split_sentences else [(0, len(text))]
        given = self._given(text, pieces, entities) if entities is not None else None
        return {"requests": {"text": text, "prompt": "", "pieces": pieces, "given": given}}

    def _given(
        self, text: str, pieces: list[tuple[int, int]], entities: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """For each piece the entities that lie in it, offsets counting its words."""
        types = self.extractor.config.entity_types
        words = [[(first + a, first + b) for a, b in split_words(text[first:last])] for first, last in pieces]
        given: list[list[dict[str, Any]]] = [[] for _ in pieces]
        for entity in entities:
            if not isinstance(entity, Mapping) or not {"start", "end"} <= entity.keys():
                raise ValueError(f'An entity is {{"start", "end", "type"}}, not {entity!r:.80}.')
            start, end, kind = entity["start"], entity["end"], entity.get("type")
            if kind is None and len(types) > 1:
                raise ValueError(f"The entity {text[start:end]!r} has no type. The model knows {', '.join(types)}.")
            piece = next((index for index, (a, b) in enumerate(pieces) if a <= start < end <= b), None)
            if piece is None:
                raise ValueError(
                    f"The entity from {start!r} to {end!r}, {text[start:end]!r:.60}, lies in no sentence of the text; "
                    "split_sentences=False reads a text whole."
                )
            starts, ends = ([border[side] for border in words[piece]] for side in (0, 1))
            if start not in starts or end not in ends:
                near = [text[a:b] for a, b in words[piece] if a < end and start < b]
                raise ValueError(
                    f"The entity from {start} to {end}, {text[start:end]!r:.60}, cuts a word or begins or ends between "
                    f"words. The words there: {', '.join(map(repr, near)) or 'none'}."
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
        """The given entities of a piece, offsets counting the words of the prompt too; the prompt's own among them."""
        prompt = len(split_words(request["prompt"]))
        given = [{**e, "start": e["start"] + prompt, "end": e["end"] + prompt} for e in request["given"][piece]]
        if prompt:  # all of it but the @
            given.insert(0, {"start": 0, "end": prompt - 1, "type": self.extractor.config.entity_types[0]})
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

    Args (of a call, or of `pipeline(…)` as defaults), beside those of [`JointExtractionPipeline`]:
        drug: the drug whose leaflet the texts are from, or beside a list of texts a list of them. It is put before
            every sentence as the prompt `drug@`, which is how the model knows what 本品 means. A text may bring its
            own: `{"text": …, "drug": …}`.
        split_sentences: default where there is a drug.
        rules: whether the rules of `rules_iser` apply where there is a drug, or names of those that shall; default all.

    Returns:
        As [`JointExtractionPipeline`], with `drug`. The leaflet's drug given as `drug` is none of `entities`, since
        it does not stand in the text; as head or tail it has `None` for offsets, and `drug["mentions"]` lists where the
        text calls it 本品 or by its name.

    Raises:
        ValueError: for a drug that leaves no room for the text.

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
            raise TypeError(f"drug is a text that is not empty, not {drug!r}.")
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
            if answer["given"] is not None:  # What the caller calls a drug is one.
                names = tuple(name for name in names if name != "no_drug")
            entities, relations = apply_rules(entities, relations, drug, names)
            mentions = [(match.start(), match.end()) for match in _OWN_DRUG.finditer(text)]
            if "own_name" in names:
                mentions += [(e["start"], e["end"]) for e in entities if core_name(e["text"]) == core_name(drug)]
            own = {
                "text": drug,
                "type": self.extractor.config.entity_types[0],
                "mentions": [{"text": text[start:end], "start": start, "end": end} for start, end in sorted(mentions)],
            }
        extraction = Extraction(text=text, drug=own, entities=entities, relations=relations)
        return extraction.triples() if triples else extraction


def _are_several(inputs: Any) -> bool:
    """Whether the inputs are a list or column of texts, rather than one text or a stream."""
    one_or_stream = isinstance(inputs, str | Mapping | Iterator | torch.utils.data.Dataset)
    return isinstance(inputs, Iterable) and not one_or_stream


def _in_characters(answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """
    Entities and relations of the documents of a text's pieces, offsets counting the text's characters. The prompt as
    head or tail has `None` for offsets; an entity that is a part of it, or lies across its end, is nothing in the text.
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


__all__ = ["DdiExtractionPipeline", "JointExtractionPipeline"]
