"""
Annotated corpora of any format: `python -m datasets_scripts COMMAND --help`.

Broken records are reported with file, place and reason. Exit codes: 0, all is well; 1, nothing was done; 2, done, but
something was left out or is doubtful, and was reported.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from datasets.utils.logging import disable_progress_bar

from .corpus import Corpus, load_corpus
from .documents import Document
from .formats import FORMATS
from .subsets import divide


Splits = Mapping[str, Sequence[Document]]

SUFFIXES = {"spert": ".json", "label-studio": ".json", "bio": ".bio", "brat": ""}
"""How a file of a format is called, where not .jsonl."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    disable_progress_bar()
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m datasets_scripts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, help: str, run: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.add_argument("source", metavar="IN", type=Path, help="directory or file of the corpus")
        added.add_argument("--from", dest="format", choices=tuple(FORMATS), help="its format; default: by its content")
        added.add_argument("--skip-errors", action="store_true", help="leave broken records out and list them")
        added.add_argument("--grow-entities", action="store_true", help="entities that cut a word grow to whole words")
        added.add_argument("--columns", nargs="+", default=[], metavar="OURS=THEIRS", help="columns of a data set")
        added.set_defaults(run=run)
        return added

    convert = command("convert", "a corpus in another format", _convert)
    convert.add_argument("output", metavar="OUT", type=Path, help="directory to write, one file a split")
    convert.add_argument("--to", required=True, choices=tuple(FORMATS), help="the format to write")
    command("check", "what is doubtful in a corpus: overlaps, contradictions, duplicates, lonely labels", _check)
    command("statistics", "sentences, entities, relations, widths and lengths of each split", _statistics)
    split = command("split", "a corpus divided into training, validation and test split", _split)
    split.add_argument("output", metavar="OUT", type=Path, help="directory to write")
    split.add_argument("--validation", type=float, default=0.1, help="share of the documents (default: 0.1)")
    split.add_argument("--test", type=float, default=0.2, help="share of the documents (default: 0.2)")
    split.add_argument("--group", help="regular expression on a document's text whose match names its group: documents "
                       "of a group stay together; '^[^@]*' for the drug before @")  # fmt: skip
    split.add_argument("--group-by-id", help="the same on a document's id")
    split.add_argument("--seed", type=int, default=0)
    split.add_argument("--to", choices=tuple(FORMATS), default="jsonl", help="the format to write (default: jsonl)")
    return parser


def _load(options: argparse.Namespace) -> Corpus:
    return load_corpus(
        options.source,
        options.format,
        on_error="skip" if options.skip_errors else "raise",
        columns=named_values(options.columns, "--columns") or None,
        grow_entities=options.grow_entities,
    )


def named_values(items: Sequence[str], option: str) -> dict[str, str]:
    """
    What `name=value` items say.

    Raises:
        ValueError: for an item that is none.
    """
    for item in items:
        if not all(item.partition("=")):
            raise ValueError(f"{option}: {item!r} is no name=value.")
    return {name: value for name, _, value in (item.partition("=") for item in items)}


# ---------------------------------------------------------------------------------------------- convert


def _convert(options: argparse.Namespace) -> int:
    return write_splits({name: split.to_list() for name, split in _load(options).items()}, options.output, options.to)


