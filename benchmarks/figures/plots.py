"""
Figures from the results of `benchmarks.reproduce`, one PNG each; a figure without results is skipped.

    python -m benchmarks.figures.plots runs/reproduce/small
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison.outcomes import Run, f1, micro_f1, spans, triples
from benchmarks.figures.tables import read_results
from modeling_iser import IserConfig
from modeling_iser.figures import draw_attention


THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
LOCAL_CONTEXTS = ("iser", "lc_to_lc_att", "lc_to_lc_bert", "lc_to_cls", "lc_to_gc", "lc_to_gc_bert")
BUCKETS = {"span width": (1, 2, 3, 4, 6, 11), "sentence length": (1, 15, 25, 35, 50)}
"""Lower bounds; the last bucket is open."""


def bucket(value: int, bounds: Sequence[int]) -> int:
    """Index of the bucket of a value."""
    return max(index for index, bound in enumerate(bounds) if value >= bound)


def scores_by_bucket(references: Sequence[Run], predictions: Sequence[Run], threshold: float) -> dict[str, list[float]]:
    """Entity F1 by span width, and entity and relation F1 by sentence length in words."""
    widths: list[list[tuple[set[Any], set[Any]]]] = [[] for _ in BUCKETS["span width"]]
    lengths: dict[str, list[list[tuple[set[Any], set[Any]]]]] = {
        task: [[] for _ in BUCKETS["sentence length"]] for task in ("entities", "relations")
    }
    for reference, prediction in zip(references, predictions, strict=True):
        gold, found = spans(reference), spans(prediction)
        for index in range(len(widths)):
            at = [{s for s in side if bucket(s[1] - s[0], BUCKETS["span width"]) == index} for side in (gold, found)]
            widths[index].append((at[0], at[1]))
        index = bucket(max(1, reference["words"]), BUCKETS["sentence length"])
        lengths["entities"][index].append((gold, found))
        lengths["relations"][index].append((triples(reference), triples(prediction, threshold)))
    return {
        "entities by span width": [micro_f1(pairs) for pairs in widths],
        "entities by sentence length": [micro_f1(pairs) for pairs in lengths["entities"]],
        "relations by sentence length": [micro_f1(pairs) for pairs in lengths["relations"]],
    }


def _labels(found: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], set[str]]:
    """Labels by place: the span of an entity, or the spans of a relation's head and tail, without entity types."""
    labels: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for *place, label in found:
        labels[tuple(part[:2] if isinstance(part, tuple) else part for part in place)].add(label)
    return labels


def confusion(
    references: Sequence[Run], predictions: Sequence[Run], threshold: float
) -> dict[str, tuple[list[str], list[list[int]]]]:
    """
    Confusion matrices of entities (same span) and relations (same head and tail span): labels, and counts with gold
    labels in rows. The column "none" counts what was missed, the row "none" what is spurious.
    """
    counts: dict[str, dict[tuple[str, str], int]] = {"entities": defaultdict(int), "relations": defaultdict(int)}
    for reference, prediction in zip(references, predictions, strict=True):
        for task, gold, found in (
            ("entities", _labels(spans(reference)), _labels(spans(prediction))),
            ("relations", _labels(triples(reference)), _labels(triples(prediction, threshold))),
        ):
            for place in gold.keys() | found.keys():
                for label in gold[place] & found[place]:
                    counts[task][label, label] += 1
                missed, invented = sorted(gold[place] - found[place]), sorted(found[place] - gold[place])
                for index in range(max(len(missed), len(invented))):
                    row = missed[index] if index < len(missed) else "none"
                    column = invented[index] if index < len(invented) else "none"
                    counts[task][row, column] += 1
    matrices = {}
    for task, cells in counts.items():
        names = [*sorted({label for pair in cells for label in pair} - {"none"}), "none"]
        matrices[task] = (names, [[cells.get((row, column), 0) for column in names] for row in names])
    return matrices


def draw_all(directory: Path) -> list[Path]:
    """
    Draw what the results in a directory of `benchmarks.reproduce` allow.

    Returns:
        The files written.

    Raises:
        ImportError: without matplotlib (the extra `figures`).
    """
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in read_results(directory):
        groups[run["dataset"], run["encoder"]].append(run)
    written = []
    for (dataset, encoder), runs in sorted(groups.items()):
        # The results in this repository come without their documents.
        with_documents = [run for run in runs if (run["directory"] / "documents.json").exists()]
        for name, draw in (FIGURES_OF_RESULTS | FIGURES_OF_DOCUMENTS).items():
            path = directory / f"{dataset}-{encoder}-{name}.png"
            of = with_documents if name in FIGURES_OF_DOCUMENTS else runs
            if of and draw(of, path, f"{dataset}, {encoder}"):
                written.append(path)
    return written


