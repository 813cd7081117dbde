"""
8-bit integers: dynamic quantisation of the linear layers, except for those that it would spoil.

A layer's input is rounded to 127 steps between its least and its greatest value. Where a few values are far greater
than the others, as behind the activation of some feed-forward layers, the others are rounded away.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


_STEPS = 127


def spoiled_layers(model: Any, texts: Sequence[Any], most_error: float = 0.25) -> list[str]:
    """
    Names of the linear layers whose inputs lose more than `most_error` by rounding, in relative Euclidean norm.

    Args:
        model: in single precision.
        texts: what to extract from to see the inputs: texts, or sentences of words.
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
    return sorted(name for name, found in errors.items() if sum(found) / len(found) > most_error)


def rounding_error(values: Tensor) -> float:
    """What rounding to 127 steps between the least and the greatest value changes, relative to the values."""
    if not values.numel():
        return 0.0
    values = values.float()
    least, greatest = values.min().clamp(max=0), values.max().clamp(min=0)
    step = ((greatest - least) / _STEPS).clamp(min=1e-12)
    return float((torch.round(values / step) * step - values).norm() / values.norm().clamp(min=1e-12))


def quantize_int8(model: Any) -> Any:
    """
    A copy of the model with its linear layers in 8-bit integers, on the CPU; those of the configuration's
    `float_layers` stay in single precision.

    Raises:
        ValueError: for a name in `float_layers` that is none of a linear layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if unknown := sorted(set(model.config.float_layers) - set(linear)):
        raise ValueError(f"float_layers: the model has no linear layer {unknown[0]}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao moves to a package of its own
        # The weights of every output channel have a scale of their own.
        scheme = torch.ao.quantization.per_channel_dynamic_qconfig
        chosen = {name: scheme for name in linear if name not in model.config.float_layers}
        quantized: Any = torch.ao.quantization.quantize_dynamic(model, chosen, dtype=torch.qint8)
    if model._tokenizer is not None:
        quantized.tokenizer = model.tokenizer
    return quantized.eval()


__all__ = ["quantize_int8", "spoiled_layers"]
