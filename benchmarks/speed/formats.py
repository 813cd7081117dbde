"""
Speed, size and scores of one checkpoint in float32, bfloat16, 8-bit integers and ONNX.

    python -m benchmarks.speed.formats [CHECKPOINT] [--batch_sizes 8 32]

Measured on the test split of CH-DDI-Open. The formats take turns, so that other load on the machine slows all alike.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.comparison.outcomes import micro_f1, spans, triples
from benchmarks.speed.gpu import seconds
from datasets_scripts import load_ch_ddi
from modeling_iser import DEFAULT_MODEL, IserForJointExtraction
from modeling_iser.onnx_iser import OnnxExtractor, export_onnx
from modeling_iser.quantization_iser import quantize_int8


Extract = Callable[..., list[dict[str, Any]]]


def load(checkpoint: str) -> IserForJointExtraction:
    return IserForJointExtraction.from_pretrained(checkpoint, dtype=torch.float32).eval()


def in_bfloat16(model: IserForJointExtraction) -> Extract:
    def extract(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        with torch.autocast("cpu", torch.bfloat16):
            return model.extract(*arguments, **options)

    return extract


def megabytes(model: nn.Module) -> float:
    """Size of the model's weights as a file."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue()) / 2**20


def formats(checkpoint: str, directory: Path) -> dict[str, tuple[Extract, float]]:
    """For each format, its extraction function and its size in megabytes."""
    model = load(checkpoint)
    int8 = quantize_int8(load(checkpoint))
    found: dict[str, tuple[Extract, float]] = {
        "float32": (model.extract, megabytes(model)),
        "bfloat16 (autocast)": (in_bfloat16(model), megabytes(model)),
        "int8": (int8.extract, megabytes(int8)),
    }
    for name, quantized in (("ONNX", False), ("ONNX int8", True)):
        graphs = export_onnx(load(checkpoint), directory, int8=quantized)
        size = sum(path.stat().st_size for path in graphs.glob("*.onnx")) / 2**20
        found[name] = (OnnxExtractor(directory, int8=quantized).extract, size)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default=str(DEFAULT_MODEL))
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--documents", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    documents = load_ch_ddi()["test"].to_list()[: options.documents]
    sentences = [document["tokens"] for document in documents]
    with tempfile.TemporaryDirectory() as directory:
        found = formats(options.checkpoint, Path(directory))
        times = {
            size: seconds(
                {
                    name: lambda extract=extract, size=size: extract(sentences, batch_size=size)  # type: ignore[misc]
                    for name, (extract, _) in found.items()
                },
                "cpu",
                False,
                options.repeats,
            )
            for size in options.batch_sizes
        }
        print(f"{options.checkpoint}, {len(sentences)} sentences, {torch.get_num_threads()} CPU threads, "
              f"torch {torch.__version__}\n")  # fmt: skip
        speeds = " | ".join(f"sentences/s, batch {size}" for size in times)
        print(f"| format | megabytes | {speeds} | : float32 | entity F1 | relation F1 |")
        print(f"|{'---|' * (len(times) + 5)}")
        for name, (extract, size) in found.items():
            extracted = extract(sentences, batch_size=options.batch_sizes[0])
            scores = [
                micro_f1((parts(gold), parts(mine)) for gold, mine in zip(documents, extracted, strict=True))
                for parts in (spans, triples)
            ]
            cells = [f"{len(sentences) / of_size[name]:.1f}" for of_size in times.values()]
            ratios = ", ".join(f"{of_size['float32'] / of_size[name]:.2f}" for of_size in times.values())
            print(f"| {name} | {size:.0f} | {' | '.join(cells)} | {ratios} | {scores[0]:.2f} | {scores[1]:.2f} |")


if __name__ == "__main__":
    main()
