"""
SPN4RE: a set of learned queries, each of which predicts one triple or none (Sui et al., 2020).

A non-autoregressive decoder lets the queries attend to each other and to the words. For each query, a classifier
predicts the relation, and four pointers the first and last words of head and tail. In training, queries are assigned to
gold triples at minimum cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from modeling_iser import JointExtractionModel, Sentence, TrainingCollator
from modeling_iser.modeling_base_iser import new_encoder

from .triples import Triple, TriplesConfig, found_triples


POINTERS = ("head_start", "head_end", "tail_start", "tail_end")
# Weight of the pointers in the cost of a match and in the loss.
_POINTER_WEIGHT = 2.0


class Spn4ReConfig(TriplesConfig):
    """
    Configuration of [`Spn4ReForJointExtraction`].

    Args (in addition to those of [`TriplesConfig`]):
        num_queries: maximum number of triples per sentence.
        decoder_layers: number of layers in the decoder.
        decoder_heads: number of attention heads in the decoder.
        no_relation_weight: weight of "no relation" in the relation loss.
        freeze_embeddings: whether the encoder's token embeddings are frozen.
    """

    model_type = "spn4re"

    def __init__(
        self,
        *args: Any,
        num_queries: int = 15,
        decoder_layers: int = 3,
        decoder_heads: int = 8,
        no_relation_weight: float = 1.0,
        freeze_embeddings: bool = True,
        **kwargs: Any,
    ) -> None:
        self.num_queries = num_queries
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.no_relation_weight = no_relation_weight
        self.freeze_embeddings = freeze_embeddings
        # A query gets the relation with the highest score, however low.
        kwargs.setdefault("relation_threshold", 0.0)
        super().__init__(*args, **kwargs)

    def _validate(self) -> None:
        super()._validate()
        self._check_counts("num_queries", "decoder_layers", "decoder_heads")
        if self.hidden_size % self.decoder_heads:
            raise ValueError(f"decoder_heads={self.decoder_heads} does not divide the hidden size {self.hidden_size}.")


class Spn4ReCollator(TrainingCollator):
    """The triples of all sentences in one tensor."""

    config: Spn4ReConfig

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `triples`, shape `(num_triples, 6)`: sentence, relation, first and last words of head and tail. If a
            sentence has more triples than queries, the last ones are left out.
        """
        rows = []
        for index, sentence in enumerate(sentences):
            triples = [
                (index, relation, head[0], head[1] - 1, tail[0], tail[1] - 1)
                for (head, tail), types in sentence.relations.items()
                for relation in sorted(types)
            ]
            rows += triples[: self.config.num_queries]
        return {"triples": torch.tensor(rows, dtype=torch.long).reshape(-1, 6)}

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        triples = [
            Triple((head, head_last + 1), relation, (tail, tail_last + 1), 1.0)
            for _, relation, head, head_last, tail, tail_last in self.labels([sentence])["triples"].tolist()
        ]
        return found_triples(triples, self.config, 0.0)


@dataclass
class Spn4ReOutput(ModelOutput):
    """
    Output of [`Spn4ReForJointExtraction`].

    Attributes:
        loss: `relation_loss` + `pointer_loss`, if triples are given.
        relation_loss: mean cross-entropy of the relation over all queries.
        pointer_loss: twice the mean cross-entropy of the two head pointers plus twice that of the two tail pointers,
            over the matched queries.
        relation_logits: shape `(batch_size, num_queries, num_relation_types + 1)`; the last class is "none".
        pointer_logits: shape `(batch_size, num_queries, 4, num_words)`.
    """

    loss: Tensor | None = None
    relation_loss: Tensor | None = None
    pointer_loss: Tensor | None = None
    relation_logits: Tensor | None = None
    pointer_logits: Tensor | None = None


