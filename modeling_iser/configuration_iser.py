"""Configuration of ISER: the encoder, the labels and every variant of the paper as a validated field."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig

from .drugs_iser import is_drug


logger = logging.getLogger(__name__)

FUSIONS = ("interactive", "none")
SPAN_CONTEXTS = ("sea", "gru", "cls")
RELATION_CONTEXTS = ("local", "local_attention", "local_encoder", "cls", "global_encoder", "global")
ACTIVATIONS = ("none", "relu", "gelu", "tanh")

# The systems of the paper's Tables 3 to 6 as values of the three variant fields; see `IserConfig.variant`.
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
"""Task names for transformers' `pipeline`, with the classes in `pipeline_iser` that implement them."""


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `ValueError`, naming the valid choices, unless `value` is one of them."""
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name}={value!r} is not known. Valid values: {', '.join(map(repr, choices))}.{hint}")


class JointExtractionConfig(PretrainedConfig):
    """
    Configuration that all systems for joint extraction share.

    Args:
        encoder_config: configuration of the text encoder (any `AutoModel`), as an object or a dictionary.
            `None`: a BERT-base configuration.
        entity_types: names of the entity types, without "no entity".
        relation_types: names of the relation types; empty for a model that extracts only entities.
        symmetric_relations: relation types without direction; such a relation is extracted once, with the entity that
            begins first as its head.
        relation_signatures: the triples (head type, relation type, tail type) that occur in the training data; `None`
            if unknown.
        constrain_relations: whether to drop relations whose triple is not in `relation_signatures`.
        max_span_width: maximum width of an entity, in words (paper 3.4: k).
        dropout: dropout before the classifiers.
        relation_threshold: minimum score of a relation.
        relation_thresholds: relation type → minimum score of relations of this type, in place of `relation_threshold`.
        calibration: fields of [`Calibration`], which maps scores to the probability that a prediction is correct;
            `None`: the scores are the model's own probabilities.
        overlapping_entities: whether entities may share words. `False`: of overlapping entities, only the most
            probable is kept.
        max_tokens: maximum number of subword tokens in one encoder input, special tokens included. Longer sentences
            are split into overlapping windows. `None`: the encoder's number of positions.
        initializer_range: standard deviation of the initial weights of new linear layers and embeddings.

    Raises:
        ValueError: if a field has an invalid value, a label is empty or repeated, or a number is out of range.
    """

    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": AutoConfig}
    tasks: ClassVar[tuple[str, ...]] = ("entity", "relation")
    """What the system extracts: `"entity"`, `"relation"` or both."""

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
        relation_thresholds: Mapping[str, float] | None = None,
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
        self.relation_thresholds = dict(relation_thresholds or {})
        self.calibration = dict(calibration) if calibration is not None else None
        self.overlapping_entities = overlapping_entities
        self.max_tokens = max_tokens
        self.initializer_range = initializer_range
        self._validate()
        super().__init__(**kwargs)

    def allows(self, head_type: str, relation: str, tail_type: str) -> bool:
        """Whether this triple of types may be extracted; always true if the model does not know an entity type."""
        if not self.constrain_relations or self.relation_signatures is None:
            return True
        unknown = not {head_type, tail_type} <= set(self.entity_types)
        return unknown or [head_type, relation, tail_type] in self.relation_signatures

    @property
    def hidden_size(self) -> int:
        """Size d of the encoder's output."""
        return self.encoder_config.hidden_size

    @property
    def drug_type(self) -> str | None:
        """The entity type of drugs, if the model knows one; only then can it make use of a leaflet's drug."""
        return next(filter(is_drug, self.entity_types), None)

    @property
    def max_position_embeddings(self) -> int:
        """Maximum number of tokens in one encoder input, special tokens included."""
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
                raise ValueError(f"{name} lists {', '.join(repeated)} more than once.")
        if not self.entity_types:
            raise ValueError("entity_types is empty: the model needs at least one entity type.")
        if unknown := sorted(set(self.symmetric_relations) - set(self.relation_types)):
            raise ValueError(f"symmetric_relations lists {', '.join(unknown)}, which relation_types does not.")
        if unknown := sorted(set(self.relation_thresholds) - set(self.relation_types)):
            raise ValueError(f"relation_thresholds lists {', '.join(unknown)}, which relation_types does not.")
        for relation, score in self.relation_thresholds.items():
            if not 0.0 <= score <= 1.0:
                raise ValueError(f"relation_thresholds: {relation} must lie between 0 and 1, got {score!r}.")
        for signature in self.relation_signatures or ():
            head, relation, tail = signature if len(signature) == 3 else ("", "", "")
            if not {head, tail} <= set(self.entity_types) or relation not in self.relation_types:
                raise ValueError(
                    f"relation_signatures contains {signature!r}, which is not [entity type, relation type, entity "
                    "type] with types of this configuration."
                )
        if self.calibration is not None and set(self.calibration["relation_offsets"]) != set(self.relation_types):
            raise ValueError("calibration was fitted for other relation types than relation_types.")
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
    outputs are in the order of `relation_types`; both directions of a symmetric relation are learned, and its score is
    the mean of both. The paper allows overlapping entities and uses a relation threshold of 0.4.

    Args (in addition to those of [`JointExtractionConfig`]):
        width_embedding_size: size of the learned embedding of a span's width (paper 3.4).
        fusion: `"interactive"` (paper 3.3), or `"none"`: span features are computed from the encoder's output.
        projection_activation: activation of the two feed-forward layers of Eq. 1 and 2: `"none"`,
            `"relu"`, `"gelu"` or `"tanh"`.
        fusion_residual: whether to add the encoder's output to the BiLSTM's: H = E + BiLSTM(…). The paper's Eq. 5 has
            no such residual connection (`False`): a word then reaches H only through the attention, whose initial
            weights are nearly uniform, and training takes far more epochs to converge.
        span_context: context feature of a span: `"sea"` (Eq. 7 to 9), `"gru"` (a BiGRU over the masked
            sequence, the paper's ISER_GRU) or `"cls"` (the encoder's first token).
        first_pass_threshold: minimum first-pass score of a span, a probability computed from its words and its direct
            neighbours; in training, a twentieth of this value. Spans below it are rejected without computing their
            context. 0 scores every span, as in the paper.
        first_pass_size: number of hidden units in the first pass.
        context_attention_heads: heads of the self-attention in SEA and in `"local_attention"`.
        relation_context: context feature of a pair (Eq. 12): `"local"`, `"local_attention"`,
            `"local_encoder"`, `"cls"`, `"global_encoder"` or `"global"`.
        float_layers: names of the linear layers that lose too much accuracy in 8-bit integers and stay in floating
            point (see `quantization_iser.spoiled_layers`).

    Raises:
        ValueError: if a field has an invalid value, a label is empty or repeated, or a number is out of range.
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
        if "proposal_threshold" in kwargs:  # name in an earlier version
            self.first_pass_threshold = 0.0
            if kwargs.pop("proposal_threshold") > 0:
                logger.warning(
                    "The first pass of this checkpoint is from an earlier version and is ignored. All spans are "
                    "scored, which is correct but slow. `train.py --checkpoint … --train_only first_pass` trains a new "
                    "one."
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
        """Configuration of one of the paper's systems, for example `IserConfig.variant("spert", …)`."""
        check_choice("variant", name, tuple(VARIANTS))
        return cls(**{**VARIANTS[name], **fields})

    @property
    def uses_first_pass(self) -> bool:
        """Whether a first pass selects the spans to score; pointless for the context `"cls"`, which costs nothing."""
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
                f"The encoder's hidden size {self.hidden_size} is odd; bidirectional layers need an even hidden size."
            )


__all__ = ["IserConfig", "JointExtractionConfig"]
