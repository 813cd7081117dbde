"""
Multi-head selection: BIO tags from a CRF, then the relations of every pair of words (Bekoulis et al., 2018).

Relations are predicted between the last words of head and tail. A word is represented by its state and the embedding of
its tag (in training, its gold tag).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from modeling_iser import JointExtractionConfig, JointExtractionModel, Sentence, TrainingCollator
from modeling_iser.modeling_base_iser import new_encoder

from .crf import LinearChainCrf
from .tags import bio_tags, read_bio


class MultiHeadConfig(JointExtractionConfig):
    """
    Configuration of [`MultiHeadForJointExtraction`].

    Args (in addition to those of [`JointExtractionConfig`]):
        lstm_layers: layers of the BiLSTM over the words; 0: none.
        tag_embedding_size: size of the tags' embeddings.
        relation_size: hidden size of the relations' scorer.
    """

    model_type = "multihead"

    def __init__(
        self,
        *args: Any,
        lstm_layers: int = 1,
        tag_embedding_size: int = 25,
        relation_size: int = 150,
        **kwargs: Any,
    ) -> None:
        self.lstm_layers = lstm_layers
        self.tag_embedding_size = tag_embedding_size
        self.relation_size = relation_size
        super().__init__(*args, **kwargs)

    def _validate(self) -> None:
        super()._validate()
        self._check_counts("tag_embedding_size", "relation_size")
        if self.hidden_size % 2 and self.lstm_layers:
            raise ValueError(f"The encoder's hidden size {self.hidden_size} is odd; lstm_layers must be 0.")


class MultiHeadCollator(TrainingCollator):
    """Tags of the words, and relations between the last words of entities."""

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `tags`, BIO tags, shape `(batch_size, num_words)`; `relation_labels`, shape `(batch_size, num_words,
            num_words, num_relation_types)`. Of entities that share words, only the first is tagged.
        """
        size, longest = len(sentences), max(len(sentence.word_tokens) for sentence in sentences)
        tags = torch.zeros(size, longest, dtype=torch.long)
        relations = torch.zeros(size, longest, longest, len(self.config.relation_types))
        for row, sentence in enumerate(sentences):
            for (start, end), label in sorted(sentence.entities.items()):
                if not tags[row, start:end].any():
                    tags[row, start:end] = torch.tensor(bio_tags(end - start, label - 1))
            for (head, tail), types in sentence.relations.items():
                relations[row, head[1] - 1, tail[1] - 1, sorted(types)] = 1.0
        return {"tags": tags, "relation_labels": relations}

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        labels = self.labels([sentence])
        ranges = read_bio(labels["tags"][0].tolist())
        entities = [
            {"start": start, "end": end, "type": self.config.entity_types[kind], "score": 1.0}
            for start, end, kind in ranges
        ]
        last = [end - 1 for _, end, _ in ranges]
        scores = labels["relation_labels"][0][last][:, last]
        return {"entities": entities, "relations": related(entities, scores, self.config, 0.5)}


@dataclass
class MultiHeadOutput(ModelOutput):
    """
    Output of [`MultiHeadForJointExtraction`].

    Attributes:
        loss: `entity_loss` + `relation_loss`, if labels are given.
        entity_loss: mean negative log-likelihood of the sentences' tags.
        relation_loss: binary cross-entropy of all pairs of words and relations, summed per sentence and averaged over
            sentences.
        tag_logits: emissions of the CRF, shape `(batch_size, num_words, num_tags)`.
        relation_logits: shape `(batch_size, num_words, num_words, num_relation_types)`.
    """

    loss: Tensor | None = None
    entity_loss: Tensor | None = None
    relation_loss: Tensor | None = None
    tag_logits: Tensor | None = None
    relation_logits: Tensor | None = None


