"""
CasRel: extract subjects first, then the objects of each subject and relation (Wei et al., ACL 2020).

Two binary taggers mark where subjects begin and end. The mean of a subject's first and last word is added to every
word, and two taggers for each relation mark where its objects begin and end. Each start is paired with the nearest end
at or after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils.generic import ModelOutput

from modeling_iser import JointExtractionModel, Sentence, TrainingCollator
from modeling_iser.modeling_base_iser import new_encoder

from .triples import Triple, TriplesConfig, found_triples


class CasRelConfig(TriplesConfig):
    """Configuration of [`CasRelForJointExtraction`]; `relation_threshold` applies to all taggers."""

    model_type = "casrel"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # transformers generates an `__init__` for a configuration without one, which lacks the base class's fields.
        super().__init__(*args, **kwargs)


class CasRelCollator(TrainingCollator):
    """Tags of all subjects, and of the objects of one randomly drawn subject per sentence."""

    config: CasRelConfig

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `subject_labels`, starts and ends, shape `(batch_size, num_words, 2)`; `subject`, first and last word of the
            drawn subject, shape `(batch_size, 2)`; `has_subject`, shape `(batch_size,)`; `object_labels`, shape
            `(batch_size, num_words, num_relation_types, 2)`.
        """
        size, longest = len(sentences), max(len(sentence.word_tokens) for sentence in sentences)
        subject_labels = torch.zeros(size, longest, 2)
        object_labels = torch.zeros(size, longest, len(self.config.relation_types), 2)
        subject = torch.zeros(size, 2, dtype=torch.long)
        has_subject = torch.zeros(size, dtype=torch.bool)
        for row, sentence in enumerate(sentences):
            heads = sorted({head for head, _ in sentence.relations})
            for start, end in heads:
                subject_labels[row, start, 0] = subject_labels[row, end - 1, 1] = 1
            if not heads:
                continue
            drawn = self.generator(sentence, "subject").choice(heads)
            subject[row] = torch.tensor([drawn[0], drawn[1] - 1])
            has_subject[row] = True
            for (head, (start, end)), types in sentence.relations.items():
                for relation in types if head == drawn else ():
                    object_labels[row, start, relation, 0] = object_labels[row, end - 1, relation, 1] = 1
        return {
            "subject_labels": subject_labels,
            "subject": subject,
            "has_subject": has_subject,
            "object_labels": object_labels,
        }

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        tails: dict[tuple[int, int], dict[int, list[tuple[int, int]]]] = {}
        for (head, tail), types in sentence.relations.items():
            for relation in types:
                tails.setdefault(head, {}).setdefault(relation, []).append(tail)

        def found(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
            tags = torch.zeros(2, len(sentence.word_tokens))
            for start, end in ranges:
                tags[0, start] = tags[1, end - 1] = 1
            return [(start, end) for start, end, _ in paired(tags[0], tags[1], 0.5)]

        triples = [
            Triple(head, relation, tail, 1.0)
            for head in found(tails)
            for relation, gold in tails.get(head, {}).items()
            for tail in found(gold)
        ]
        return found_triples(triples, self.config, 0.5)


@dataclass
class CasRelOutput(ModelOutput):
    """
    Output of [`CasRelForJointExtraction`].

    Attributes:
        loss: sum of the four taggers' losses, if labels are given.
        subject_loss: mean binary cross-entropy per word, summed over both subject taggers.
        object_loss: mean binary cross-entropy per word, summed over both object taggers and all relations.
        subject_logits: starts and ends, shape `(batch_size, num_words, 2)`.
        object_logits: starts and ends for the given subjects, shape `(batch_size, num_words, num_relation_types, 2)`.
    """

    loss: Tensor | None = None
    subject_loss: Tensor | None = None
    object_loss: Tensor | None = None
    subject_logits: Tensor | None = None
    object_logits: Tensor | None = None


class CasRelForJointExtraction(JointExtractionModel):
    """CasRel on any encoder."""

    config: CasRelConfig
    config_class = CasRelConfig
    collator_class = CasRelCollator
    threshold_filters = False

    def __init__(self, config: CasRelConfig) -> None:
        super().__init__(config)
        self.encoder = new_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.subject_tagger = nn.Linear(config.hidden_size, 2)
        self.object_tagger = nn.Linear(config.hidden_size, 2 * len(config.relation_types))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        subject: Tensor | None = None,
        has_subject: Tensor | None = None,
        subject_labels: Tensor | None = None,
        object_labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> CasRelOutput:
        """The arguments are those of `encode_sentences` and of [`CasRelCollator`]."""
        states = self.dropout(self.encode_words(input_ids, attention_mask, word_token_start, word_token_end))
        subject_logits = self.subject_tagger(states)
        object_logits = self.object_logits(states, subject) if subject is not None else None
        loss = subject_loss = object_loss = None
        if subject_labels is not None and object_labels is not None and object_logits is not None:
            words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
            subject_loss = _tagging_loss(subject_logits, subject_labels, words)
            object_loss = _tagging_loss(object_logits, object_labels, words & has_subject[:, None])  # type: ignore[index]
            loss = subject_loss + object_loss
        return CasRelOutput(loss, subject_loss, object_loss, subject_logits, object_logits)

    def object_logits(self, states: Tensor, subject: Tensor) -> Tensor:
        """
        Logits of the object taggers for one subject per sentence.

        Args:
            states: word states, shape `(batch_size, num_words, hidden_size)`.
            subject: first and last word of each subject, shape `(batch_size, 2)`.

        Returns:
            Shape `(batch_size, num_words, num_relation_types, 2)`.
        """
        ends = states.gather(1, subject[:, :, None].expand(-1, -1, states.shape[-1]))
        logits = self.object_tagger(states + ends.mean(dim=1, keepdim=True))
        return logits.unflatten(-1, (len(self.config.relation_types), 2))

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        batch = self.tensors(sentences)
        num_words = batch.pop("num_words").tolist()
        states = self.encode_words(**batch)
        scores = self.subject_tagger(states).float().sigmoid().cpu()
        found = []
        for index, length in enumerate(num_words):
            subjects = paired(scores[index, :length, 0], scores[index, :length, 1], relation_threshold)
            triples: list[Triple] = []
            if subjects:
                places = torch.tensor([[start, end - 1] for start, end, _ in subjects], device=states.device)
                words = states[index, :length].expand(len(subjects), -1, -1)
                objects = self.object_logits(words, places).float().sigmoid().cpu()
                for (start, end, score), tags in zip(subjects, objects, strict=True):
                    for relation in range(len(self.config.relation_types)):
                        objects_of_relation = paired(tags[:, relation, 0], tags[:, relation, 1], relation_threshold)
                        for first, last, object_score in objects_of_relation:
                            triples.append(Triple((start, end), relation, (first, last), min(score, object_score)))
            found.append(found_triples(triples, self.config, relation_threshold))
        return found


def paired(starts: Tensor, ends: Tensor, threshold: float) -> list[tuple[int, int, float]]:
    """
    Ranges of words: each start, paired with the nearest end at or after it.

    Args:
        starts, ends: scores of the words, shape `(num_words,)`.
        threshold: minimum score of a start or end.

    Returns:
        First word, the word after the last, and the smaller of both scores of each range.
    """
    last_words = (ends >= threshold).nonzero()[:, 0].tolist()
    ranges = []
    for start in (starts >= threshold).nonzero()[:, 0].tolist():
        last = next((end for end in last_words if end >= start), None)
        if last is not None:
            ranges.append((start, last + 1, float(min(starts[start], ends[last]))))
    return ranges


def _tagging_loss(logits: Tensor, labels: Tensor, words: Tensor) -> Tensor:
    """Binary cross-entropy, summed over all taggers and averaged over the words; 0 without words."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
    return losses.flatten(2).sum(dim=-1).mul(words).sum() / words.sum().clamp(min=1)


AutoConfig.register("casrel", CasRelConfig, exist_ok=True)
AutoModel.register(CasRelConfig, CasRelForJointExtraction, exist_ok=True)
CasRelConfig.register_for_auto_class()
CasRelForJointExtraction.register_for_auto_class("AutoModel")
