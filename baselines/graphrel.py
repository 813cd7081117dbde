"""
GraphRel: graph convolutions over a graph of the words, then over the predicted relations (Fu et al., ACL 2019).

The first phase encodes the words with a BiGRU and convolutions over a graph of neighbours, and predicts tags and the
relation of every pair of words. The second phase turns these relations into weighted graphs over all words, adds
convolutions over them, and predicts both again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel
from transformers.utils.generic import ModelOutput

from modeling_iser import JointExtractionConfig, JointExtractionModel, Sentence, TrainingCollator
from modeling_iser.configuration_iser import check_choice
from modeling_iser.modeling_base_iser import new_encoder, pool_words

from .tags import bioes_tags, read_bioes


INPUTS = ("encoder", "embeddings")
ADJACENCIES = ("chain",)
# Weights in the loss: of the relations against the tags, and of all classes against class 0.
_RELATION_WEIGHT = 3.0
_POSITIVE_WEIGHT = 2.0


class GraphRelConfig(JointExtractionConfig):
    """
    Configuration of [`GraphRelForJointExtraction`].

    Args (in addition to those of [`JointExtractionConfig`]):
        phases: 1 or 2, the paper's GraphRel-1p and -2p.
        inputs: input of the BiGRU: the output of the `"encoder"`, or its frozen token `"embeddings"`, which take the
            place of the published system's word vectors.
        adjacency: graph of the words. `"chain"`: each word and its neighbours; the published system uses a dependency
            tree.
        gru_size, gcn_size: sizes of one direction.
        gru_layers, gcn_layers: number of layers.
    """

    model_type = "graphrel"

    def __init__(
        self,
        *args: Any,
        phases: int = 2,
        inputs: str = "encoder",
        adjacency: str = "chain",
        gru_size: int = 256,
        gcn_size: int = 256,
        gru_layers: int = 2,
        gcn_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        self.phases = phases
        self.inputs = inputs
        self.adjacency = adjacency
        self.gru_size = gru_size
        self.gcn_size = gcn_size
        self.gru_layers = gru_layers
        self.gcn_layers = gcn_layers
        kwargs.setdefault("dropout", 0.5)
        # A pair of entities gets the relation with the most votes, however few these are.
        kwargs.setdefault("relation_threshold", 0.0)
        super().__init__(*args, **kwargs)

    def _validate(self) -> None:
        super()._validate()
        check_choice("inputs", self.inputs, INPUTS)
        check_choice("adjacency", self.adjacency, ADJACENCIES)
        self._check_counts("gru_size", "gcn_size", "gru_layers", "gcn_layers")
        if self.phases not in (1, 2):
            raise ValueError(f"phases must be 1 or 2, got {self.phases!r}.")


class GraphRelCollator(TrainingCollator):
    """Tags of the words, and the relation of every pair of words of related entities."""

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `tags`, shape `(batch_size, num_words)`; `relation_labels`, shape `(batch_size, num_words, num_words)`, 0
            for none. A pair of words has one relation, the last one that applies.
        """
        size, longest = len(sentences), max(len(sentence.word_tokens) for sentence in sentences)
        tags = torch.zeros(size, longest, dtype=torch.long)
        relations = torch.zeros(size, longest, longest, dtype=torch.long)
        for row, sentence in enumerate(sentences):
            for (start, end), label in sorted(sentence.entities.items()):
                if not tags[row, start:end].any():
                    tags[row, start:end] = torch.tensor(bioes_tags(end - start, label - 1))
            for (head, tail), types in sentence.relations.items():
                for relation in sorted(types):
                    relations[row, slice(*head), slice(*tail)] = relation + 1
        return {"tags": tags, "relation_labels": relations}

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        labels = self.labels([sentence])
        entities = [
            {"start": start, "end": end, "type": self.config.entity_types[kind], "score": 1.0}
            for start, end, kind in read_bioes(labels["tags"][0].tolist())
        ]
        return {"entities": entities, "relations": vote(entities, labels["relation_labels"][0], self.config, 0.0)}


