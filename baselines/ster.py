"""
STER: a SpERT model that learns from two teachers with privileged information (Zhao et al., 2023).

One teacher reads the gold entities after the sentence, the other a token for each gold relation. Both are SpERT models
and are trained first. The student reads only the sentence; in addition to its own loss, a contrastive loss draws its
features towards the teachers' features of the same span or pair, and away from those of other sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from modeling_iser import VARIANTS, IserConfig, IserForJointExtraction, JointExtractionModel, Sentence
from modeling_iser.collation_iser import IserCollator, encode_sentences, max_sentence_tokens
from modeling_iser.configuration_iser import check_choice
from modeling_iser.modeling_iser import IserOutput


PRIVILEGES = ("none", "entities", "relations")
TEACHERS = {"entity_teacher": "entities", "relation_teacher": "relations"}
"""The student's teachers, and the privileged information of each."""
# Constants of the authors' code: samples per sentence, and loss terms (two kinds of features, two teachers).
_SAMPLES = 200
_TERMS = 4


class SterConfig(IserConfig):
    """
    Configuration of [`SterForJointExtraction`].

    Args (in addition to those of [`IserConfig`], with SpERT's values as defaults):
        privileged: gold labels that the model reads after a training sentence: `"none"` (the student), `"entities"` or
            `"relations"` (the teachers).
    """

    model_type = "ster"

    def __init__(self, *args: Any, privileged: str = "none", **kwargs: Any) -> None:
        self.privileged = privileged
        super().__init__(*args, **{**VARIANTS["spert"], **kwargs})

    def _validate(self) -> None:
        super()._validate()
        check_choice("privileged", self.privileged, PRIVILEGES)