class Spn4ReForJointExtraction(JointExtractionModel):
    """SPN4RE on any encoder."""

    config: Spn4ReConfig
    config_class = Spn4ReConfig
    collator_class = Spn4ReCollator

    def __init__(self, config: Spn4ReConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.encoder = new_encoder(config)
        self.queries = nn.Embedding(config.num_queries, size)
        layer = nn.TransformerDecoderLayer(
            size, config.decoder_heads, 4 * size, config.dropout, activation="gelu", batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.decoder_layers)
        self.relation_classifier = nn.Linear(size, len(config.relation_types) + 1)
        self.query_projections = nn.Linear(size, 4 * size)
        self.word_projections = nn.Linear(size, 4 * size)
        self.pointers = nn.Linear(size, 4, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding) and module is getattr(self, "queries", None):
            init.orthogonal_(module.weight)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The encoder's token embeddings, if the configuration freezes them."""
        return list(self.get_input_embeddings().parameters()) if self.config.freeze_embeddings else []

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        triples: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Spn4ReOutput:
        """The arguments are those of `encode_sentences` and of [`Spn4ReCollator`]."""
        states = self.encode_words(input_ids, attention_mask, word_token_start, word_token_end)
        words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
        queries = self.queries.weight.expand(len(states), -1, -1)
        decoded = self.decoder(queries, states, memory_key_padding_mask=~words)
        relation_logits = self.relation_classifier(decoded)
        pointer_logits = self.pointer_logits(decoded, states).masked_fill(~words[:, None, None], float("-inf"))
        if triples is None:
            return Spn4ReOutput(relation_logits=relation_logits, pointer_logits=pointer_logits)
        relation_loss, pointer_loss = self._losses(relation_logits.float(), pointer_logits.float(), triples)
        return Spn4ReOutput(relation_loss + pointer_loss, relation_loss, pointer_loss, relation_logits, pointer_logits)

    def pointer_logits(self, queries: Tensor, words: Tensor) -> Tensor:
        """vᵀ·tanh(W₁·query + W₂·word) of the four pointers, shape `(batch_size, num_queries, 4, num_words)`."""
        of_queries = self.query_projections(queries).unflatten(-1, (4, -1))[:, :, :, None]
        of_words = self.word_projections(words).unflatten(-1, (4, -1)).transpose(1, 2)[:, None]
        return torch.einsum("bqpnd,pd->bqpn", torch.tanh(of_queries + of_words), self.pointers.weight)

    def _losses(self, relation_logits: Tensor, pointer_logits: Tensor, triples: Tensor) -> tuple[Tensor, Tensor]:
        none = len(self.config.relation_types)
        sentence, query, gold = self.match(relation_logits, pointer_logits, triples)
        labels = torch.full(relation_logits.shape[:2], none, device=relation_logits.device)
        labels[sentence, query] = triples[gold, 1]
        weights = relation_logits.new_ones(none + 1)
        weights[none] = self.config.no_relation_weight
        relation_loss = nn.functional.cross_entropy(relation_logits.flatten(0, 1), labels.flatten(), weight=weights)
        if not len(gold):
            return relation_loss, relation_loss.new_zeros(())
        matched = pointer_logits[sentence, query]
        each = [nn.functional.cross_entropy(matched[:, part], triples[gold, 2 + part]) for part in range(len(POINTERS))]
        head, tail = (each[0] + each[1]) / 2, (each[2] + each[3]) / 2
        return relation_loss, _POINTER_WEIGHT * head + _POINTER_WEIGHT * tail

    @torch.no_grad()
    def match(self, relation_logits: Tensor, pointer_logits: Tensor, triples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Assign queries to gold triples at minimum cost.

        Returns:
            Sentence, query and index of the triple of each pair, each of shape `(num_triples,)`.
        """
        from scipy.optimize import linear_sum_assignment

        relations, pointers = relation_logits.softmax(dim=-1), pointer_logits.softmax(dim=-1)
        found: list[tuple[int, int, int]] = []
        for index in range(len(relation_logits)):
            rows = (triples[:, 0] == index).nonzero()[:, 0]
            if not len(rows):
                continue
            _, relation, *places = triples[rows].T
            hit = [pointers[index, :, part, place] for part, place in enumerate(places)]
            cost = -relations[index][:, relation]
            cost = cost - _POINTER_WEIGHT * (hit[0] + hit[1]) / 2 - _POINTER_WEIGHT * (hit[2] + hit[3]) / 2
            for query, row in zip(*linear_sum_assignment(cost.cpu().numpy()), strict=True):
                found.append((index, int(query), int(rows[row])))
        return tuple(torch.tensor(found, device=triples.device, dtype=torch.long).reshape(-1, 3).T)

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        batch = self.tensors(sentences)
        output = self(**batch)
        score, relation = output.relation_logits.float().softmax(dim=-1).max(dim=-1)
        pointers = output.pointer_logits.float().softmax(dim=-1)
        found = []
        for index, length in enumerate(batch["num_words"].tolist()):
            triples = []
            for query in (relation[index] < len(self.config.relation_types)).nonzero()[:, 0].tolist():
                ends = pointers[index, query, :, :length].cpu()
                head, head_score = best_range(ends[0], ends[1], self.config.max_span_width)
                tail, tail_score = best_range(ends[2], ends[3], self.config.max_span_width)
                triple_score = min(float(score[index, query]), head_score, tail_score)
                triples.append(Triple(head, int(relation[index, query]), tail, triple_score))
            found.append(found_triples(triples, self.config, relation_threshold))
        return found


def best_range(starts: Tensor, ends: Tensor, max_width: int) -> tuple[tuple[int, int], float]:
    """
    The range of at most `max_width` words with the highest product of its start and end scores.

    Args:
        starts, ends: scores of the first and the last word, shape `(num_words,)`.
        max_width: maximum width of the range, in words.

    Returns:
        The range, and the square root of the product.
    """
    products = starts[:, None] * ends[None]
    allowed = torch.ones_like(products, dtype=torch.bool).triu().tril(max_width - 1)
    best = int(products.where(allowed, -1.0).argmax())
    start, last = divmod(best, len(ends))
    return (start, last + 1), float(products[start, last].clamp(min=0).sqrt())


AutoConfig.register("spn4re", Spn4ReConfig, exist_ok=True)
AutoModel.register(Spn4ReConfig, Spn4ReForJointExtraction, exist_ok=True)
Spn4ReConfig.register_for_auto_class()
Spn4ReForJointExtraction.register_for_auto_class("AutoModel")