@dataclass
class GraphRelOutput(ModelOutput):
    """
    Output of [`GraphRelForJointExtraction`].

    Attributes:
        loss: `entity_loss` + `relation_loss`, if labels are given.
        entity_loss: mean cross-entropy of the tags, with weight 2 for tags of entities, summed over the phases.
        relation_loss: three times the mean cross-entropy of the relations of all pairs of words, with weight 2 for
            relations other than "none", summed over the phases.
        tag_logits: logits of the last phase, shape `(batch_size, num_words, num_tags)`.
        relation_logits: logits of the last phase, shape `(batch_size, num_words, num_words, num_relation_types + 1)`.
    """

    loss: Tensor | None = None
    entity_loss: Tensor | None = None
    relation_loss: Tensor | None = None
    tag_logits: Tensor | None = None
    relation_logits: Tensor | None = None


class GraphRelForJointExtraction(JointExtractionModel):
    """GraphRel on any encoder."""

    config: GraphRelConfig
    config_class = GraphRelConfig
    collator_class = GraphRelCollator

    def __init__(self, config: GraphRelConfig) -> None:
        super().__init__(config)
        size, both = config.gcn_size, 2 * config.gcn_size
        num_tags, num_relations = 4 * len(config.entity_types) + 1, len(config.relation_types) + 1
        self.encoder = new_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(
            config.hidden_size, config.gru_size, config.gru_layers, batch_first=True, bidirectional=True,
            dropout=config.dropout if config.gru_layers > 1 else 0.0,
        )  # fmt: skip
        sizes = [2 * config.gru_size, *[both] * config.gcn_layers]
        self.forward_convolutions = nn.ModuleList(nn.Linear(sizes[i], size) for i in range(config.gcn_layers))
        self.backward_convolutions = nn.ModuleList(nn.Linear(sizes[i], size) for i in range(config.gcn_layers))
        self.tag_gru = nn.GRU(both, size, batch_first=True)
        self.tagger = nn.Linear(size, num_tags)
        self.head_projection = nn.Linear(both, size)
        self.tail_projection = nn.Linear(both, size)
        self.relation_classifier = nn.Linear(both, num_relations)
        if config.phases == 2:
            self.forward_relations = nn.ModuleList(nn.Linear(both, size) for _ in range(num_relations))
            self.backward_relations = nn.ModuleList(nn.Linear(both, size) for _ in range(num_relations))
        self.post_init()

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The encoder, if only its embeddings are used."""
        return list(self.encoder.parameters()) if self.config.inputs == "embeddings" else []

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
    ) -> GraphRelOutput:
        """The arguments are those of `encode_sentences` and of [`GraphRelCollator`]."""
        if self.config.inputs == "encoder":
            states = self.encode_words(input_ids, attention_mask, word_token_start, word_token_end)
        else:
            states = pool_words(self.get_input_embeddings()(input_ids), word_token_start, word_token_end)
        words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
        cells = words[:, :, None] & words[:, None, :]
        states = self.convolve(self.run(self.gru, self.dropout(states), num_words), cells)
        phases = [self.classify(states, num_words)]
        if self.config.phases == 2:
            phases.append(self.classify(self.with_relations(states, phases[0][1], cells), num_words))
        tag_logits, relation_logits = phases[-1]
        if tags is None or relation_labels is None:
            return GraphRelOutput(tag_logits=tag_logits, relation_logits=relation_logits)
        entity_loss = torch.stack([_weighted(of_tags[words], tags[words]) for of_tags, _ in phases]).sum()
        relation_loss = torch.stack(
            [_weighted(of_pairs[cells], relation_labels[cells]) for _, of_pairs in phases]
        ).sum()
        relation_loss = _RELATION_WEIGHT * relation_loss
        return GraphRelOutput(entity_loss + relation_loss, entity_loss, relation_loss, tag_logits, relation_logits)

    def run(self, gru: nn.GRU, states: Tensor, num_words: Tensor) -> Tensor:
        """The outputs of a GRU over the words, without padding."""
        packed = pack_padded_sequence(states, num_words.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=states.shape[1])[0]

    def convolve(self, states: Tensor, cells: Tensor) -> Tensor:
        """Convolutions ReLU(A·(xW + b)) over the graph of the words, with both directions concatenated."""
        following = torch.eye(states.shape[1], dtype=states.dtype, device=states.device)
        following = following + following.roll(1, dims=1).triu(1)
        ahead, back = (_normalised_rows(graph * cells) for graph in (following, following.T))
        for forward, backward in zip(self.forward_convolutions, self.backward_convolutions, strict=True):
            sides = [torch.relu(ahead @ forward(states)), torch.relu(back @ backward(states))]
            states = self.dropout(torch.cat(sides, dim=-1))
        return states

    def with_relations(self, states: Tensor, relation_logits: Tensor, cells: Tensor) -> Tensor:
        """Word states plus the convolutions over the weighted graph of each relation, including "none"."""
        graphs = relation_logits.softmax(dim=-1) * cells[..., None]
        added = states
        for index, (forward, backward) in enumerate(zip(self.forward_relations, self.backward_relations, strict=True)):
            graph = graphs[..., index]
            sides = [torch.relu(graph @ forward(states)), torch.relu(graph.transpose(1, 2) @ backward(states))]
            added = added + self.dropout(torch.cat(sides, dim=-1))
        return added

    def classify(self, states: Tensor, num_words: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tags and of the relations of all pairs of words."""
        tag_logits = self.tagger(self.run(self.tag_gru, states, num_words))
        heads, tails = torch.relu(self.head_projection(states)), torch.relu(self.tail_projection(states))
        # The classifier of [head; tail] is split into one for heads and one for tails, which is cheaper.
        of_head, of_tail = self.relation_classifier.weight.split(heads.shape[-1], dim=1)
        logits = (heads @ of_head.T)[:, :, None] + (tails @ of_tail.T)[:, None] + self.relation_classifier.bias
        return tag_logits, logits

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
        tag_scores, tags = output.tag_logits.float().softmax(dim=-1).max(dim=-1)
        relations = output.relation_logits.argmax(dim=-1).cpu()
        found = []
        for index, length in enumerate(batch["num_words"].tolist()):
            entities = [
                {"start": start, "end": end, "type": self.config.entity_types[kind],
                 "score": float(tag_scores[index, start:end].min())}
                for start, end, kind in read_bioes(tags[index, :length].tolist())
                if float(tag_scores[index, start:end].min()) >= entity_threshold
            ]  # fmt: skip
            voted = vote(entities, relations[index], self.config, relation_threshold)
            found.append({"entities": entities, "relations": voted})
        return found