class SterCollator(IserCollator):
    """SpERT's batches, with privileged inputs in place of a teacher's and in addition to the student's."""

    config: SterConfig

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            The labels of [`IserCollator`]. For a teacher, also its `input_ids` and `attention_mask`, which replace
            those of the sentences; for the student, those of each teacher under its name, `entity_teacher_input_ids`
            and so on, shape `(batch_size, num_tokens of the teacher)`.
        """
        labels = super().labels(sentences)
        if self.config.privileged != "none":
            return {**labels, **self.privileged_inputs(sentences, self.config.privileged)}
        for teacher, privileged in TEACHERS.items():
            for name, tensor in self.privileged_inputs(sentences, privileged).items():
                labels[f"{teacher}_{name}"] = tensor
        return labels

    def privileged_inputs(self, sentences: Sequence[Sentence], privileged: str) -> dict[str, Tensor]:
        """
        Encoder inputs of sentences followed by the tokens of all gold entities, or by a reserved token for each gold
        relation, as far as the encoder has positions for them. The positions of the words do not change.
        """
        max_tokens = max_sentence_tokens(self.tokenizer, self.config)
        extended = []
        for sentence in sentences:
            if privileged == "entities":
                words = (word for span in sorted(sentence.entities) for word in sentence.word_tokens[slice(*span)])
                extra = [token for word in words for token in word]
            else:
                first = self.config.encoder_config.vocab_size
                extra = [
                    first + label for pair in sorted(sentence.relations) for label in sorted(sentence.relations[pair])
                ]
            room = max_tokens - sum(map(len, sentence.word_tokens))
            extended.append([*sentence.word_tokens, extra[: max(0, room)]])
        encoded = encode_sentences(extended, self.tokenizer)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@dataclass
class SterOutput(IserOutput):
    """
    Output of [`SterForJointExtraction`]: that of ISER, with the contrastive loss.

    Attributes:
        contrastive_loss: sum of [`contrastive_loss`] over both kinds of features and both teachers, included in `loss`;
            `None` without teachers or labels.
    """

    contrastive_loss: Tensor | None = None


class SterForJointExtraction(IserForJointExtraction):
    """The student, or one of its teachers, on any encoder. All of them extract as SpERT does."""

    config: SterConfig
    config_class = SterConfig
    collator_class = SterCollator

    def __init__(self, config: SterConfig) -> None:
        super().__init__(config)
        # In a plain dictionary, the teachers are no submodules, and are neither trained nor saved with the student.
        self.teachers: dict[str, JointExtractionModel] = {}
        self._reserve_tokens()

    def replace_text_encoder(self, encoder: Any) -> None:
        super().replace_text_encoder(encoder)
        self._reserve_tokens()

    def _reserve_tokens(self) -> None:
        """Append an embedding for each relation type to the vocabulary of the teacher that reads relations."""
        if self.config.privileged != "relations":
            return
        old: Any = self.get_input_embeddings()
        added = len(self.config.relation_types)
        new = nn.Embedding(old.num_embeddings + added, old.embedding_dim, padding_idx=old.padding_idx)
        with torch.no_grad():
            new.weight.normal_(std=self.config.initializer_range)
            new.weight[: old.num_embeddings] = old.weight
        self.set_input_embeddings(new)

    def learn_from(self, teachers: Mapping[str, JointExtractionModel]) -> None:
        for name, teacher in teachers.items():
            check_choice("teacher", name, tuple(TEACHERS))
            self.teachers[name] = teacher.eval().requires_grad_(False)

    def forward(
        self,
        *args: Any,
        entity_teacher_input_ids: Tensor | None = None,
        entity_teacher_attention_mask: Tensor | None = None,
        relation_teacher_input_ids: Tensor | None = None,
        relation_teacher_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> SterOutput:
        """
        The arguments are those of [`IserForJointExtraction`] and of [`SterCollator`]. With teachers, the former must be
        passed by name.
        """
        output = SterOutput(**super().forward(*args, **kwargs))
        teacher_inputs = {
            "entity_teacher": (entity_teacher_input_ids, entity_teacher_attention_mask),
            "relation_teacher": (relation_teacher_input_ids, relation_teacher_attention_mask),
        }
        sentence = output.span_sentence
        if not self.teachers or output.loss is None or sentence is None:
            return output
        num_sentences = len(kwargs["num_words"])
        samples = {"entity_features": sentence, "relation_features": sentence[output.pair_head]}
        losses = []
        for name, teacher in self.teachers.items():
            input_ids, attention_mask = teacher_inputs[name]
            with torch.no_grad():
                privileged = {**kwargs, "input_ids": input_ids, "attention_mask": attention_mask}
                taught = teacher.to(self.device)(**privileged)
            losses += [
                contrastive_loss(output[features].float(), taught[features].float(), of_sample, num_sentences)
                for features, of_sample in samples.items()
            ]
        output.contrastive_loss = torch.stack(losses).sum()
        output.loss = output.loss + output.contrastive_loss
        return output


def contrastive_loss(student: Tensor, teacher: Tensor, sentence: Tensor, num_sentences: int) -> Tensor:
    """
    Contrastive loss between the student's and a teacher's features.

    With g(x, y) = 1 − cos(x, y), each sample contributes its distance g to the teacher's features of the same sample,
    plus (2 − (g′ − g)) / 2, where g′ is the distance to the teacher's features of the sample with the same number in
    another sentence, averaged over the other sentences that have one. The sum over all samples is divided by
    batch · 200 · (batch − 1) · 4.

    Args:
        student, teacher: features, shape `(num_samples, size)`.
        sentence: index of the sentence of each sample, ascending, shape `(num_samples,)`.
        num_sentences: number of sentences in the batch; the loss of a single sentence is 0.
    """
    if num_sentences < 2 or not len(sentence):
        return student.new_zeros(())
    counts = torch.bincount(sentence, minlength=num_sentences)
    place = torch.arange(len(sentence), device=sentence.device) - (counts.cumsum(0) - counts)[sentence]
    shape = (num_sentences, int(counts.max()))
    present = torch.zeros(shape, dtype=torch.bool, device=student.device)
    present[sentence, place] = True
    grids = []
    for features in (student, teacher):
        grid = features.new_zeros(*shape, features.shape[-1])
        grid[sentence, place] = nn.functional.normalize(features, dim=-1)
        grids.append(grid)
    distance = 1 - torch.einsum("isd,ksd->iks", *grids)
    same = distance.diagonal(dim1=0, dim2=1).T
    others = present[None] & ~torch.eye(num_sentences, dtype=torch.bool, device=student.device)[:, :, None]
    away = (2 - (distance - same[:, None])) / 2
    each = same + (away * others).sum(dim=1) / others.sum(dim=1).clamp(min=1)
    return (each * present).sum() / (num_sentences * _SAMPLES * (num_sentences - 1) * _TERMS)


AutoConfig.register("ster", SterConfig, exist_ok=True)
AutoModel.register(SterConfig, SterForJointExtraction, exist_ok=True)
SterConfig.register_for_auto_class()
SterForJointExtraction.register_for_auto_class("AutoModel")
