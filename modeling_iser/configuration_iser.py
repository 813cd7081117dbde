"""Configuration of ISER: the encoder, the labels and every variant of the paper as a validated field."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


logger = logging.getLogger(__name__)

FUSIONS = ("interactive", "none")
SPAN_CONTEXTS = ("sea", "gru", "cls")
RELATION_CONTEXTS = ("local", "local_attention", "local_encoder", "cls", "global_encoder", "global")
ACTIVATIONS = ("none", "relu", "gelu", "tanh")

# The paper's names (its Tables 3 to 6) as values of the three variant fields; see `IserConfig.variant`.
VARIANTS: dict[str, dict[str, str]] = {
    "iser": {"fusion": "interactive", "span_context": "sea", "relation_context": "local"},
    "spert": {"fusion": "none", "span_context": "cls", "relation_context": "local_encoder"},
    "iser_gru": {"fusion": "interactive", "span_context": "gru", "relation_context": "local"},
    "no_fusion": {"fusion": "none", "span_context": "sea", "relation_context": "local"},
    "sea_to_cls": {"fusion": "interactive", "span_context": "cls", "relation_context": "local"},
    "lc_to_lc_att": {"fusion": "interactive", "span_context": "sea", "relation_context": "local_attention"},
    "lc_to_lc_bert": {"fusion": "interactive", "span_context": "sea", "relation_context": "local_encoder"},
    "lc_to_cls": {"fusion": "interactive", "span_context": "sea", "relation_context": "cls"},
    "lc_to_gc_bert": {"fusion": "interactive", "span_context": "sea", "relation_context": "global_encoder"},
    "lc_to_gc": {"fusion": "interactive", "span_context": "sea", "relation_context": "global"},
}


PIPELINES = {"joint-extraction": "JointExtractionPipeline", "ddi-extraction": "DdiExtractionPipeline"}
"""The tasks of transformers' `pipeline`, and the classes of `pipeline_iser` that do them."""


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `ValueError`, naming the valid choices, unless `value` is one of them."""
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name}={value!r} is not known. Valid values: {', '.join(map(repr, choices))}.{hint}")


class JointExtractionConfig(PretrainedConfig):
    """
    What every system that extracts entities and relations is configured by.

    Args:
        encoder_config: configuration of the text encoder (any `AutoModel`), as an object or a dictionary.
            `None` stands for the configuration of a BERT-base.
        entity_types: names of the entity types, without "no entity".
        relation_types: names of the relation types; none for a model that finds entities alone.
        symmetric_relations: relation types that say the same in either direction; they are found once, from the entity
            that begins first.
        relation_signatures: the triples (head's type, relation, tail's type) that training data holds; `None` where
            that is not known.
        constrain_relations: whether relations whose triple is none of `relation_signatures` are dropped.
        max_span_width: width limit of entities, in words (paper 3.4: k).
        dropout: dropout before the classifiers.
        relation_threshold: a relation holds when its score reaches this value.
        calibration: fields of [`Calibration`], which turns scores into shares of right findings; `None`: scores are the
            model's probabilities.
        overlapping_entities: whether entities may share words. `False`: of entities that overlap, the most probable
            stays.
        max_tokens: most subword tokens the encoder takes at once, special tokens included. Longer
            sentences are read in overlapping windows. `None`: the encoder's number of positions.
        initializer_range: standard deviation of the new linear layers' and embeddings' initial weights.

    Raises:
        ValueError: for an unknown value of a field, an empty or repeated label, or a number out of range.
    """

    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": AutoConfig}
    tasks: ClassVar[tuple[str, ...]] = ("entity", "relation")
    """What the system finds."""

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict[str, Any] | None = None,
        entity_types: Sequence[str] = ("Entity",),
        relation_types: Sequence[str] = ("Relation",),
        symmetric_relations: Sequence[str] = (),
        relation_signatures: Sequence[Sequence[str]] | None = None,
        constrain_relations: bool = True,
        max_span_width: int = 10,
        dropout: float = 0.1,
        relation_threshold: float = 0.5,
        calibration: Mapping[str, Any] | None = None,
        overlapping_entities: bool = False,
        max_tokens: int | None = None,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        if encoder_config is None:
            encoder_config = {"model_type": "bert"}
        if isinstance(encoder_config, dict):
            settings = dict(encoder_config)
            encoder_config = AutoConfig.for_model(settings.pop("model_type", "bert"), **settings)
        self.encoder_config = encoder_config
        self.entity_types = list(entity_types)
        self.relation_types = list(relation_types)
        self.symmetric_relations = list(symmetric_relations)
        self.relation_signatures = None if relation_signatures is None else [list(s) for s in relation_signatures]
        self.constrain_relations = constrain_relations
        self.max_span_width = max_span_width
        self.dropout = dropout
        self.relation_threshold = relation_threshold
        self.calibration = dict(calibration) if calibration is not None else None
        self.overlapping_entities = overlapping_entities
        self.max_tokens = max_tokens
        self.initializer_range = initializer_range
        self._validate()
        super().__init__(**kwargs)

    def allows(self, head_type: str, relation: str, tail_type: str) -> bool:
        """Whether a relation of this kind may be found; one with a type that the model does not know always may."""
        if not self.constrain_relations or self.relation_signatures is None:
            return True
        unknown = not {head_type, tail_type} <= set(self.entity_types)
        return unknown or [head_type, relation, tail_type] in self.relation_signatures

    @property
    def hidden_size(self) -> int:
        """Size d of the encoder's output."""
        return self.encoder_config.hidden_size

    @property
    def max_position_embeddings(self) -> int:
        """Most tokens of one encoder input, special tokens included."""
        if self.max_tokens is not None:
            return self.max_tokens
        return getattr(self.encoder_config, "max_position_embeddings", 512)

    def _validate(self) -> None:
        for name in ("entity_types", "relation_types"):
            labels = getattr(self, name)
            if not all(isinstance(label, str) and label for label in labels):
                raise ValueError(f"{name} must be a list of non-empty strings, got {labels!r}.")
            repeated = sorted({label for label in labels if labels.count(label) > 1})
            if repeated:
                raise ValueError(f"{name} names {', '.join(repeated)} more than once.")
        if not self.entity_types:
            raise ValueError("entity_types is empty: the model needs at least one entity type.")
        if unknown := sorted(set(self.symmetric_relations) - set(self.relation_types)):
            raise ValueError(f"symmetric_relations names {', '.join(unknown)}, which is none of relation_types.")
        for signature in self.relation_signatures or ():
            head, relation, tail = signature if len(signature) == 3 else ("", "", "")
            if not {head, tail} <= set(self.entity_types) or relation not in self.relation_types:
                raise ValueError(
                    f"relation_signatures holds {signature!r}, which is no [entity type, relation type, entity type]."
                )
        if self.calibration is not None and set(self.calibration["relation_offsets"]) != set(self.relation_types):
            raise ValueError("calibration is of other relation types than relation_types.")
        if self.max_tokens is not None and self.max_tokens < 8:
            raise ValueError(f"max_tokens must be at least 8, got {self.max_tokens!r}.")
        self._check_counts("max_span_width")
        self._check_shares("dropout", "relation_threshold")

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")

    def _check_shares(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r}.")


