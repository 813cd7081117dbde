"""
W2NER: entities as relations between words (Li et al., AAAI 2022). It extracts only entities.

The cell of two neighbouring words of an entity is tagged "next word", the cell of its last and first word with its
type. The cells are represented by a conditional layer norm and embeddings of distance and region, and scored by dilated
convolutions plus a biaffine classifier of the two words.
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
from modeling_iser.modeling_base_iser import new_encoder, pool_words


NONE, NEXT_WORD = 0, 1
"""Tags of a cell; tag 2 + i at the last and first word of an entity of type i."""
# Number of last encoder layers that are averaged, of distance buckets, and of regions (padding, upper, lower triangle).
_LAYERS = 4
_DISTANCES = 20
_REGIONS = 3


class W2NerConfig(JointExtractionConfig):
    """
    Configuration of [`W2NerForJointExtraction`].

    Args (in addition to those of [`JointExtractionConfig`]):
        lstm_size: hidden size of the BiLSTM, both directions together.
        position_size: size of the distance and region embeddings.
        channels: number of channels of the convolutions.
        biaffine_size: size of the words' projections in the biaffine classifier.
        grid_size: hidden size of the classifier after the convolutions.
    """

    model_type = "w2ner"
    tasks = ("entity",)

    def __init__(
        self,
        *args: Any,
        lstm_size: int = 512,
        position_size: int = 20,
        channels: int = 96,
        biaffine_size: int = 512,
        grid_size: int = 288,
        **kwargs: Any,
    ) -> None:
        self.lstm_size = lstm_size
        self.position_size = position_size
        self.channels = channels
        self.biaffine_size = biaffine_size
        self.grid_size = grid_size
        kwargs.setdefault("dropout", 0.5)
        super().__init__(*args, **kwargs)

    def _validate(self) -> None:
        super()._validate()
        self._check_counts("lstm_size", "position_size", "channels", "biaffine_size", "grid_size")
        if self.lstm_size % 2:
            raise ValueError(f"lstm_size={self.lstm_size} is odd; the two directions of the BiLSTM need an even size.")


class W2NerCollator(TrainingCollator):
    """Tags of every pair of words."""

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            `tags`, shape `(batch_size, num_words, num_words)`.
        """
        longest = max(len(sentence.word_tokens) for sentence in sentences)
        return {"tags": torch.stack([tag_table(sentence.entities, longest) for sentence in sentences])}

    def decode_labels(self, sentence: Sentence) -> dict[str, list[dict[str, Any]]]:
        tags = self.labels([sentence])["tags"][0]
        entities = [
            {"start": start, "end": end, "type": self.config.entity_types[kind], "score": score}
            for start, end, kind, score in read_table(tags, torch.ones(tags.shape))
        ]
        return {"entities": entities, "relations": []}


def tag_table(entities: dict[tuple[int, int], int], size: int) -> Tensor:
    """Tags for entities, given as range → label (1 is the first entity type), shape `(size, size)`."""
    table = torch.zeros(size, size, dtype=torch.long)
    for (start, end), label in entities.items():
        for word in range(start, end - 1):
            table[word, word + 1] = NEXT_WORD
        table[end - 1, start] = 1 + label
    return table


def read_table(tags: Tensor, scores: Tensor) -> list[tuple[int, int, int, float]]:
    """
    First word, word after the last, type and score of the entities in a table: those whose words are all linked.

    Args:
        tags, scores: tags and their scores, shape `(num_words, num_words)`.
    """
    found = []
    for last, first in ((tags > NEXT_WORD) & torch.ones_like(tags, dtype=torch.bool).tril()).nonzero().tolist():
        links = [(word, word + 1) for word in range(first, last)]
        if all(tags[link] == NEXT_WORD for link in links):
            score = min(float(scores[cell]) for cell in [(last, first), *links])
            found.append((first, last + 1, int(tags[last, first]) - 2, score))
    return found


