"""
STER: a SpERT that learns from two teachers, which are told more than the sentence (Zhao et al., 2023).

One teacher reads the gold entities behind the sentence, the other a token for each gold relation. Both are SpERT
models, and are trained first. The student reads the sentence alone; beside its own loss, its features are drawn to the
teachers' features of the same span or pair, and away from those of other sentences.
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
"""The student's teachers, and what each of them is told."""
# Both as in the authors' code: samples of a sentence, and terms (two kinds of features, two teachers).
_SAMPLES = 200
_TERMS = 4


class SterConfig(IserConfig):
    """
    Configuration of [`SterForJointExtraction`].

    Args (beside those of [`IserConfig`], whose defaults are SpERT's here):
        privileged: what the model reads behind a training sentence: `"none"` (the student), `"entities"` or
            `"relations"` (its teachers).
    """

    model_type = "ster"

    def __init__(self, *args: Any, privileged: str = "none", **kwargs: Any) -> None:
        self.privileged = privileged
        super().__init__(*args, **{**VARIANTS["spert"], **kwargs})

    def _validate(self) -> None:
        super()._validate()
        check_choice("privileged", self.privileged, PRIVILEGES)


class SterCollator(IserCollator):
    """SpERT's batches; a teacher's sentences go on with what it is told, a student's come with the teachers' inputs."""

    config: SterConfig

    def labels(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """
        Returns:
            Those of [`IserCollator`]. A teacher's `input_ids` and `attention_mask` take the place of the sentences'; a
            student gets each teacher's under its name, `entity_teacher_input_ids` and so on, shape
            `(batch_size, num_tokens of the teacher)`.
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
        Sentences with the tokens of all gold entities, or a reserved token for each gold relation, before the final
        special token; as many of them as the encoder has positions for. The words stay where they are.
        """
        most = max_sentence_tokens(self.tokenizer, self.config)
        extended = []
        for sentence in sentences:
            if privileged == "entities":
                words = (word for span in sorted(sentence.entities) for word in sentence.word_tokens[slice(*span)])
                told = [token for word in words for token in word]
            else:
                first = self.config.encoder_config.vocab_size
                told = [
                    first + label for pair in sorted(sentence.relations) for label in sorted(sentence.relations[pair])
                ]
            room = most - sum(map(len, sentence.word_tokens))
            extended.append([*sentence.word_tokens, told[: max(0, room)]])
        encoded = encode_sentences(extended, self.tokenizer)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@dataclass
class SterOutput(IserOutput):
    """
    Output of [`SterForJointExtraction`]: that of ISER, and

    Attributes:
        contrastive_loss: sum of [`contrastive_loss`] over both kinds of features and both teachers; a part of `loss`.
            `None` without teachers or labels.
    """

    contrastive_loss: Tensor | None = None


class SterForJointExtraction(IserForJointExtraction):
    """The student, or one of its teachers, on any encoder. For extraction each of them is a SpERT."""

    config: SterConfig
    config_class = SterConfig
    collator_class = SterCollator

    def __init__(self, config: SterConfig) -> None:
        super().__init__(config)
        # A dictionary is no submodule: the teachers are neither trained nor saved with the student.
        self.teachers: dict[str, JointExtractionModel] = {}
        self._reserve_tokens()

    def replace_text_encoder(self, encoder: Any) -> None:
        super().replace_text_encoder(encoder)
        self._reserve_tokens()

    def _reserve_tokens(self) -> None:
        """Behind the vocabulary, an embedding of each relation type for the teacher that reads them."""
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
        """The arguments are those of [`IserForJointExtraction`], by name where there are teachers, and of
        [`SterCollator`]."""
        output = SterOutput(**super().forward(*args, **kwargs))
        told = {
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
            input_ids, attention_mask = told[name]
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
    Of each sample the distance g(x, y) = 1 − cos(x, y) to the teacher's features of it, and (2 − (g′ − g)) / 2 with g′
    the distance to the teacher's features of the sample of the same number in another sentence, as the mean over the
    other sentences that have one; their sum over all samples, divided by batch · 200 · (batch − 1) · 4.

    Args:
        student, teacher: features, shape `(num_samples, size)`.
        sentence: the sentence of each sample in ascending order, shape `(num_samples,)`.
        num_sentences: of the batch; the loss of a single one is 0.
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
