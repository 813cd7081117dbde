"""
Convert, check, describe and split annotated corpora: `python -m datasets_scripts COMMAND --help`.

Broken records are reported with file, place and reason. Exit codes: 0, success; 1, nothing was done; 2, done, but
something was dropped or is doubtful, as reported; also 2, wrong usage or a missing package.
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

from .commands import extra, in_options


COMMAND = "python -m datasets_scripts"
with extra("corpus", COMMAND if __name__ == "__main__" else None):
    from datasets.utils.logging import disable_progress_bar

    from .corpus import Corpus, load_corpus
    from .documents import Document
    from .formats import FORMATS
    from .subsets import divide

Splits = Mapping[str, Sequence[Document]]

SUFFIXES = {"spert": ".json", "label-studio": ".json", "bio": ".bio", "brat": ""}
"""Format → suffix of its files, if it is not .jsonl."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    disable_progress_bar()
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"error: {_in_options(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _in_options(message: str) -> str:
    """Replace arguments of `load_corpus` in an error message by this command's options."""
    message = message.replace('on_error="skip"', "--skip-errors").replace("grow_entities", "--grow-entities")
    return in_options(message, {"format": "--from", "columns": "--columns"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, help: str, run: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.add_argument("source", metavar="IN", type=Path, help="directory or file of the corpus")
        added.add_argument(
            "--from", dest="format", choices=tuple(FORMATS), help="its format; default: detected from its content"
        )
        added.add_argument("--skip-errors", action="store_true", help="drop broken records and list them")
        added.add_argument(
            "--grow-entities",
            action="store_true",
            help="extend entities that begin or end within a word to whole words",
        )
        added.add_argument(
            "--columns",
            nargs="+",
            action="extend",
            default=[],
            metavar="OURS=THEIRS",
            help="names of columns in a data set",
        )
        added.set_defaults(run=run)
        return added

    convert = command("convert", "convert a corpus to another format", _convert)
    convert.add_argument("output", metavar="OUT", type=Path, help="directory to write, with one file per split")
    convert.add_argument("--to", required=True, choices=tuple(FORMATS), help="the format to write")
    command("check", "report overlaps, contradictions, duplicates, and labels that do not occur in training", _check)
    command("statistics", "count sentences, words, entities and relations, and measure lengths and widths", _statistics)
    split = command("split", "divide a corpus into training, validation and test splits", _split)
    split.add_argument("output", metavar="OUT", type=Path, help="directory to write")
    split.add_argument("--validation", type=float, default=0.1, help="share of the documents (default: 0.1)")
    split.add_argument("--test", type=float, default=0.2, help="share of the documents (default: 0.2)")
    split.add_argument("--group", help="regular expression whose match in a document's text is its group; groups are "
                       "not divided; '^[^@]*' for the drug before @")  # fmt: skip
    split.add_argument("--group-by-id", help="the same for a document's id")
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
    Parse `name=value` items.

    Raises:
        ValueError: if an item does not have this form.
    """
    for item in items:
        if not all(item.partition("=")):
            raise ValueError(f"{option}: {item!r} must have the form name=value.")
    return {name: value for name, _, value in (item.partition("=") for item in items)}


# ---------------------------------------------------------------------------------------------- convert


def _convert(options: argparse.Namespace) -> int:
    return write_splits({name: split.to_list() for name, split in _load(options).items()}, options.output, options.to)


def write_splits(splits: Splits, output: Path, to: str) -> int:
    """Write one file per split. Return 2, and report, if the format cannot hold everything, else 0."""
    if output.is_file():
        raise ValueError(f"{output} is a file. Choose a new directory.")
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
    for kind, count in lost.items():
        print(f"{to} cannot hold {count} {kind}.", file=sys.stderr)
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
                problems.append(f"has the same words as {seen[key]}.")
            seen.setdefault(key, f"{name}, {document['id']}")
            count += len(problems)
            for problem in problems:
                print(f"{name}, {document['id']}: {problem}", file=sys.stderr)
    for task, counts in label_counts({name: split.to_list() for name, split in corpus.items()}).items():
        for label, split_counts in counts.items():
            if "train" in split_counts and len(corpus) > 1 and not split_counts["train"]:
                count += 1
                print(f"the {task} type {label!r} does not occur in training.", file=sys.stderr)
    print(f"{total} documents, {count} doubts")
    return 2 if count else 0


def doubts(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is doubtful in a document."""
    words, entities = document["tokens"], document["entities"]

    def quoted(index: int) -> str:
        return repr(" ".join(words[entities[index]["start"] : entities[index]["end"]]))

    if not words:
        yield "contains no words."
    order = sorted(range(len(entities)), key=lambda index: (entities[index]["start"], entities[index]["end"]))
    for first, second in pairwise(order):
        if entities[second]["start"] < entities[first]["end"]:
            kinds = f"{entities[first]['type']} and {entities[second]['type']}"
            if all(entities[first][key] == entities[second][key] for key in ("start", "end")):
                yield f"{quoted(first)} is annotated twice: {kinds}."
            else:
                yield f"{quoted(first)} and {quoted(second)} overlap; finding both needs overlapping_entities."
    pairs: dict[tuple[int, int], list[str]] = {}
    for relation in document["relations"]:
        pairs.setdefault((relation["head"], relation["tail"]), []).append(relation["type"])
    for (head, tail), labels in pairs.items():
        if len(labels) > 1:
            yield f"{quoted(head)} → {quoted(tail)} has several relations: {', '.join(labels)}."


# ------------------------------------------------------------------------------------------- statistics


def _statistics(options: argparse.Namespace) -> int:
    print(statistics({name: split.to_list() for name, split in _load(options).items()}), end="")
    return 0


def label_counts(splits: Splits) -> dict[str, dict[str, dict[str, int]]]:
    """Occurrences of each entity and relation type in each split: task → label → split → count."""
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
        raise ValueError("--validation and --test must be shares of at least 0 that leave something for training.")
    if options.group and options.group_by_id:
        raise ValueError("Give --group or --group-by-id, not both.")
    try:
        re.compile(options.group or options.group_by_id or "")
    except re.error as error:
        raise ValueError(f"--group and --group-by-id must be regular expressions ({error}).") from None
    documents = _join({name: split.to_list() for name, split in _load(options).items()})
    pattern, key = options.group or options.group_by_id, "text" if options.group else "id"
    groups = [_group(pattern, document[key], document["id"]) if pattern else document["id"] for document in documents]
    return write_splits(divide(documents, groups, shares, options.seed), options.output, options.to)


def _join(splits: Splits) -> list[Document]:
    """The documents of all splits; ids that occur in several splits are prefixed with the split."""
    counts = Counter(document["id"] for split in splits.values() for document in split)
    return [
        {**document, "id": f"{name}-{document['id']}"} if counts[document["id"]] > 1 else document
        for name, split in splits.items()
        for document in split
    ]


def _group(pattern: str, value: str, name: str) -> str:
    match = re.search(pattern, value)
    if match is None:
        raise ValueError(f"document {name!r}: {pattern!r} does not match {value!r:.60}, so it has no group.")
    return match[0]


if __name__ == "__main__":
    sys.exit(main())
