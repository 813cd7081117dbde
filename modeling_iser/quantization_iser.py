"""
Dynamic quantisation of linear layers to 8-bit integers, except for layers that lose too much accuracy.

A layer's input is rounded to 127 steps between its minimum and its maximum. If a few values are far larger than the
others, as after the activation of some feed-forward layers, the others are rounded to zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


_STEPS = 127


def spoiled_layers(model: Any, texts: Sequence[Any], max_error: float = 0.12) -> list[str]:
    """
    Names of the linear layers whose inputs have a mean [`rounding_error`] of more than `max_error`.

    Args:
        model: a model in float32.
        texts: texts, or lists of words, from which the model extracts to observe the inputs.
        max_error: maximum relative error of an input.
    """
    errors: dict[str, list[float]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            errors.setdefault(name, []).append(rounding_error(inputs[0]))

        return hook

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_pre_hook(watch(name)) for name, module in linear.items()]
    try:
        model.extract(texts)
    finally:
        for handle in hooks:
            handle.remove()
    return sorted(name for name, found in errors.items() if sum(found) / len(found) > max_error)


def rounding_error(values: Tensor) -> float:
    """Relative error, in Euclidean norm, of rounding values to 127 steps between their minimum and maximum."""
    if not values.numel():
        return 0.0
    values = values.float()
    least, greatest = values.min().clamp(max=0), values.max().clamp(min=0)
    step = ((greatest - least) / _STEPS).clamp(min=1e-12)
    return float((torch.round(values / step) * step - values).norm() / values.norm().clamp(min=1e-12))


def quantize_int8(model: Any) -> Any:
    """
    A copy of the model for the CPU whose linear layers use 8-bit integers; layers in the configuration's
    `float_layers` stay in float32.

    Raises:
        ValueError: if a name in `float_layers` is not that of a linear layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if unknown := sorted(set(model.config.float_layers) - set(linear)):
        raise ValueError(f"float_layers: the model has no linear layer {unknown[0]}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated: it moves to a separate package
        # Each output channel's weights have their own scale.
        scheme = torch.ao.quantization.per_channel_dynamic_qconfig
        chosen = {name: scheme for name in linear if name not in model.config.float_layers}
        quantized: Any = torch.ao.quantization.quantize_dynamic(model, chosen, dtype=torch.qint8)
    if model._tokenizer is not None:
        quantized.tokenizer = model.tokenizer
    return quantized.eval()


__all__ = ["quantize_int8", "spoiled_layers"]
