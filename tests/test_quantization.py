"""Modules that a library replaces by its own: the model must go on working."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from modeling_iser import VARIANTS, IserForJointExtraction

from .conftest import DOCUMENTS


MakeModel = Callable[..., IserForJointExtraction]
SENTENCES = [document["tokens"] for document in DOCUMENTS]


@pytest.mark.parametrize("kinds", [{nn.Linear}, {nn.Linear, nn.LSTM, nn.GRU}], ids=["linear", "recurrent"])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_model_in_8_bit_integers_extracts(make_model: MakeModel, variant: str, kinds: set[type[nn.Module]]) -> None:
    model = make_model(variant, first_pass_threshold=0.01, relation_threshold=0.0)
    expected = model.extract(SENTENCES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao moves to a package of its own
        quantized = torch.ao.quantization.quantize_dynamic(model, kinds, dtype=torch.qint8)
    replaced = [module for module in quantized.modules() if "quantized" in type(module).__module__]
    assert len(replaced) > 5
    found = quantized.extract(SENTENCES)
    assert quantized.extract(SENTENCES, exact=True)
    assert [document["tokens"] for document in found] == [document["tokens"] for document in expected]
    assert model.extract(SENTENCES) == expected, "the model itself stays what it was"


class Wrapped(nn.Module):
    """A module in another's place that shows nothing of its weights."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module
        self.hidden_size = getattr(module, "hidden_size", None)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(*inputs)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_replaced_modules_are_called(make_model: MakeModel, variant: str) -> None:
    model = make_model(variant, first_pass_threshold=0.01, relation_threshold=0.0).double()
    expected = model.extract(SENTENCES)
    kinds = (nn.Linear, nn.GRU, nn.LSTM)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kinds):
                setattr(parent, name, Wrapped(child))
    for document, other in zip(model.extract(SENTENCES), expected, strict=True):
        assert document.keys() == other.keys()
        for key in ("entities", "relations"):
            for item, same in zip(document[key], other[key], strict=True):
                assert item == {**same, "score": pytest.approx(same["score"], abs=1e-9)}
