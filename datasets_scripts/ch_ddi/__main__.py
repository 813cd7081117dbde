"""
The steps of the construction of CH-DDI-Open: `python -m datasets_scripts.ch_ddi COMMAND --help`.

Commands that read files report every broken leaflet or record with file, line and reason, and then end with exit
code 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..commands import extra


COMMAND = "python -m datasets_scripts.ch_ddi"
with extra("corpus", COMMAND if __name__ == "__main__" else None):
    from ..documents import BrokenRecord
    from . import annotators, baselines, checks, statistics
    from .annotation_files import FORMATS, read_all, write_sentences
    from .builder import SHIPPED, find_files
    from .corpus import choose_test_drugs, read_corpus, split_corpus
    from .leaflets import prompted_sentences, read_leaflets
    from .records import AnnotatedSentence

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with extra("corpus", COMMAND):
            return int(options.run(options))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "segment", help="divide raw leaflets into sentences with the leaflet's drug as prompt"
    )
    command.add_argument("leaflets", nargs="+", type=Path, help="files of raw leaflets (UTF-8, UTF-16 or GB18030)")
    command.add_argument(
        "--format", choices=("lines", *FORMATS), default="lines", help="lines: one sentence per line (default)"
    )
    command.add_argument("--output", type=Path, help="file to write; default: standard output, for lines")
    command.set_defaults(run=_segment)

    command = commands.add_parser("build", help="build training and test splits from raw leaflets and annotations")
    command.add_argument("--raw", type=Path, default=HERE / "raw", help="directory of raw leaflets")
    command.add_argument("--annotations", type=Path, default=HERE / "annotations", help="directory of annotations")
    command.add_argument(
        "--test-drugs",
        type=Path,
        help="file of the drugs whose leaflets form the test split, one per line; if it is missing, drugs are chosen "
        "and written there (default: test_drugs.txt beside the raw leaflets, where files SPLIT_drugs.txt define more "
        "splits)",
    )
    command.add_argument("--output", type=Path, default=SHIPPED, help="directory for the .jsonl files of the splits")
    command.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is not up to date")
    command.set_defaults(run=_build)

    command = commands.add_parser("convert", help="convert annotations to another format")
    command.add_argument("input", type=Path)
    command.add_argument("output", type=Path)
    command.add_argument("--from", dest="source", choices=FORMATS, required=True)
    command.add_argument("--to", dest="target", choices=FORMATS, required=True)
    command.add_argument("--skip-errors", action="store_true", help="drop broken records instead of writing nothing")
    command.set_defaults(run=_convert)

    command = commands.add_parser("check", help="check offsets, labels, directions, duplicates and contradictions")
    command.add_argument("files", nargs="*", type=Path, help="default: the shipped corpus")
    command.add_argument("--format", choices=FORMATS, default="paper")
    command.set_defaults(run=_check)

    command = commands.add_parser("statistics", help="print the paper's Tables 1 and 2 for a corpus")
    command.add_argument("directory", nargs="?", type=Path, default=SHIPPED)
    command.set_defaults(run=lambda options: _print(statistics.statistics(_splits(options.directory))))

    command = commands.add_parser("agreement", help="compute span F1 and Cohen's kappa of two annotations")
    command.add_argument("first", type=Path, nargs="?", default=HERE / "agreement" / "first.jsonl")
    command.add_argument("second", type=Path, nargs="?", default=HERE / "agreement" / "second.jsonl")
    command.add_argument("--format", choices=FORMATS, default="names")
    command.add_argument("--list", action="store_true", help="list pairs with different labels")
    command.set_defaults(run=_agreement)

    command = commands.add_parser("baselines", help="score two simple baselines given the gold drugs")
    command.add_argument("directory", nargs="?", type=Path, default=SHIPPED)
    command.set_defaults(run=lambda options: _print(_baselines(_splits(options.directory))))

    command = commands.add_parser("card", help="write the measured figures into the data set card")
    command.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if the card is not up to date"
    )
    command.set_defaults(run=_card)
    return parser


def _segment(options: argparse.Namespace) -> int:
    if options.format != "lines" and options.output is None:
        raise ValueError(f"--format {options.format} needs --output.")
    sentences: list[AnnotatedSentence] = []
    broken: list[BrokenRecord] = []
    for file in options.leaflets:
        for leaflet in read_leaflets(file):
            if isinstance(leaflet, BrokenRecord):
                broken.append(leaflet)
                continue
            try:
                texts = prompted_sentences(leaflet)
            except ValueError as error:
                broken.append(BrokenRecord(leaflet.file, f"line {leaflet.line}", str(error)))
                continue
            sentences += [AnnotatedSentence(text, ((0, len(leaflet.drug)),), ()) for text in texts]
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.format == "lines":
        lines = "".join(f"{sentence.text}\n" for sentence in sentences)
        if options.output is None:
            print(lines, end="")
        else:
            options.output.write_text(lines, encoding="utf-8", newline="\n")
    else:
        write_sentences(sentences, options.output, options.format)
    return _report(broken)


def _build(options: argparse.Namespace) -> int:
    corpus = read_corpus(options.raw, options.annotations)
    # The choice is stored, so that corrected annotations do not move leaflets between splits.
    chosen = options.test_drugs or options.raw.parent / "test_drugs.txt"
    if chosen.is_file():
        test_drugs = chosen.read_text(encoding="utf-8").splitlines()
    else:
        test_drugs = choose_test_drugs(corpus)
        if not options.check:
            chosen.write_text("".join(f"{drug}\n" for drug in test_drugs), encoding="utf-8", newline="\n")
    splits = split_corpus(corpus, {"test": test_drugs, **_further_splits(options.raw.parent)})
    different = 0
    for name, sentences in splits.items():
        path = options.output / f"{name}.jsonl"
        lines = [json.dumps(sentence.to_record(), ensure_ascii=False) + "\n" for sentence in sentences]
        content = "".join(lines).encode()
        if not options.check:
            options.output.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"{path}: {len(lines)} sentences")
        elif not path.is_file() or path.read_bytes() != content:
            print(f"{path} is not up to date with the leaflets and annotations.", file=sys.stderr)
            different = 1
    return different


def _further_splits(directory: Path) -> dict[str, list[str]]:
    """Name of each held-out split other than `test` → its drugs, from the files `SPLIT_drugs.txt`."""
    files = {path.stem.removesuffix("_drugs"): path for path in sorted(directory.glob("*_drugs.txt"))}
    return {name: path.read_text(encoding="utf-8").splitlines() for name, path in files.items() if name != "test"}


def _convert(options: argparse.Namespace) -> int:
    sentences, broken = read_all(options.input, options.source)
    if broken and not options.skip_errors:
        _report(broken)
        raise ValueError(f"{options.output} was not written. --skip-errors drops the broken records.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_sentences([sentence for _, sentence in sentences], options.output, options.target)
    return _report(broken)


def _check(options: argparse.Namespace) -> int:
    found: list[BrokenRecord] = []
    places: list[tuple[Path, str]] = []
    sentences: list[AnnotatedSentence] = []
    for file in options.files or find_files(SHIPPED).values():
        read, broken = read_all(file, options.format)
        found += broken
        for place, sentence in read:
            found += [BrokenRecord(str(file), place, problem) for problem in checks.problems(sentence)]
            places.append((file, place))
            sentences.append(sentence)
    alike = list(checks.duplicates(sentences))
    for later, earlier, similarity in alike:
        (file, place), (other_file, other_place) = places[later], places[earlier]
        how = "equal to" if similarity == 1 else f"similar ({similarity:.2f}) to"
        found.append(BrokenRecord(str(file), place, f"{how} {other_file}, {other_place}."))
    share = 100 * len({later for later, *_ in alike}) / max(1, len(sentences))
    print(f"{len(sentences)} sentences, {len(found)} problems, near-duplicates {share:.1f} %")
    return _report(found)


def _agreement(options: argparse.Namespace) -> int:
    result = annotators.agreement(*(_read_strictly(path, options.format) for path in (options.first, options.second)))
    print(annotators.report(result), end="")
    if options.list:
        for text, head, tail, first, second in result.disagreements:
            print(f"{head} → {tail}: {first} / {second}  {text}")
    return 0


def _card(options: argparse.Namespace) -> int:
    splits = _splits(SHIPPED)
    everything = [sentence for sentences in splits.values() for sentence in sentences]
    alike = len({later for later, *_ in checks.duplicates(everything)})
    measured = {
        "statistics": statistics.statistics(splits),
        "agreement": _agreed(""),
        "agreement of leaflets": _agreed("_leaflets"),
        "agreement of specialties": _agreed("_specialties"),
        "near-duplicates": f"{alike} of {len(everything)} sentences ({100 * alike / len(everything):.1f} %)\n",
        "baselines": _baselines(splits),
    }
    path = HERE / "README.md"
    old = path.read_text(encoding="utf-8")
    new = old
    for name, text in measured.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        new, count = re.subn(pattern, lambda m, text=text: m[1] + text + m[2], new, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(
                f"{path} must have one section '{name}' (<!-- {name} --> … <!-- /{name} -->), not {count}."
            )
    if options.check:
        if new != old:
            print(f"{path} does not have the current figures of the corpus.", file=sys.stderr)
        return int(new != old)
    path.write_text(new, encoding="utf-8", newline="\n")
    return 0


def _agreed(sample: str) -> str:
    both = [_read_strictly(HERE / "agreement" / f"{which}{sample}.jsonl", "names") for which in ("first", "second")]
    return annotators.report(annotators.agreement(*both))


def _baselines(splits: dict[str, list[AnnotatedSentence]]) -> str:
    return baselines.report(splits["train"], splits["test"])


def _splits(directory: Path) -> dict[str, list[AnnotatedSentence]]:
    return {name: _read_strictly(path, "paper") for name, path in find_files(directory).items()}


def _read_strictly(path: Path, file_format: str) -> list[AnnotatedSentence]:
    sentences, broken = read_all(path, file_format)
    if broken:
        raise ValueError("\n".join(map(str, broken)))
    return [sentence for _, sentence in sentences]


def _print(text: str) -> int:
    print(text, end="")
    return 0


def _report(broken: list[BrokenRecord]) -> int:
    for record in broken:
        print(record, file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