def write_splits(splits: Splits, output: Path, to: str) -> int:
    """Write a file a split; 2 where something could not be held, which is reported, else 0."""
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty. Choose a new directory.")
    temporary = output.with_name(f"{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    lost: Counter[str] = Counter()
    try:
        for name, documents in splits.items():
            path = temporary / f"{name}{SUFFIXES.get(to, '.jsonl')}"
            lost.update(FORMATS[to].write(documents, path))
        if output.exists():
            output.rmdir()
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for name, documents in splits.items():
        print(f"{output / name}{SUFFIXES.get(to, '.jsonl')}: {len(documents)} documents")
    for what, count in lost.items():
        print(f"{to} has no place for {count} {what}.", file=sys.stderr)
    return 2 if lost else 0


# ------------------------------------------------------------------------------------------------ check


def _check(options: argparse.Namespace) -> int:
    count = total = 0
    seen: dict[str, str] = {}
    corpus = _load(options)
    for name, split in corpus.items():
        for document in split.to_list():
            total += 1
            problems = list(doubts(document))
            key = " ".join(document["tokens"])
            if key in seen:
                problems.append(f"is equal to {seen[key]}.")
            seen.setdefault(key, f"{name}, {document['id']}")
            count += len(problems)
            for problem in problems:
                print(f"{name}, {document['id']}: {problem}", file=sys.stderr)
    for task, counts in label_counts({name: split.to_list() for name, split in corpus.items()}).items():
        for label, of_splits in counts.items():
            if "train" in of_splits and len(corpus) > 1 and not of_splits["train"]:
                count += 1
                print(f"the {task} type {label!r} does not occur in training.", file=sys.stderr)
    print(f"{total} documents, {count} doubts")
    return 2 if count else 0


def doubts(document: Mapping[str, Any]) -> Iterator[str]:
    """What is doubtful in a document that can be read."""
    words, entities = document["tokens"], document["entities"]

    def reads(index: int) -> str:
        return repr(" ".join(words[entities[index]["start"] : entities[index]["end"]]))

    if not words:
        yield "holds no word."
    order = sorted(range(len(entities)), key=lambda index: (entities[index]["start"], entities[index]["end"]))
    for first, second in pairwise(order):
        if entities[second]["start"] < entities[first]["end"]:
            kinds = f"{entities[first]['type']} and {entities[second]['type']}"
            if all(entities[first][key] == entities[second][key] for key in ("start", "end")):
                yield f"{reads(first)} is annotated twice: {kinds}."
            else:
                yield f"{reads(first)} and {reads(second)} overlap; without overlapping_entities, a model finds one."
    pairs: dict[tuple[int, int], list[str]] = {}
    for relation in document["relations"]:
        pairs.setdefault((relation["head"], relation["tail"]), []).append(relation["type"])
    for (head, tail), labels in pairs.items():
        if len(labels) > 1:
            yield f"{reads(head)} → {reads(tail)} has several relations: {', '.join(labels)}."


# ------------------------------------------------------------------------------------------- statistics


def _statistics(options: argparse.Namespace) -> int:
    print(statistics({name: split.to_list() for name, split in _load(options).items()}), end="")
    return 0


def label_counts(splits: Splits) -> dict[str, dict[str, dict[str, int]]]:
    """How often each entity and relation type occurs in each split: task → label → split → count."""
    result: dict[str, dict[str, dict[str, int]]] = {}
    for task, key in (("entity", "entities"), ("relation", "relations")):
        counts = {name: Counter(item["type"] for d in split for item in d[key]) for name, split in splits.items()}
        labels = sorted(set().union(*counts.values()))
        result[task] = {label: {name: counts[name][label] for name in splits} for label in labels}
    return result


def statistics(splits: Splits) -> str:
    """Markdown tables of sizes, labels and widths, split by split."""
    lines = ["| split | documents | words | entities | relations | longest | widest entity | without entity |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, documents in splits.items():
        widths = [entity["end"] - entity["start"] for d in documents for entity in d["entities"]]
        lengths = [len(d["tokens"]) for d in documents]
        cells = [
            len(documents), sum(lengths), len(widths), sum(len(d["relations"]) for d in documents),
            max(lengths, default=0), max(widths, default=0), sum(not d["entities"] for d in documents),
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    for task, counts in label_counts(splits).items():
        lines += ["", f"| {task} type | {' | '.join(splits)} |", f"|{'---|' * (len(splits) + 1)}"]
        lines += [f"| {label} | {' | '.join(str(n) for n in of.values())} |" for label, of in counts.items()]
    widths = sorted(entity["end"] - entity["start"] for ds in splits.values() for d in ds for entity in d["entities"])
    if widths:
        covered = [f"{100 * sum(w <= k for w in widths) / len(widths):.1f} % at {k}" for k in (5, 10, 15, 20, 30)]
        lines += ["", f"Entities that a max_span_width would cover: {', '.join(covered)}; all at {widths[-1]}."]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ split


def _split(options: argparse.Namespace) -> int:
    shares = {"validation": options.validation, "test": options.test}
    if any(share < 0 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ValueError("--validation and --test are shares that leave something for training.")
    if options.group and options.group_by_id:
        raise ValueError("Give --group or --group-by-id, not both.")
    documents = _together({name: split.to_list() for name, split in _load(options).items()})
    pattern, key = options.group or options.group_by_id, "text" if options.group else "id"
    groups = [_group(pattern, document[key], document["id"]) if pattern else document["id"] for document in documents]
    return write_splits(divide(documents, groups, shares, options.seed), options.output, options.to)


def _together(splits: Splits) -> list[Document]:
    """The documents of all splits; where two splits have an id in common, it tells the split too."""
    counts = Counter(document["id"] for split in splits.values() for document in split)
    return [
        {**document, "id": f"{name}-{document['id']}"} if counts[document["id"]] > 1 else document
        for name, split in splits.items()
        for document in split
    ]


def _group(pattern: str, value: str, name: str) -> str:
    match = re.search(pattern, value)
    if match is None:
        raise ValueError(f"document {name!r}: {pattern!r} matches nothing of {value!r:.60}, so it has no group.")
    return match[0]


if __name__ == "__main__":
    sys.exit(main())