class IserConfig(JointExtractionConfig):
    """
    Configuration of [`IserForJointExtraction`].

    Class 0 of the entity classifier is "no entity"; class `i + 1` is `entity_types[i]`. The relation classifier's
    outputs are in the order of `relation_types`; both directions of a symmetric relation are learned, and their mean
    score counts. The paper lets entities overlap and takes relations from a score of 0.4.

    Args (beside those of [`JointExtractionConfig`]):
        width_embedding_size: size of the learned embedding of a span's width (paper 3.4).
        fusion: `"interactive"` (paper 3.3) or `"none"`: the span features come from the encoder's output.
        projection_activation: activation of the two feed-forward layers of Eq. 1 and 2: `"none"`,
            `"relu"`, `"gelu"` or `"tanh"`.
        fusion_residual: whether the encoder's output is added to the BiLSTM's, H = E + BiLSTM(…). The paper's
            Eq. 5 has no such connection (`False`): a word then reaches H only through the attention, which
            begins nearly uniform, and training needs far more epochs to get off the ground.
        span_context: context feature of a span: `"sea"` (Eq. 7 to 9), `"gru"` (a BiGRU over the masked
            sequence, the paper's ISER_GRU) or `"cls"` (the encoder's first token).
        first_pass_threshold: spans whose first-pass score, a probability computed from the words of the span and those
            beside it, lies below it (in training, below a twentieth of it) are taken for no entity without looking at
            their context. 0 looks at every span, as the paper does.
        first_pass_size: hidden units of the first pass.
        context_attention_heads: heads of the self-attention in SEA and in `"local_attention"`.
        relation_context: context feature of a pair (Eq. 12): `"local"`, `"local_attention"`,
            `"local_encoder"`, `"cls"`, `"global_encoder"` or `"global"`.
        float_layers: names of the linear layers that 8-bit integers would spoil (`quantization_iser.spoiled_layers`).

    Raises:
        ValueError: for an unknown value of a field, an empty or repeated label, or a number out of range.
    """

    model_type = "iser"

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict[str, Any] | None = None,
        width_embedding_size: int = 25,
        fusion: str = "interactive",
        projection_activation: str = "none",
        fusion_residual: bool = True,
        span_context: str = "sea",
        first_pass_threshold: float = 0.2,
        first_pass_size: int = 64,
        context_attention_heads: int = 8,
        relation_context: str = "local",
        float_layers: Sequence[str] = (),
        relation_threshold: float = 0.4,
        **kwargs: Any,
    ) -> None:
        self.width_embedding_size = width_embedding_size
        self.fusion = fusion
        self.projection_activation = projection_activation
        self.fusion_residual = fusion_residual
        self.span_context = span_context
        self.first_pass_threshold = first_pass_threshold
        self.first_pass_size = first_pass_size
        self.context_attention_heads = context_attention_heads
        self.relation_context = relation_context
        self.float_layers = list(float_layers)
        if "proposal_threshold" in kwargs:  # the earlier version's name
            self.first_pass_threshold = 0.0
            if kwargs.pop("proposal_threshold") > 0:
                logger.warning(
                    "The first pass of this checkpoint is of an earlier version and is left out: every span is looked "
                    "at, which is right, but slow. `train.py --checkpoint … --train_only first_pass` makes a new one."
                )
        kwargs.setdefault(
            "custom_pipelines",
            {
                task: {"impl": f"pipeline_iser.{implementation}", "pt": ["AutoModel"], "type": "text"}
                for task, implementation in PIPELINES.items()
            },
        )
        super().__init__(encoder_config, relation_threshold=relation_threshold, **kwargs)

    @classmethod
    def variant(cls, name: str, **fields: Any) -> IserConfig:
        """Configuration of a system of the paper, for example `IserConfig.variant("spert", …)`."""
        check_choice("variant", name, tuple(VARIANTS))
        return cls(**{**VARIANTS[name], **fields})

    @property
    def uses_first_pass(self) -> bool:
        """Whether a first pass chooses the spans whose context is looked at; a free context needs none."""
        return self.first_pass_threshold > 0 and self.span_context != "cls"

    def _validate(self) -> None:
        super()._validate()
        check_choice("fusion", self.fusion, FUSIONS)
        check_choice("projection_activation", self.projection_activation, ACTIVATIONS)
        check_choice("span_context", self.span_context, SPAN_CONTEXTS)
        check_choice("relation_context", self.relation_context, RELATION_CONTEXTS)
        self._check_counts("width_embedding_size", "context_attention_heads", "first_pass_size")
        self._check_shares("first_pass_threshold")
        uses_attention = self.span_context == "sea" or self.relation_context == "local_attention"
        if uses_attention and self.hidden_size % self.context_attention_heads:
            raise ValueError(
                f"context_attention_heads={self.context_attention_heads} does not divide the encoder's hidden "
                f"size {self.hidden_size}."
            )
        uses_recurrence = self.fusion == "interactive" or self.span_context in ("sea", "gru")
        if uses_recurrence and self.hidden_size % 2:
            raise ValueError(
                f"The encoder's hidden size {self.hidden_size} is odd; the bidirectional layers need an even one."
            )


__all__ = ["IserConfig", "JointExtractionConfig"]
