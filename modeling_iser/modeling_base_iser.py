"""The base class of all systems as a `PreTrainedModel`: creating, loading and saving, and the encoding of words."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers import initialization as init

from .card_iser import model_card
from .collation_iser import TrainingCollator, encode_sentences
from .configuration_iser import JointExtractionConfig
from .extraction_iser import Extractor
from .spans_iser import RangeMax, Spans


logger = logging.getLogger(__name__)


class JointExtractionModel(Extractor, PreTrainedModel):
    """
    Base class of all systems: a text encoder, with layers on top that predict entities and relations.

    A system defines a configuration derived from [`JointExtractionConfig`]; a `collator_class` that makes training
    batches with its labels; a `forward` whose output contains `loss`, and the parts of the loss under names that end in
    `_loss`; and `extract_batch`, which decodes.

    Attributes:
        collator_class: makes training batches of prepared sentences.
        learning_rate_factors: prefix of parameter names → factor of their learning rate.
        threshold_filters: whether lowering `relation_threshold` only adds relations.
        takes_entities: whether `extract` accepts given entities.
    """

    config: JointExtractionConfig
    config_class: Any = JointExtractionConfig
    collator_class: ClassVar[type[TrainingCollator]]
    learning_rate_factors: ClassVar[Mapping[str, float]] = {}
    threshold_filters: ClassVar[bool] = True
    takes_entities: ClassVar[bool] = False
    encoder: Any
    _supports_sdpa = True
    _supports_flash_attn = True

    @property
    def text_encoder(self) -> Any:
        """The pretrained encoder."""
        return self.encoder

    def replace_text_encoder(self, encoder: Any) -> None:
        """Replace the text encoder. (No property setter: `Module` would register the value as a new submodule.)"""
        self.encoder = encoder

    def get_input_embeddings(self) -> nn.Module:
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_encoder.set_input_embeddings(value)

    def _init_weights(self, module: nn.Module) -> None:
        init_weights(module, self.config.initializer_range)

    # ---------------------------------------------------------------- starting, loading and saving

    @classmethod
    def from_encoder(
        cls,
        encoder: str | Path,
        entity_types: Sequence[str],
        relation_types: Sequence[str],
        pretrained: bool = True,
        **config_fields: Any,
    ) -> Self:
        """
        Create a model on a pretrained encoder, ready for training.

        Args:
            encoder: name on the Hub or directory of any `AutoModel` encoder with its tokenizer.
            entity_types: names of the entity types.
            relation_types: names of the relation types.
            pretrained: `False`: random weights; only the encoder's configuration and tokenizer are loaded.
            config_fields: additional fields of the system's configuration.
        """
        encoder_config = AutoConfig.from_pretrained(encoder)
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        if Path(encoder).is_dir():  # A checkpoint must not contain paths of the machine it was made on.
            encoder_config._name_or_path = ""
        config_fields.setdefault("max_tokens", None)
        config_class: Any = cls.config_class
        config = config_class(
            encoder_config=encoder_config,
            entity_types=entity_types,
            relation_types=relation_types,
            **config_fields,
        )
        model = cls(config)
        if pretrained:
            model.replace_text_encoder(
                AutoModel.from_pretrained(encoder, dtype=torch.float32, **without_pooler(encoder_config))
            )
        if config.max_tokens is None:
            config.max_tokens = min(_position_limit(model.text_encoder), tokenizer.model_max_length)
        model.tokenizer = tokenizer
        return model

    def save_pretrained(self, save_directory: str | PathLike[Any], *args: Any, **kwargs: Any) -> None:
        """
        Save a complete checkpoint: configuration, weights (safetensors), tokenizer, code, pipelines, model card, and
        the handler for Inference Endpoints.

        An existing model card, in the directory or in the checkpoint that the model was loaded from, is kept.
        """
        # transformers saves the code of every imported module, so the pipeline has to be imported.
        from .pipeline_iser import JointExtractionPipeline  # noqa: F401

        super().save_pretrained(save_directory, *args, **kwargs)
        try:
            self.tokenizer.save_pretrained(save_directory)
        except ValueError as error:
            logger.warning("The checkpoint %s is saved without a tokenizer. %s", save_directory, error)
        # Code loaded from a checkpoint lies beside the modules that the model imports, without the handler.
        places = [Path(__file__).parent, *([Path(self.name_or_path)] if self.name_or_path else [])]
        handlers = (place / "handler.py" for place in places)
        if handler := next((each for each in handlers if each.is_file()), None):
            Path(save_directory, handler.name).write_bytes(handler.read_bytes())
        card = Path(save_directory) / "README.md"
        if not card.exists():
            origin = Path(self.name_or_path, "README.md") if self.name_or_path else None
            text = origin.read_text(encoding="utf-8") if origin and origin.is_file() else model_card(self.config)
            card.write_text(text, encoding="utf-8")

    # --------------------------------------------------------------------------------- computation

    def encode_words(
        self, input_ids: Tensor, attention_mask: Tensor, word_token_start: Tensor, word_token_end: Tensor
    ) -> Tensor:
        """The encoder's output for tensors from `encode_sentences`, pooled to words as in [`pool_words`]."""
        tokens = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool_words(tokens, word_token_start, word_token_end)

    def tensors(self, sentences: Sequence[Sequence[Sequence[int]]]) -> dict[str, Tensor]:
        """The tensors of `encode_sentences` on the model's device."""
        batch = encode_sentences(sentences, self.tokenizer)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Parameters that are not trained."""
        return []

    def learn_from(self, teachers: Mapping[str, JointExtractionModel]) -> None:
        """
        Set the trained teachers, by name, that the model learns from.

        Raises:
            NotImplementedError: if the system has no teachers.
        """
        raise NotImplementedError(f"{type(self).__name__} has no teachers.")

    def collator(self, **sampling: Any) -> TrainingCollator:
        """The collator that makes training batches for this model; see [`TrainingCollator`] for the arguments."""
        return self.collator_class(self.tokenizer, self.config, **sampling)

    def extract(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """See [`Extractor.extract`]. Runs in evaluation mode, and restores the current mode afterwards."""
        was_training = self.training
        self.eval()
        try:
            return super().extract(*args, **kwargs)
        finally:
            self.train(was_training)


def init_weights(module: nn.Module, std: float) -> None:
    """Initialise the weights of a new layer."""
    if isinstance(module, nn.Linear):
        init.normal_(module.weight, std=std)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=std)
    elif isinstance(module, (nn.LSTM, nn.GRU)):
        bound = module.hidden_size**-0.5
        for parameter in module.parameters():
            init.uniform_(parameter, -bound, bound)


def pool_words(tokens: Tensor, word_token_start: Tensor, word_token_end: Tensor) -> Tensor:
    """
    Represent each word as the maximum over its tokens.

    Args:
        tokens: the encoder's output, shape `(batch_size, num_tokens, hidden_size)`.
        word_token_start: first token of each word, shape `(batch_size, num_words)`.
        word_token_end: the token after the last token of each word, same shape; padding words have no tokens.

    Returns:
        Shape `(batch_size, num_words, hidden_size)`, zeros for padding.
    """
    batch_size, longest = word_token_start.shape
    sentence = torch.arange(batch_size, device=tokens.device).repeat_interleave(longest)
    words = Spans(sentence, word_token_start.flatten(), word_token_end.flatten())
    return RangeMax(tokens)(words).view(batch_size, longest, -1)


def new_encoder(config: JointExtractionConfig) -> Any:
    """The text encoder of a configuration, with random weights."""
    return AutoModel.from_config(config.encoder_config, **without_pooler(config.encoder_config))


def without_pooler(encoder_config: Any) -> dict[str, bool]:
    """The argument that omits an encoder's unused pooler, if its class has such an argument."""
    encoder_class: Any = AutoModel._model_mapping[type(encoder_config)]
    knows = "add_pooling_layer" in inspect.signature(encoder_class).parameters
    return {"add_pooling_layer": False} if knows else {}


def _position_limit(encoder: nn.Module) -> int:
    """Maximum number of tokens of an encoder input. Some encoders (RoBERTa) number positions from `padding_idx + 1`."""
    limit = getattr(encoder.config, "max_position_embeddings", None) or 512
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - module.padding_idx - 1
    return limit


__all__ = ["JointExtractionModel"]
