"""
Extraction with ONNX Runtime: three graphs compute a checkpoint's scores; all other code is shared with the torch model.

    python -m modeling_iser.onnx_iser CHECKPOINT [--int8]

writes the graphs into the checkpoint's directory; `OnnxExtractor.from_pretrained(CHECKPOINT).extract(texts)` runs them.
Exporting requires the packages onnx and onnxruntime (the extra `onnx`), extraction only onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from .extraction_iser import SpanExtractor
from .first_pass_iser import passing
from .layers_iser import WordStates
from .modeling_iser import IserForJointExtraction
from .spans_iser import Spans, enumerate_spans, spans_of_grid


DIRECTORY = "onnx"
"""Subdirectory of a checkpoint with the graphs."""
_INT8 = "int8"
# Bounds the memory of pooling, which gathers the words of every span in a graph.
_MAX_SPANS_PER_RUN = 512
_OPSET = 18


class _GatheredWordStates(WordStates):
    """Word states that are pooled by gathering the words of each range: the table of `RangeMax` cannot be exported."""

    def max_pool(self, source: str, ranges: Spans) -> Tensor:
        return gathered_maximum(getattr(self, source), ranges)


def gathered_maximum(sequences: Tensor, ranges: Spans) -> Tensor:
    """Maximum over each range of positions, shape `(num_ranges, hidden_size)`; zeros for an empty range."""
    width = ranges.width.clamp(min=0)
    widest: Any = width.max().clamp(min=1)  # a tensor: a Python number would become a constant of the graph
    offsets = torch.arange(widest, device=width.device)
    positions = (ranges.start[:, None] + offsets).clamp(max=sequences.shape[1] - 1)
    values = sequences[ranges.sentence[:, None], positions]
    pooled = values.masked_fill((offsets >= width[:, None])[:, :, None], float("-inf")).amax(dim=1)
    return pooled.masked_fill((width == 0)[:, None], 0.0)


class _Graph(nn.Module):
    """A part of a model whose inputs and outputs are tensors."""

    inputs: ClassVar[dict[str, dict[int, str]]]
    """Names of the inputs, each with its dynamic axes and their names."""
    outputs: ClassVar[dict[str, dict[int, str]]]
    """The same for the outputs."""

    def __init__(self, model: IserForJointExtraction) -> None:
        super().__init__()
        self.model = model


_TOKENS, _WORDS = {0: "batch", 1: "tokens"}, {0: "batch", 1: "words"}
_STATES = {"encoder": _WORDS, "fused": _WORDS, "cls": {0: "batch"}, "num_words": {0: "batch"}}
_SPANS = {f"span_{part}": {0: "spans"} for part in ("sentence", "start", "end")}
_PAIRS = {f"{role}_{part}": {0: "pairs"} for role in ("head", "tail") for part in ("sentence", "start", "end")}


class _Words(_Graph):
    """Encoder, pooling of tokens to words, fusion and first pass."""

    inputs: ClassVar = {
        "input_ids": _TOKENS, "attention_mask": _TOKENS, "word_token_start": _WORDS, "word_token_end": _WORDS,
        "num_words": {0: "batch"},
    }  # fmt: skip
    outputs: ClassVar = {"encoder": _WORDS, "fused": _WORDS, "cls": {0: "batch"}, "first_pass": _WORDS}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        input_ids, attention_mask, start, end, num_words = inputs
        iser = self.model.iser
        tokens = iser.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        sentence = torch.arange(start.shape[0])[:, None].expand_as(start)
        words = Spans(sentence.flatten(), start.flatten(), end.flatten())
        encoder = gathered_maximum(tokens, words).view(start.shape[0], start.shape[1], -1)
        fused, *_ = iser.fusion(encoder, num_words)
        first_pass = self.model.first_pass
        logits = first_pass(fused, num_words) if first_pass is not None else fused[:, :, :0]
        return encoder, fused + 0.0, tokens[:, 0], logits


class _EntityScores(_Graph):
    """Span features, span context and entity classifier."""

    inputs: ClassVar = {**_STATES, **_SPANS}
    outputs: ClassVar = {"entity_logits": {0: "spans"}}

    def forward(self, encoder: Tensor, fused: Tensor, cls: Tensor, num_words: Tensor, *spans: Tensor) -> Tensor:
        states, scored = _GatheredWordStates(encoder, fused, cls, num_words), Spans(*spans)
        return self.model.score_spans(states, scored, self.model.span_features(states, scored))


class _RelationScores(_Graph):
    """Features of heads and tails, relation context and relation classifier."""

    inputs: ClassVar = {**_STATES, **_PAIRS}
    outputs: ClassVar = {"relation_logits": {0: "pairs"}}

    def forward(self, encoder: Tensor, fused: Tensor, cls: Tensor, num_words: Tensor, *ends: Tensor) -> Tensor:
        states = _GatheredWordStates(encoder, fused, cls, num_words)
        count = ends[0].shape[0]
        both = Spans(*(torch.cat([ends[part], ends[part + 3]]) for part in range(3)))
        features = self.model.span_features(states, both)
        head = torch.arange(count)
        return self.model.score_pairs(states, both, features, head, head + count)


_GRAPHS: dict[str, type[_Graph]] = {"words": _Words, "entities": _EntityScores, "relations": _RelationScores}


def _graphs(config: Any) -> list[str]:
    """Names of a model's graphs; a model without relation types has no graph for relations."""
    return [name for name in _GRAPHS if name != "relations" or config.relation_types]


