"""Quantisation to 8-bit integers, and other libraries that replace the model's modules."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import pipeline

from modeling_iser import VARIANTS, IserForJointExtraction
from modeling_iser.command_line import main
from modeling_iser.quantization_iser import quantize_int8, rounding_error, spoiled_layers

from .conftest import DOCUMENTS


MakeModel = Callable[..., IserForJointExtraction]
SENTENCES = [document["tokens"] for document in DOCUMENTS]


@pytest.mark.parametrize("kinds", [{nn.Linear}, {nn.Linear, nn.LSTM, nn.GRU}], ids=["linear", "recurrent"])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_quantized_model_extracts(make_model: MakeModel, variant: str, kinds: set[type[nn.Module]]) -> None:
    model = make_model(variant, first_pass_threshold=0.01, relation_threshold=0.0)
    expected = model.extract(SENTENCES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        quantized = torch.ao.quantization.quantize_dynamic(model, kinds, dtype=torch.qint8)
    replaced = [module for module in quantized.modules() if "quantized" in type(module).__module__]
    assert len(replaced) > 5
    found = quantized.extract(SENTENCES)
    assert quantized.extract(SENTENCES, exact=True)
    assert [document["tokens"] for document in found] == [document["tokens"] for document in expected]
    assert model.extract(SENTENCES) == expected, "the original model must not change"


class Wrapped(nn.Module):
    """Replaces a module without exposing its weights."""

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


def test_rounding_error_equals_explicit_rounding() -> None:
    values = torch.tensor([0.15] * 10_000 + [40.0])  # An outlier rounds all other values to zero.
    step = 40.0 / 127
    rounded = [round(value / step) * step for value in values.tolist()]
    lost = sum((a - b) ** 2 for a, b in zip(rounded, values.tolist(), strict=True)) ** 0.5
    assert rounding_error(values) == pytest.approx(lost / float(values.norm()), rel=1e-3)
    assert rounding_error(values) > 0.3
    assert rounding_error(torch.linspace(-1, 1, 1000)) < 0.01
    assert rounding_error(torch.zeros(3)) == 0.0
    assert rounding_error(torch.zeros(0, 3)) == 0.0


def test_sensitive_layers_stay_in_single_precision(make_model: MakeModel) -> None:
    model = make_model(first_pass_threshold=0.01, relation_threshold=0.0)
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert set(spoiled_layers(model, SENTENCES, max_error=0.0)) <= linear
    assert spoiled_layers(model, SENTENCES, max_error=1.0) == []
    kept = "iser.encoder.encoder.layer.0.output.dense"
    assert kept in spoiled_layers(model, SENTENCES, max_error=0.0)
    layer = model.get_submodule(kept)
    assert type(quantize_int8(model).get_submodule(kept)) is not nn.Linear
    model.config.float_layers = [kept]
    quantized = quantize_int8(model)
    assert type(quantized.get_submodule(kept)) is nn.Linear
    assert [d["tokens"] for d in quantized.extract(SENTENCES)] == SENTENCES
    assert model.get_submodule(kept) is layer, "the original model must not change"

    model.config.float_layers = ["no.such.layer"]
    with pytest.raises(ValueError, match=r"no linear layer no\.such\.layer"):
        quantize_int8(model)


def test_pipeline_in_8_bit_integers(tmp_path: Path) -> None:
    extractor = pipeline("ddi-extraction", backend="int8")
    (relation,) = extractor("与多巴胺合用,本品的利尿作用加强", drug="布美他尼片")["relations"]
    assert (relation["head"]["text"], relation["type"], relation["tail"]["text"]) == ("多巴胺", "协同", "布美他尼片")
    (tmp_path / "text.txt").write_text("与多巴胺合用,本品的利尿作用加强\n", encoding="utf-8")
    arguments = [str(tmp_path / "text.txt"), "--drug", "布美他尼片", "--backend", "int8", "--output"]
    assert main([*arguments, str(tmp_path / "found.jsonl"), "--quiet"]) == 0
    assert "协同" in (tmp_path / "found.jsonl").read_text(encoding="utf-8")