@dataclass
class W2NerOutput(ModelOutput):
    """
    Output of [`W2NerForJointExtraction`].

    Attributes:
        loss: mean cross-entropy over all pairs of words, if tags are given.
        logits: shape `(batch_size, num_words, num_words, num_entity_types + 2)`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None


class W2NerForJointExtraction(JointExtractionModel):
    """W2NER on any encoder."""

    config: W2NerConfig
    config_class = W2NerConfig
    collator_class = W2NerCollator

    def __init__(self, config: W2NerConfig) -> None:
        super().__init__(config)
        size, classes = config.lstm_size, len(config.entity_types) + 2
        self.encoder = new_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(config.hidden_size, size // 2, batch_first=True, bidirectional=True)
        self.norm = ConditionalLayerNorm(size)
        self.distance_embedding = nn.Embedding(_DISTANCES, config.position_size)
        self.region_embedding = nn.Embedding(_REGIONS, config.position_size)
        self.convolutions = DilatedConvolutions(size + 2 * config.position_size, config.channels, config.dropout)
        self.head = nn.Sequential(nn.Linear(size, config.biaffine_size), nn.GELU(), nn.Dropout(config.dropout))
        self.tail = nn.Sequential(nn.Linear(size, config.biaffine_size), nn.GELU(), nn.Dropout(config.dropout))
        self.biaffine = nn.Parameter(torch.zeros(classes, config.biaffine_size + 1, config.biaffine_size + 1))
        self.grid = nn.Sequential(
            nn.Linear(3 * config.channels, config.grid_size), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.grid_scorer = nn.Linear(config.grid_size, classes)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ConditionalLayerNorm):
            init.zeros_(module.gain.weight)
            init.ones_(module.gain.bias)
            init.zeros_(module.bias.weight)
            init.zeros_(module.bias.bias)
        elif isinstance(module, W2NerForJointExtraction):
            init.normal_(module.biaffine, std=self.config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_token_start: Tensor,
        word_token_end: Tensor,
        num_words: Tensor,
        tags: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> W2NerOutput:
        """The arguments are those of `encode_sentences` and of [`W2NerCollator`]."""
        layers = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        tokens = torch.stack(layers.hidden_states[-_LAYERS:]).mean(dim=0)
        states = self.dropout(pool_words(tokens, word_token_start, word_token_end))
        packed = pack_padded_sequence(states, num_words.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[1])
        words = torch.arange(states.shape[1], device=states.device) < num_words[:, None]
        cells = words[:, :, None] & words[:, None, :]
        logits = self.biaffine_logits(states) + self.grid_logits(states, cells)
        loss = nn.functional.cross_entropy(logits[cells].float(), tags[cells]) if tags is not None else None
        return W2NerOutput(loss, logits)

    def biaffine_logits(self, states: Tensor) -> Tensor:
        """[h_i; 1]ᵀ·U·[h_j; 1] for each class, shape `(batch_size, num_words, num_words, num_classes)`."""
        head, tail = self.head(self.dropout(states)), self.tail(self.dropout(states))
        head, tail = (torch.cat([side, torch.ones_like(side[..., :1])], dim=-1) for side in (head, tail))
        return torch.einsum("bxi,oij,byj->bxyo", head, self.biaffine, tail)

    def grid_logits(self, states: Tensor, cells: Tensor) -> Tensor:
        """Logits from the convolutions over the table of word pairs, same shape."""
        places = torch.arange(states.shape[1], device=states.device)
        distance = self.distance_embedding(distance_bucket(places[:, None] - places))
        region = self.region_embedding((torch.ones_like(cells).tril().long() + 1) * cells)
        pairs = self.norm(states[:, :, None], states[:, None])
        table = torch.cat([pairs, distance.expand(len(states), -1, -1, -1), region], dim=-1)
        return self.grid_scorer(self.grid(self.convolutions(table * cells[..., None], cells)))

    def extract_batch(
        self,
        sentences: list[list[list[int]]],
        entity_threshold: float,
        relation_threshold: float,
        exact: bool = False,
        given: list[list[tuple[int, int, str]]] | None = None,
    ) -> list[dict[str, list[dict[str, Any]]]]:
        batch = self.tensors(sentences)
        score, tag = self(**batch).logits.float().softmax(dim=-1).max(dim=-1)
        found = []
        for index, length in enumerate(batch["num_words"].tolist()):
            entities = [
                {"start": start, "end": end, "type": self.config.entity_types[kind], "score": entity_score}
                for start, end, kind, entity_score in read_table(
                    tag[index, :length, :length].cpu(), score[index, :length, :length].cpu()
                )
                if entity_score >= entity_threshold
            ]
            found.append({"entities": entities, "relations": []})
        return found


class ConditionalLayerNorm(nn.Module):
    """Layer norm of one word whose gain and bias are computed from another word."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain = nn.Linear(size, size)
        self.bias = nn.Linear(size, size)

    def forward(self, condition: Tensor, states: Tensor) -> Tensor:
        normal = nn.functional.layer_norm(states, states.shape[-1:])
        return normal * self.gain(condition) + self.bias(condition)


class DilatedConvolutions(nn.Module):
    """A 1×1 convolution, then 3×3 depth-wise convolutions with dilations 1, 2 and 3, whose outputs are concatenated."""

    def __init__(self, size: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Linear(size, channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, groups=channels, dilation=dilation, padding=dilation)
            for dilation in (1, 2, 3)
        )

    def forward(self, table: Tensor, cells: Tensor) -> Tensor:
        """
        Args:
            table: shape `(batch_size, num_words, num_words, size)`.
            cells: true except at padding, shape `(batch_size, num_words, num_words)`.

        Returns:
            Shape `(batch_size, num_words, num_words, 3 · channels)`; it does not depend on the padding.
        """
        # In PyTorch 2.13, in bfloat16 on a CPU, the gradient of these convolutions comes from memory that nothing has
        # written to, unless the input is contiguous.
        hidden = nn.functional.gelu(self.reduce(self.dropout(table))).movedim(-1, 1).contiguous()
        outputs = []
        for layer in self.layers:
            hidden = nn.functional.gelu(layer(hidden * cells[:, None]))
            outputs.append(hidden)
        return torch.cat(outputs, dim=1).movedim(1, -1)


def distance_bucket(distance: Tensor) -> Tensor:
    """Bucket of a signed distance, by powers of two: 0 → 19; 1, 2–3, 4–7, … → 1, 2, 3, …; negatives → 10, 11, 12, …"""
    size = distance.abs().clamp(min=1)
    power = (torch.log2(size.float()) + 1e-4).floor().long().clamp(max=8)
    bucket = torch.where(distance > 0, power + 1, power + 10)
    return torch.where(distance == 0, torch.full_like(bucket, _DISTANCES - 1), bucket)


AutoConfig.register("w2ner", W2NerConfig, exist_ok=True)
AutoModel.register(W2NerConfig, W2NerForJointExtraction, exist_ok=True)
W2NerConfig.register_for_auto_class()
W2NerForJointExtraction.register_for_auto_class("AutoModel")
