"""
OneRel: one classifier for every pair of words and every relation (Shang et al., AAAI 2022).

The cell of words i and j is tagged HB-TB if a head begins at i and its tail at j, HB-TE if the head begins and the tail
ends there, HE-TE if both end. A triple has three cells; if the head or the tail is a single word, cells coincide, and
the last of the three tags is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils.generic import ModelOutput

from modeling_iser import JointExtractionModel, Sentence, TrainingCollator
from modeling_iser.modeling_base_iser import new_encoder

from .triples import Triple, TriplesConfig, found_triples


NONE, BEGIN_BEGIN, BEGIN_END, END_END = range(4)
"""Tags of a cell: whether head and tail begin or end there."""

# Rows of the table of words that are scored at once in extraction, to bound memory.
_ROWS = 64


class OneRelConfig(TriplesConfig):
    """
    Configuration of [`OneRelForJointExtraction`].

    Args (in addition to those of [`TriplesConfig`]):
        pair_dropout: dropout on the features of a pair of words.
    """

    model_type = "onerel"

    def __init__(self, *args: Any, pair_dropout: float = 0.1, **kwargs: Any) -> None:
        self.pair_dropout = pair_dropout
        # A cell gets the tag with the highest score, however low.
        kwargs.setdefault("relation_threshold", 0.0)
        super().__init__(*args, **kwargs)


def tag_table(triples: Sequence[tuple[tuple[int, int], int, tuple[int, int]]], size: int, relations: int) -> Tensor:
    """Tags for triples `(head, relation, tail)`, shape `(size, size, relations)`; later tags overwrite earlier ones."""
    table = torch.zeros(size, size, relations, dtype=torch.long)
    for tag, head_side, tail_side in ((BEGIN_BEGIN, 0, 0), (BEGIN_END, 0, 1), (END_END, 1, 1)):
        for head, relation, tail in triples:
            table[head[head_side] - head_side, tail[tail_side] - tail_side, relation] = tag
    return table


def read_table(tags: Tensor, scores: Tensor) -> list[Triple]:
    """
    Decode a table into triples.

    From an HB-TB, the next HB-TE in its row ends the tail, and the first HE-TE down that column ends the head; if HE-TE
    comes first in the row, the head is one word. An HB-TE without an HB-TB has a tail of one word. An unused HE-TE has
    a head and a tail of one word.

    Args:
        tags: shape `(num_words, num_words, num_relation_types)`.
        scores: scores of the tags, same shape.
    """
    triples: list[Triple] = []
    for relation in range(tags.shape[-1]):
        cells = {(i, j): int(tags[i, j, relation]) for i, j in tags[:, :, relation].nonzero().tolist()}
        rows: dict[int, list[int]] = {}
        columns: dict[int, list[int]] = {}
        for i, j in sorted(cells):
            rows.setdefault(i, []).append(j)
            columns.setdefault(j, []).append(i)
        used: set[tuple[int, int]] = set()

        def head_end(start: int, column: int) -> int | None:
            ends = (i for i in columns[column] if i >= start and cells[i, column] == END_END)  # noqa: B023
            return next(ends, None)

        def add(relation: int, head: tuple[int, int], tail: tuple[int, int], *places: tuple[int, int]) -> None:
            used.update(places)  # noqa: B023
            score = min(float(scores[i, j, relation]) for i, j in places)
            triples.append(Triple(head, relation, tail, score))

        for (i, j), tag in sorted(cells.items()):
            if tag != BEGIN_BEGIN:
                continue
            ends = [k for k in rows[i] if k >= j and cells[i, k] in (BEGIN_END, END_END)]
            if not ends:
                continue
            k = ends[0]
            if cells[i, k] == END_END:
                add(relation, (i, i + 1), (j, k + 1), (i, j), (i, k))
            elif (last := head_end(i, k)) is not None:
                add(relation, (i, last + 1), (j, k + 1), (i, j), (i, k), (last, k))
        for (i, k), tag in sorted(cells.items()):
            if tag == BEGIN_END and (i, k) not in used and (last := head_end(i, k)) is not None:
                add(relation, (i, last + 1), (k, k + 1), (i, k), (last, k))
        for (i, k), tag in sorted(cells.items()):
            if tag == END_END and (i, k) not in used:
                add(relation, (i, i + 1), (k, k + 1), (i, k))
    return triples


class OneRelCollator(TrainingCollator):
    """Tags of every pair of words."""

    config: OneRelConfig

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `tags`, shape `(batch_size, num_words, num_words, num_relation_types)`.
        """
        longest, relations = max(len(s.word_tokens) for s in sentences), len(self.config.relation_types)
        tables = [
            tag_table([(h, r, t) for (h, t), types in s.relations.items() for r in sorted(types)], longest, relations)
            for s in sentences
        ]
        return {"tags": torch.stack(tables)}

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        tags = self.labels([sentence])["tags"][0]
        return found_triples(read_table(tags, torch.ones(tags.shape)), self.config, 0.0)


