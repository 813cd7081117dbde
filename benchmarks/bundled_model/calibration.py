"""
How well a checkpoint's scores are calibrated: expected calibration error and reliability on each file.

    python -m benchmarks.bundled_model.calibration CHECKPOINT datasets_scripts/ch_ddi/data/test.jsonl \
        benchmarks/bundled_model/external_leaflets.jsonl [--figure reliability.png] [--uncalibrated]

The expected calibration error is the mean absolute difference between the mean score and the share of correct findings
over ten bins of equal width, weighted by their findings. Relations below the checkpoint's threshold do not count. With
few findings the error is never 0: "of perfect scores" is what a model would have whose scores are exactly the
probabilities of being right.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets_scripts import load_ch_ddi
from modeling_iser import IserForJointExtraction
from modeling_iser.calibration_iser import expected_calibration_error, reliability, scored_findings


Findings = tuple[list[float], list[bool]]
HIGH = 0.9


def table(findings: Mapping[str, Mapping[str, Findings]]) -> str:
    """A row for each file and kind of finding: number, mean score, share that is correct, and calibration error."""
    lines = [
        "| sentences | findings | number | mean score | right | expected calibration error | of perfect scores "
        f"| of score ≥ {HIGH}: right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, by_kind in findings.items():
        for kind, (scores, right) in by_kind.items():
            if not scores:
                lines.append(f"| {name} | {kind} | 0 | – | – | – | – | – |")
                continue
            sure = [is_right for score, is_right in zip(scores, right, strict=True) if score >= HIGH]
            high = f"{100 * sum(sure) / len(sure):.1f} % of {len(sure)}" if sure else "–"
            mean, share = sum(scores) / len(scores), sum(right) / len(right)
            error, chance = expected_calibration_error(scores, right), chance_error(scores)
            lines.append(
                f"| {name} | {kind} | {len(scores)} | {mean:.3f} | {100 * share:.1f} % | {error:.3f} | {chance:.3f} "
                f"| {high} |"
            )
    return "\n".join(lines)


def chance_error(scores: Sequence[float], draws: int = 200) -> float:
    """Mean expected calibration error if every finding is right with the probability that its score says."""
    generator = random.Random(0)
    errors = [
        expected_calibration_error(scores, [generator.random() < score for score in scores]) for _ in range(draws)
    ]
    return sum(errors) / draws


def draw(findings: Mapping[str, Mapping[str, Findings]], path: Path) -> None:
    """Reliability diagrams of entities (left) and relations (right): share of correct findings by mean score."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, kind in zip(figure.subplots(1, 2), ("entity", "relation"), strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
        for name, by_kind in findings.items():
            bins = reliability(*by_kind[kind])
            axes.plot([score for score, *_ in bins], [share for _, share, _ in bins], marker="o", label=name)
        title = "entities" if kind == "entity" else "relations"
        axes.set(title=title, xlabel="mean score", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("files", nargs="+", type=Path, help="sentences in CH-DDI's format")
    parser.add_argument("--figure", type=Path, help="draw reliability diagrams to this file")
    parser.add_argument("--uncalibrated", action="store_true", help="ignore the checkpoint's calibration")
    arguments = parser.parse_args()
    model = IserForJointExtraction.from_pretrained(arguments.checkpoint).float()
    if arguments.uncalibrated:
        model.config.calibration = None
    findings = {}
    for file in arguments.files:
        documents = load_ch_ddi(data_files={"file": file})["file"].to_list()
        predictions = model.extract([document["tokens"] for document in documents])
        findings[file.stem] = scored_findings(predictions, documents)
    print(table(findings))
    if arguments.figure:
        draw(findings, arguments.figure)


if __name__ == "__main__":
    main()