def export_onnx(model: IserForJointExtraction, directory: str | Path, int8: bool = False) -> Path:
    """
    Export a model's graphs into the directory of its checkpoint.

    Args:
        model: the model, which is converted to float32 in place.
        directory: directory of the checkpoint; if it contains none, the model is saved there too.
        int8: export graphs with matrix products in 8-bit integers instead: smaller and, on most processors, faster.

    Returns:
        The directory of the graphs.

    Raises:
        ImportError: if onnx or onnxruntime is not installed.
    """
    _onnxruntime("Exporting")
    model = model.float().eval()
    directory = Path(directory)
    if not (directory / "config.json").exists():
        model.save_pretrained(directory)
    target = directory / DIRECTORY / (_INT8 if int8 else "")
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, inputs in _example_inputs(model).items():
        _export(_GRAPHS[name](model), inputs, temporary / f"{name}.onnx")
        if int8:
            _quantize(temporary / f"{name}.onnx")
    target.mkdir(parents=True, exist_ok=True)
    for path in temporary.iterdir():
        os.replace(path, target / path.name)
    temporary.rmdir()
    return target


def _example_inputs(model: IserForJointExtraction) -> dict[str, tuple[Tensor, ...]]:
    """Inputs to trace each graph with; no axis has size 1 or the size of another axis, so that none is merged."""
    count = model.config.max_span_width + 4
    batch = {
        "input_ids": torch.zeros(2, count + 3, dtype=torch.long),
        "attention_mask": torch.ones(2, count + 3, dtype=torch.long),
        "word_token_start": torch.arange(count).repeat(2, 1),
        "word_token_end": torch.arange(count).repeat(2, 1) + 2,
        "num_words": torch.tensor([count, count - 1]),
    }
    with torch.no_grad():
        words = tuple(batch[name] for name in _Words.inputs)
        encoder, fused, cls, _ = _Words(model)(*words)
    states = (encoder, fused, cls, batch["num_words"])
    first = (torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
    second = (torch.tensor([0, 1, 1]), torch.tensor([3, 4, 0]), torch.tensor([4, 5, 1]))
    examples = {"words": words, "entities": (*states, *first), "relations": (*states, *first, *second)}
    return {name: examples[name] for name in _graphs(model.config)}


def _export(graph: _Graph, inputs: tuple[Tensor, ...], path: Path) -> None:
    # The tracing exporter supports LSTM and GRU on packed sequences; the one based on torch.export does not.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            inputs,
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={**graph.inputs, **graph.outputs},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantize(path: Path) -> None:
    tools = importlib.import_module("onnxruntime.quantization")
    tools.quantize_dynamic(
        path,
        path,
        weight_type=tools.QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def _onnxruntime(what: str) -> Any:
    # By name: an import statement would make the package a requirement of every checkpoint with this code.
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(f"{what} with ONNX needs onnxruntime: pip install 'iser[onnx]'.") from error


class OnnxExtractor(SpanExtractor):
    """
    Extracts with ONNX Runtime on the CPU.

    Args:
        directory: directory of a checkpoint with graphs from `export_onnx`.
        int8: run the graphs with 8-bit integers.
        threads: number of threads; default: that of torch.

    Raises:
        ImportError: if onnxruntime is not installed.
        FileNotFoundError: if a graph is missing.
    """

    device = torch.device("cpu")

    def __init__(self, directory: str | Path, int8: bool = False, threads: int | None = None) -> None:
        runtime = _onnxruntime("Extraction")
        self.name_or_path = str(directory)
        self.config = AutoConfig.from_pretrained(directory)
        graphs = Path(directory, DIRECTORY, _INT8 if int8 else "")
        if missing := [name for name in _graphs(self.config) if not (graphs / f"{name}.onnx").is_file()]:
            raise FileNotFoundError(
                f"{graphs} has no {', '.join(f'{name}.onnx' for name in missing)}. Export the graphs with "
                f"`python -m modeling_iser.onnx_iser {directory}{' --int8' if int8 else ''}`."
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self._sessions = {
            name: runtime.InferenceSession(str(graphs / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
            for name in _graphs(self.config)
        }

    @classmethod
    def from_pretrained(cls, directory: str | Path, **arguments: Any) -> OnnxExtractor:
        """The extractor for the checkpoint in a directory."""
        return cls(directory, **arguments)

    def _run(self, name: str, *inputs: Tensor) -> list[Tensor]:
        session = self._sessions[name]
        # A graph lacks the inputs that its variant does not use.
        known = {item.name for item in session.get_inputs()}
        feed = {key: tensor.numpy() for key, tensor in zip(_GRAPHS[name].inputs, inputs, strict=True) if key in known}
        return [torch.from_numpy(array) for array in session.run(None, feed)]

    def read_batch(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        encoder, fused, cls, logits = self._run("words", *(batch[name] for name in _Words.inputs))
        return {"states": (encoder, fused, cls, batch["num_words"]), "first_pass": logits}

    def promising_spans(self, states: dict[str, Any], exact: bool) -> Spans:
        if exact or not self.config.uses_first_pass:
            return enumerate_spans(states["states"][-1], self.config.max_span_width)
        return spans_of_grid(passing(states["first_pass"], self.config.first_pass_threshold))

    def span_features(self, states: dict[str, Any], spans: Spans) -> None:
        return None  # Each graph pools by itself.

    def score_spans(self, states: dict[str, Any], spans: Spans, features: None) -> Tensor:
        return self._in_chunks("entities", states, len(self.config.entity_types) + 1, spans)

    def score_pairs(self, states: dict[str, Any], spans: Spans, features: None, head: Tensor, tail: Tensor) -> Tensor:
        return self._in_chunks("relations", states, len(self.config.relation_types), spans[head], spans[tail])

    def _in_chunks(self, name: str, states: dict[str, Any], num_classes: int, *spans: Spans) -> Tensor:
        """Logits of spans, or of pairs of heads and tails, in chunks."""
        if len(spans[0]) == 0 or num_classes == 0:
            return torch.zeros(len(spans[0]), num_classes)
        logits = []
        for rows in torch.arange(len(spans[0])).split(_MAX_SPANS_PER_RUN):
            parts = [tensor for role in spans for tensor in (role.sentence[rows], role.start[rows], role.end[rows])]
            logits += self._run(name, *states["states"], *parts)
        return torch.cat(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="directory of the checkpoint")
    parser.add_argument("--output", type=Path, help="directory to write to; default: the checkpoint's")
    parser.add_argument("--int8", action="store_true", help="export graphs with matrix products in 8-bit integers")
    options = parser.parse_args()
    model = IserForJointExtraction.from_pretrained(options.checkpoint, dtype=torch.float32)
    target = export_onnx(model, options.output or options.checkpoint, options.int8)
    size = sum(path.stat().st_size for path in target.glob("*.onnx")) / 2**20
    print(f"{target}: {size:.1f} MB")


if __name__ == "__main__":
    main()