def vote(
    entities: list[dict[str, Any]], relations: Tensor, config: JointExtractionConfig, threshold: float
) -> list[dict[str, Any]]:
    """The most frequent relation between the words of each pair of entities; its score is its share of word pairs."""
    found = []
    for (head, first), (tail, second) in itertools.permutations(enumerate(entities), 2):
        cells = relations[first["start"] : first["end"], second["start"] : second["end"]].flatten().tolist()
        votes = Counter(cell for cell in cells if cell)
        if not votes:
            continue
        relation, count = min(votes.items(), key=lambda counted: (-counted[1], counted[0]))
        name, score = config.relation_types[relation - 1], count / len(cells)
        symmetric = name in config.symmetric_relations
        allowed = config.allows(first["type"], name, second["type"])
        if allowed and score >= threshold and not (symmetric and tail < head):
            found.append({"head": head, "tail": tail, "type": name, "score": score})
    return found


def _weighted(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in which all classes except 0 have weight 2."""
    weights = torch.full((logits.shape[-1],), _POSITIVE_WEIGHT, device=logits.device)
    weights[0] = 1.0
    return nn.functional.cross_entropy(logits.float(), labels, weight=weights)


def _normalised_rows(graph: Tensor) -> Tensor:
    """Each row divided by its sum; rows of padding are zeros."""
    return graph / graph.sum(dim=-1, keepdim=True).clamp(min=1.0)


AutoConfig.register("graphrel", GraphRelConfig, exist_ok=True)
AutoModel.register(GraphRelConfig, GraphRelForJointExtraction, exist_ok=True)
GraphRelConfig.register_for_auto_class()
GraphRelForJointExtraction.register_for_auto_class("AutoModel")
