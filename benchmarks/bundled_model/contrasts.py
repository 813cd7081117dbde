"""
Contrast sets: families of minimal pairs of sentences, and how many of them a model gets right.

    python -m benchmarks.bundled_model.contrasts [--model CHECKPOINT] [--failures] [--write_floors]

`contrast_sets/families.yaml` holds the frames, `contrast_sets/names.yaml` the names for their slots. Each frame is
filled with several draws of names, which gives a family at least ten items; an item passes if exactly the relations
that its frame states are found. The suite also counts the frames whose result depends on the names, and the safety
inversions: an interaction found where the frame states none, or "no interaction" where it states a prohibition, with a
score above 0.5. `contrast_sets/floors.yaml` holds the pass rates below which the tests fail.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modeling_iser import DEFAULT_MODEL, DdiExtractionPipeline, IserForJointExtraction


DATA = Path(__file__).parent / "contrast_sets"
FLOORS = DATA / "floors.yaml"
DRAWS = 3
"""Draws of names per frame."""
INVERSION_SCORE = 0.5
HARMLESS = "无关"
FORBIDDEN = "禁忌"

Triple = tuple[str, str, str]
"""Head, relation and tail; `P` is the leaflet's drug."""


@dataclass(frozen=True)
class Item:
    """A sentence and the relations that it states."""

    family: str
    frame: str
    drug: str
    text: str
    expected: frozenset[Triple]


@dataclass(frozen=True)
class Answer:
    """What a model found in an item: relations with their scores."""

    item: Item
    found: dict[Triple, float]

    @property
    def right(self) -> bool:
        return self.found.keys() == self.item.expected

    @property
    def inversion(self) -> bool:
        """Whether a pair without a stated interaction is found to have one, or a forbidden one to be harmless."""
        stated = {frozenset((head, tail)): relation for head, relation, tail in self.item.expected}
        for (head, relation, tail), score in self.found.items():
            truth = stated.get(frozenset((head, tail)), HARMLESS)
            wrong = relation == HARMLESS if truth == FORBIDDEN else truth == HARMLESS != relation
            if wrong and score > INVERSION_SCORE:
                return True
        return False


def read_items(draws: int = DRAWS) -> list[Item]:
    """The items of all families; every call returns the same ones."""
    names = yaml.safe_load((DATA / "names.yaml").read_text(encoding="utf-8"))
    families = yaml.safe_load((DATA / "families.yaml").read_text(encoding="utf-8"))
    items = []
    for family, frames in families.items():
        for frame in frames:
            for draw in range(draws):
                items.append(_fill(family, frame, names, random.Random(f"{frame} {draw}")))
    return items


def _fill(family: str, frame: str, names: dict[str, Any], generator: random.Random) -> Item:
    text, _, triples = frame.partition("=>")
    drug, own = generator.choice(sorted(names["leaflets"].items()))
    drugs = generator.sample([name for name in names["drugs"] if name not in drug and own not in name], 3)
    classes = generator.sample(names["classes"], 2)
    slots = dict(zip("ABCKL", [*drugs, *classes], strict=True), P=own)
    named = {**slots, "P": "P"}
    expected = frozenset(
        (named[head], relation, named[tail]) for head, relation, tail in map(str.split, triples.split(";")) if head
    ) if triples.strip() else frozenset()  # fmt: skip
    return Item(family, frame, drug, re.sub(r"{(\w)}", lambda slot: slots[slot[1]], text.strip()), expected)


def answer(extractor: DdiExtractionPipeline, items: Sequence[Item]) -> list[Answer]:
    """The pipeline's answers to the items."""
    results = extractor([item.text for item in items], drug=[item.drug for item in items], batch_size=16)
    return [
        Answer(
            item,
            {
                (_name(relation["head"]), relation["type"], _name(relation["tail"])): relation["score"]
                for relation in result["relations"]
            },
        )
        for item, result in zip(items, results, strict=True)
    ]


def _name(end: dict[str, Any]) -> str:
    return "P" if end["start"] is None else end["text"]


def pass_rates(answers: Sequence[Answer]) -> dict[str, float]:
    """Percentage of each family's items that are answered correctly."""
    total = Counter(answer.item.family for answer in answers)
    right = Counter(answer.item.family for answer in answers if answer.right)
    return {family: 100 * right[family] / count for family, count in total.items()}


def unsteady_frames(answers: Sequence[Answer]) -> list[str]:
    """Frames that are answered correctly with some names and wrongly with others."""
    outcomes: dict[str, set[bool]] = {}
    for one in answers:
        outcomes.setdefault(f"{one.item.family}: {one.item.frame}", set()).add(one.right)
    return [frame for frame, results in outcomes.items() if len(results) > 1]


def report(answers: Sequence[Answer]) -> str:
    """A Markdown table of the families, worst first, with totals."""
    rates = pass_rates(answers)
    items = Counter(answer.item.family for answer in answers)
    inversions = Counter(answer.item.family for answer in answers if answer.inversion)
    lines = ["| family | items | right | safety inversions |", "|---|---|---|---|"]
    for family in sorted(rates, key=lambda family: rates[family]):
        lines.append(f"| {family} | {items[family]} | {rates[family]:.0f} % | {inversions[family]} |")
    right = 100 * sum(answer.right for answer in answers) / len(answers)
    lines.append(f"| all {len(rates)} | {len(answers)} | {right:.1f} % | {sum(inversions.values())} |")
    frames = len({(answer.item.family, answer.item.frame) for answer in answers})
    lines += ["", f"{len(unsteady_frames(answers))} of {frames} frames are answered correctly with some names only."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--failures", action="store_true", help="print every item that is answered wrongly")
    parser.add_argument(
        "--write_floors", action="store_true", help="set each family's floor one item below its present pass rate"
    )
    arguments = parser.parse_args()
    model = IserForJointExtraction.from_pretrained(arguments.model)
    answers = answer(DdiExtractionPipeline(model=model, tokenizer=model.tokenizer), read_items())
    if arguments.failures:
        for one in answers:
            if not one.right:
                found = {" ".join(triple): round(score, 2) for triple, score in one.found.items()}
                wanted = "; ".join(sorted(map(" ".join, one.item.expected))) or "nothing"
                print(f"{one.item.family} | {one.item.drug}@{one.item.text}")
                print(f"    {wanted} | {json.dumps(found, ensure_ascii=False)}")
    print(report(answers))
    if arguments.write_floors:
        items = Counter(one.item.family for one in answers)
        floors = {family: max(0, int(rate - 100 / items[family])) for family, rate in pass_rates(answers).items()}
        text = "# Pass rates in percent below which the tests fail, as written by\n"
        text += "# python -m benchmarks.bundled_model.contrasts --write_floors\n"
        FLOORS.write_text(text + yaml.safe_dump(floors, allow_unicode=True, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
