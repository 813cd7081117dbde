"""
Markdown tables from the results of `benchmarks.reproduce`, next to the paper's figures.

    python -m benchmarks.figures.tables benchmarks/results/short
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from baselines import SYSTEMS as ALL_SYSTEMS
from benchmarks.comparison.outcomes import Run, f1, paired_bootstrap, precision, recall
from benchmarks.comparison.paper import FOOTNOTES, PAPER


SYSTEMS = ("spert", *(name for name in ALL_SYSTEMS if name != "spert"))
DECODINGS = {"outcomes": "", "flat_outcomes": "no overlaps: "}
"""Outcomes with overlapping entities, as in the paper, and with only the most probable one of those that overlap."""


def read_results(directory: Path) -> list[Run]:
    """All results in a profile's directory, each with the `directory` of its run."""
    files = sorted(directory.glob("*/*/*/*/result.json"))
    return [{**json.loads(file.read_text(encoding="utf-8")), "directory": file.parent} for file in files]


def tables(results: Sequence[Run]) -> str:
    """
    For each data set and encoder, a table of F1 with significance and one of precision, recall and macro F1; then the
    footnotes. The number of seeds is in parentheses.
    """
    parts = []
    for dataset, encoder in sorted({(r["dataset"], r["encoder"]) for r in results}):
        systems: dict[str, list[Run]] = {}
        for run in sorted(results, key=_place):
            if (run["dataset"], run["encoder"]) == (dataset, encoder):
                systems.setdefault(run["system"], []).append(run)
        parts += [f"### {dataset}, {encoder}", f1_table(systems, dataset), details_table(systems, dataset)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in FOOTNOTES)]) + "\n"


def _place(run: Run) -> tuple[int, str, int]:
    return SYSTEMS.index(run["system"].split()[0]), run["system"], run["seed"]


def f1_table(systems: dict[str, list[Run]], dataset: str) -> str:
    """
    Mean and standard deviation of micro F1 over seeds for both decodings, the significance of ISER's lead, and the mean
    time of the uninterrupted runs.
    """
    head = ["system"]
    for name in DECODINGS.values():
        head += [f"{name}entity F1", "relation F1", "ISER better: p entity / relation"]
        head += ["paper: entity / relation"] if not name else []
    rows = []
    for system, runs in systems.items():
        cells = [system]
        finds = [_finds(system, task) for task in ("entity", "relation")]
        for kind in DECODINGS:
            cells += [_mean([f1(run[kind], task) for run in runs]) if finds[task] else "–" for task in (0, 1)]
            cells.append(_significance(systems.get("iser", []), runs, kind, finds) if system != "iser" else "–")
            if kind == "outcomes":
                paper = PAPER.get(dataset, {}).get(system)
                cells.append(" / ".join(part.split(" / ")[-1] for part in paper) if paper else "–")
        seconds = [run["seconds"] for run in runs if run["seconds"] is not None]
        rows.append([*cells, f"{statistics.fmean(seconds) / 60:.1f}" if seconds else "–"])
    return markdown([*head, "minutes"], rows)


def details_table(systems: dict[str, list[Run]], dataset: str) -> str:
    """Precision, recall, F1 and macro F1 with overlapping entities, as in the paper; means over seeds."""
    rows = []
    for system, runs in systems.items():
        micro = [
            " / ".join(
                f"{statistics.fmean(score(run['outcomes'], task) for run in runs):.2f}"
                for score in (precision, recall, f1)
            )
            if _finds(system, name)
            else "–"
            for task, name in enumerate(("entity", "relation"))
        ]
        macro = " / ".join(
            f"{100 * statistics.fmean(run['scores'][f'{task}_macro_f1'] for run in runs):.2f}"
            if _finds(system, task)
            else "–"
            for task in ("entity", "relation")
        )
        paper = PAPER.get(dataset, {}).get(system, ())
        in_full = paper if any(" / " in part for part in paper) else ()
        rows.append([system, *micro, *(in_full or ("–", "–")), macro])
    head = ["system", "entity P / R / F1", "relation P / R / F1", "paper: entity", "paper: relation"]
    return markdown([*head, "macro F1: entity / relation"], rows)


def _finds(system: str, task: str) -> bool:
    """Whether a system, named as in the tables, extracts what the task (`entity` or `relation`) is about."""
    return task in ALL_SYSTEMS[system.split()[0]].model.config_class.tasks


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread} ({len(values)})"


def _significance(iser: Sequence[Run], other: Sequence[Run], kind: str, finds: Sequence[bool]) -> str:
    """
    p-values for entities and relations over the seeds that both systems have, or a dash if they were not scored on the
    same sentences. `kind` is a key of `DECODINGS`; `finds` says whether the other system has each task.
    """
    seeds = {r["seed"] for r in iser} & {r["seed"] for r in other}
    first, second = ([r[kind] for r in runs if r["seed"] in seeds] for runs in (iser, other))
    if len({tuple((row[2], row[5]) for row in rows) for rows in [*first, *second]}) != 1:
        return "–"
    values = (paired_bootstrap(first, second, task) if finds[task] else None for task in (0, 1))
    return " / ".join("–" if v is None else f"{v:.3f}" if v >= 0.001 else "<0.001" for v in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="results of one profile")
    results = read_results(parser.parse_args().directory)
    if not results:
        parser.error("this directory holds no results; benchmarks.reproduce writes them to OUTPUT/PROFILE")
    print(tables(results), end="")


if __name__ == "__main__":
    main()