class MultiHeadForJointExtraction(JointExtractionModel):
    """Multi-head selection on any encoder."""

    config: MultiHeadConfig
    config_class = MultiHeadConfig
    collator_class = MultiHeadCollator

    def __init__(self, config: MultiHeadConfig) -> None:
        super().__init__(config)
        size, num_tags = config.hidden_size, 2 * len(config.entity_types) + 1
        self.encoder = new_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = (
            nn.LSTM(size, size // 2, config.lstm_layers, batch_first=True, bidirectional=True)
            if config.lstm_layers
            else None
        )
        self.tagger = nn.Linear(size, num_tags)
        self.crf = LinearChainCrf(num_tags)
        self.tag_embedding = nn.Embedding(num_tags, config.tag_embedding_size)
        word_size = size + config.tag_embedding_size
        self.head_projection = nn.Linear(word_size, config.relation_size)
        # The projection of both words is split into one for heads and one for tails; one bias suffices.
        self.tail_projection = nn.Linear(word_size, config.relation_size, bias=False)
        self.relation_scorer = nn.Linear(config.relation_size, len(config.relation_types), bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LinearChainCrf):
            for parameter in module.parameters():
                init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        tags: Tensor | None = None,
        relation_labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> MultiHeadOutput:
        """The arguments are those of `encode_sentences` and of [`MultiHeadCollator`]; relations need gold tags."""
        states = self.states(input_ids, attention_mask, word_token_start, word_token_end, num_words)
        tag_logits = self.tagger(states)
        if tags is None or relation_labels is None:
            return MultiHeadOutput(tag_logits=tag_logits)
        words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
        entity_loss = self.crf(tag_logits.float(), tags, words).mean()
        tagged = self.with_tags(states, tags)
        relation_logits = self.relation_logits(tagged, tagged)
        losses = nn.functional.binary_cross_entropy_with_logits(
            relation_logits.float(), relation_labels, reduction="none"
        )
        cells = words[:, :, None] & words[:, None, :]
        relation_loss = losses.mul(cells[..., None]).sum() / len(states)
        return MultiHeadOutput(entity_loss + relation_loss, entity_loss, relation_loss, tag_logits, relation_logits)

    def states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
    ) -> Tensor:
        """Word states after the BiLSTM, shape `(batch_size, num_words, hidden_size)`."""
        states = self.dropout(self.encode_words(input_ids, attention_mask, word_token_start, word_token_end))
        if self.lstm is None:
            return states
        packed = pack_padded_sequence(states, num_words.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])
        return self.dropout(output)

    def with_tags(self, states: Tensor, tags: Tensor) -> Tensor:
        """Word states concatenated with the embeddings of their tags."""
        return torch.cat([states, self.tag_embedding(tags)], dim=-1)

    def relation_logits(self, heads: Tensor, tails: Tensor) -> Tensor:
        """v_rᵀ·tanh(U·z_i + W·z_j + b), shape `(batch_size, num_heads, num_tails, num_relation_types)`."""
        pairs = self.head_projection(heads)[:, :, None] + self.tail_projection(tails)[:, None]
        return self.relation_scorer(torch.tanh(pairs))

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        batch = self.tensors(sentences)
        states = self.states(**batch)
        logits = self.tagger(states).float()
        found = []
        for index, length in enumerate(batch["num_words"].tolist()):
            tags, score = self.crf.decode(logits[index, :length])
            entities = [
                {"start": start, "end": end, "type": self.config.entity_types[kind], "score": score}
                for start, end, kind in read_bio(tags)
                if score >= entity_threshold
            ]
            relations = self._relations(states[index, :length], tags, entities, relation_threshold)
            found.append({"entities": entities, "relations": relations})
        return found

    def _relations(
        self, states: Tensor, tags: list[int], entities: list[dict[str, Any]], threshold: float
    ) -> list[dict[str, Any]]:
        """Relations between the last words of the entities."""
        if len(entities) < 2 or not self.config.relation_types:
            return []
        last = [entity["end"] - 1 for entity in entities]
        tagged = self.with_tags(states, torch.tensor(tags, device=states.device))[None, last]
        scores = self.relation_logits(tagged, tagged)[0].float().sigmoid().cpu()
        return related(entities, scores, self.config, threshold)


def related(
    entities: list[dict[str, Any]], scores: Tensor, config: JointExtractionConfig, threshold: float
) -> list[dict[str, Any]]:
    """
    The relations between entities whose scores reach the threshold.

    Args:
        scores: scores by head, tail and relation, shape `(num_entities, num_entities, num_relation_types)`.
    """
    relations = []
    for head, tail, relation in (scores >= threshold).nonzero().tolist():
        name, score = config.relation_types[relation], float(scores[head, tail, relation])
        if name in config.symmetric_relations:
            score = (score + float(scores[tail, head, relation])) / 2
            if head > tail or score < threshold:
                continue
        types = entities[head]["type"], name, entities[tail]["type"]
        if head != tail and config.allows(*types):
            relations.append({"head": head, "tail": tail, "type": name, "score": score})
    return relations


AutoConfig.register("multihead", MultiHeadConfig, exist_ok=True)
AutoModel.register(MultiHeadConfig, MultiHeadForJointExtraction, exist_ok=True)
MultiHeadConfig.register_for_auto_class()
MultiHeadForJointExtraction.register_for_auto_class("AutoModel")