def _figure(columns: int = 1, size: tuple[float, float] = (6.4, 4.2)) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def _content(run: Run) -> dict[str, Any]:
    return json.loads((run["directory"] / "documents.json").read_text(encoding="utf-8"))


def _documents(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    content = _content(run)
    return content["references"], content["predictions"]


def _seeds(members: Sequence[Any]) -> str:
    return f"{len(members)} seed{'s' if len(members) > 1 else ''}"


def _setting(run: Run, name: str) -> float:
    return float(run["settings"].get(name, getattr(IserConfig(), name)))


def _by_system(runs: Sequence[Run], names: Iterable[str] | None = None) -> dict[str, list[Run]]:
    systems: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        systems[run["system"]].append(run)
    return {name: systems[name] for name in (names if names is not None else sorted(systems)) if name in systems}


def _mean_f1(runs: Sequence[Run], task: str) -> float:
    return statistics.fmean(f1(run["outcomes"], ("entity", "relation").index(task)) for run in runs)


def dropout_sweep(runs: Sequence[Run], path: Path, title: str) -> bool:
    """F1 of ISER by dropout, from runs with `--set dropout=…`, over the seeds that all of them have."""
    points: dict[float, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        if re.fullmatch(r"iser(?: dropout=[\d.]+)?", run["system"]):
            points[_setting(run, "dropout")][run["seed"]] = run
    seeds = sorted(set.intersection(*map(set, points.values()))) if len(points) > 1 else []
    if not seeds:
        return False
    figure, (axes,) = _figure()
    for task in ("entity", "relation"):
        means = [_mean_f1([points[value][seed] for seed in seeds], task) for value in sorted(points)]
        axes.plot(sorted(points), means, marker="o", label=task)
    axes.set(xlabel="dropout", ylabel="micro F1 (%)", title=f"ISER by dropout, {_seeds(seeds)}: {title}")
    axes.legend()
    figure.savefig(path, dpi=120)
    return True


def threshold_sweep(runs: Sequence[Run], path: Path, title: str) -> bool:
    """Relation F1 of ISER and SpERT by relation threshold."""
    figure, (axes,) = _figure()
    systems = _by_system(runs, ("iser", "spert"))
    for name, members in systems.items():
        sides = [_documents(run) for run in members]
        curve = [
            statistics.fmean(
                micro_f1((triples(r), triples(p, threshold)) for r, p in zip(*side, strict=True)) for side in sides
            )
            for threshold in THRESHOLDS
        ]
        axes.plot(THRESHOLDS, curve, marker=".", label=f"{name}, {_seeds(members)}")
    axes.set(xlabel="relation threshold", ylabel="relation micro F1 (%)", title=title)
    axes.legend()
    if systems:
        figure.savefig(path, dpi=120)
    return bool(systems)


def local_contexts(runs: Sequence[Run], path: Path, title: str) -> bool:
    """Relation F1 with each of the paper's relation contexts: a dot per seed, and the mean."""
    systems = _by_system(runs, LOCAL_CONTEXTS)
    if len(systems) < 2:
        return False
    figure, (axes,) = _figure()
    for place, members in enumerate(systems.values()):
        mean = _mean_f1(members, "relation")
        axes.plot([place] * len(members), [_mean_f1([run], "relation") for run in members], "o", color="C0", alpha=0.6)
        axes.hlines(mean, place - 0.3, place + 0.3, color="C0")
        axes.annotate(f"{mean:.1f}", (place + 0.15, mean), textcoords="offset points", xytext=(0, 4))
    axes.set_xticks(range(len(systems)), list(systems), rotation=30, ha="right", rotation_mode="anchor")
    axes.margins(x=0.1, y=0.15)
    axes.set(ylabel="relation micro F1 (%)", title=f"Relation context: {title}")
    figure.savefig(path, dpi=120)
    return True


def learning_curves(runs: Sequence[Run], path: Path, title: str) -> bool:
    """Training loss by step, averaged over seeds and smoothed over five points."""
    figure, (axes,) = _figure(size=(8.4, 4.2))
    drawn = False
    for index, (name, members) in enumerate(_by_system(runs).items()):
        by_step: dict[int, list[float]] = defaultdict(list)
        for run in members:
            for step, loss in run.get("losses", []):
                by_step[step].append(loss)
        if by_step:
            drawn = True
            steps = sorted(by_step)
            losses = [statistics.fmean(by_step[step]) for step in steps]
            smooth = [statistics.fmean(losses[max(0, i - 2) : i + 3]) for i in range(len(losses))]
            style = "-" if index < 10 else "--"  # The colour cycle has ten colours.
            axes.plot(steps, smooth, label=name, lw=1, color=f"C{index % 10}", ls=style)
    axes.set(xlabel="step", ylabel="training loss", yscale="log", title=title)
    if drawn:
        figure.legend(fontsize="small", loc="outside right upper")
        figure.savefig(path, dpi=120)
    return drawn


def widths_and_lengths(runs: Sequence[Run], path: Path, title: str) -> bool:
    """Scores by span width and by sentence length, means over seeds."""
    systems = _by_system(runs, ("iser", "spert"))
    if not systems:
        return False
    panels = ("entities by span width", "entities by sentence length", "relations by sentence length")
    figure, all_axes = _figure(3, (4.6, 3.8))
    for name, members in systems.items():
        scores = [scores_by_bucket(*_documents(run), _setting(run, "relation_threshold")) for run in members]
        for panel, axes in zip(panels, all_axes, strict=True):
            bounds = BUCKETS[panel.split(" by ")[1]]
            labels = [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(bounds)]
            values = [statistics.fmean(column) for column in zip(*(score[panel] for score in scores), strict=True)]
            axes.plot([*labels, f"{bounds[-1]}+"], values, marker="o", label=f"{name}, {_seeds(members)}")
            axes.set(title=panel, xlabel="words", ylabel="micro F1 (%)")
    all_axes[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    return True


def confusion_matrices(runs: Sequence[Run], path: Path, title: str) -> bool:
    """Confusion matrices of ISER's entities and relations, all seeds together."""
    from modeling_iser.figures import chinese_font

    members = _by_system(runs, ("iser",)).get("iser", [])
    if not members:
        return False
    sides = [_documents(run) for run in members]
    matrices = confusion(
        [d for side in sides for d in side[0]],
        [d for side in sides for d in side[1]],
        _setting(members[0], "relation_threshold"),
    )
    figure, all_axes = _figure(2, (5.6, 5.0))
    font = chinese_font()
    for (task, (labels, counts)), axes in zip(matrices.items(), all_axes, strict=True):
        axes.imshow(counts, cmap="Blues")
        axes.set_xticks(
            range(len(labels)), labels, fontproperties=font, rotation=45, ha="right", rotation_mode="anchor"
        )
        axes.set_yticks(range(len(labels)), labels, fontproperties=font)
        highest = max(map(max, counts))
        for row, line in enumerate(counts):
            for column, count in enumerate(line):
                colour = "white" if 2 * count > highest else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="small")
        axes.set(title=task, xlabel="found", ylabel="gold")
    figure.suptitle(f"ISER, {_seeds(members)} together: {title}")
    figure.savefig(path, dpi=120)
    return True


def attention(runs: Sequence[Run], path: Path, title: str) -> bool:
    """The cross-attention of one sentence in both directions (the paper's Figures 7 and 8), from the first ISER run."""
    for run in sorted((run for run in runs if run["system"] == "iser"), key=lambda run: run["seed"]):
        if found := _content(run).get("attention"):
            draw_attention(found["words"], torch.tensor(found["entity"]), torch.tensor(found["relation"]), path)
            return True
    return False


Draw = Callable[[Sequence[Run], Path, str], bool]
FIGURES_OF_RESULTS: dict[str, Draw] = {
    "dropout": dropout_sweep,
    "local-context": local_contexts,
    "losses": learning_curves,
}
FIGURES_OF_DOCUMENTS: dict[str, Draw] = {
    "threshold": threshold_sweep,
    "widths-and-lengths": widths_and_lengths,
    "confusion": confusion_matrices,
    "attention": attention,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="results of one profile; the figures are written there too")
    for path in draw_all(parser.parse_args().directory):
        print(path)


if __name__ == "__main__":
    main()