@dataclass
class OneRelOutput(ModelOutput):
    """
    Output of [`OneRelForJointExtraction`].

    Attributes:
        loss: mean cross-entropy over all pairs of words and relations, if tags are given.
        logits: shape `(batch_size, num_words, num_words, num_relation_types, 4)`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None


class OneRelForJointExtraction(JointExtractionModel):
    """OneRel on any encoder."""

    config: OneRelConfig
    config_class = OneRelConfig
    collator_class = OneRelCollator

    def __init__(self, config: OneRelConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.encoder = new_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head_projection = nn.Linear(size, 3 * size)
        # The projection of [h_i; h_j] is split into one for heads and one for tails; one bias suffices.
        self.tail_projection = nn.Linear(size, 3 * size, bias=False)
        self.pair_dropout = nn.Dropout(config.pair_dropout)
        self.tagger = nn.Linear(3 * size, 4 * len(config.relation_types))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        tags: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> OneRelOutput:
        """The arguments are those of `encode_sentences` and of [`OneRelCollator`]."""
        states = self.dropout(self.encode_words(input_ids, attention_mask, word_token_start, word_token_end))
        logits = self.table(states, states)
        loss = None
        if tags is not None:
            words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
            cells = words[:, :, None] & words[:, None, :]
            loss = nn.functional.cross_entropy(logits[cells].flatten(0, 1).float(), tags[cells].flatten())
        return OneRelOutput(loss, logits)

    def table(self, heads: Tensor, tails: Tensor) -> Tensor:
        """
        Logits of pairs of words: V · ReLU(dropout(W[h_i; h_j] + b)).

        Args:
            heads, tails: word states, shapes `(batch_size, num_heads, hidden_size)` and `(batch_size, num_tails,
                hidden_size)`.

        Returns:
            Shape `(batch_size, num_heads, num_tails, num_relation_types, 4)`.
        """
        pairs = self.head_projection(heads)[:, :, None] + self.tail_projection(tails)[:, None]
        logits = self.tagger(torch.relu(self.pair_dropout(pairs)))
        return logits.unflatten(-1, (len(self.config.relation_types), 4))

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
        found = []
        for words, length in zip(states, num_words, strict=True):
            words = words[None, :length]
            scores, tags = [], []
            for rows in words.split(_ROWS, dim=1):
                score, tag = self.table(rows, words)[0].float().softmax(dim=-1).max(dim=-1)
                scores.append(score.cpu())
                tags.append(tag.cpu())
            triples = read_table(torch.cat(tags), torch.cat(scores))
            found.append(found_triples(triples, self.config, relation_threshold))
        return found


AutoConfig.register("onerel", OneRelConfig, exist_ok=True)
AutoModel.register(OneRelConfig, OneRelForJointExtraction, exist_ok=True)
OneRelConfig.register_for_auto_class()
OneRelForJointExtraction.register_for_auto_class("AutoModel")
