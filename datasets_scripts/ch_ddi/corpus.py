"""Raw leaflets and annotations → training and test split (paper 4.1.2, step 3)."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..documents import BrokenRecord, BrokenRecordError
from .annotations import read_all
from .leaflets import Leaflet, prompted_sentences, read_leaflets
from .records import CH_DDI_RELATION_TYPES, AnnotatedSentence


TEST_SHARE = 0.2
"""Share of the leaflets, and of every relation, that goes to the test split (the paper: 147 of 732 sentences)."""


@dataclass(frozen=True)
class AnnotatedLeaflet:
    """A leaflet and its sentences in the order of the text."""

    leaflet: Leaflet
    sentences: tuple[AnnotatedSentence, ...]

    @property
    def relations(self) -> Counter[str]:
        """How often each relation stands in the leaflet."""
        return Counter(relation for sentence in self.sentences for *_, relation in sentence.relations)


def read_corpus(raw: Path, annotations: Path) -> list[AnnotatedLeaflet]:
    """
    The leaflets of `raw/*.txt` with the annotations of `annotations/*.jsonl`, file by file.

    An annotation file has one line for each sentence that the segmentation finds, in the same order.

    Raises:
        FileNotFoundError: where there is no raw file, or no annotation file of its name.
        BrokenRecordError: for a leaflet or annotation that is broken, sentences without annotation or annotations
            without sentence, and a drug that has two leaflets. All problems of the corpus are named together.
    """
    files = sorted(raw.glob("*.txt"))
    if not files:
        raise FileNotFoundError(f"{raw} holds no raw leaflets (*.txt).")
    corpus: list[AnnotatedLeaflet] = []
    broken: list[BrokenRecord] = []
    seen: dict[str, Leaflet] = {}
    for file in files:
        annotated, problems = read_all(annotations / f"{file.stem}.jsonl", "names")
        broken += problems
        rest = iter(annotated)
        for leaflet in read_leaflets(file):
            if isinstance(leaflet, BrokenRecord):
                broken.append(leaflet)
                continue
            place = f"line {leaflet.line}"
            if leaflet.drug in seen:
                first = seen[leaflet.drug]
                broken.append(
                    BrokenRecord(leaflet.file, place, f"{leaflet.drug} has a leaflet in {first.file}:{first.line} too.")
                )
            seen.setdefault(leaflet.drug, leaflet)
            try:
                texts = prompted_sentences(leaflet)
            except ValueError as error:
                broken.append(BrokenRecord(leaflet.file, place, str(error)))
                continue
            sentences = []
            for text in texts:
                line, sentence = next(rest, ("the end", None))
                if sentence is None or sentence.text != text:
                    reason = f"the sentence {text!r} of {leaflet.file}, {place} is expected here"
                    found = f", not {sentence.text!r}." if sentence else "."
                    broken.append(BrokenRecord(str(annotations / f"{file.stem}.jsonl"), line, reason + found))
                    raise _errors(broken)
                sentences.append(sentence)
            corpus.append(AnnotatedLeaflet(leaflet, tuple(sentences)))
        for line, sentence in rest:
            reason = f"no sentence of {file} is left for {sentence.text!r}."
            broken.append(BrokenRecord(str(annotations / f"{file.stem}.jsonl"), line, reason))
    if broken:
        raise _errors(broken)
    return corpus


def _errors(broken: list[BrokenRecord]) -> BrokenRecordError:
    return BrokenRecordError("\n".join(map(str, broken)))


def split_corpus(corpus: list[AnnotatedLeaflet]) -> dict[str, list[AnnotatedSentence]]:
    """
    The sentences of the training and of the test split; a leaflet is in one of them only.

    The diseases take turns. The one whose turn it is gives the leaflet that brings the relations of the test split
    nearest to `TEST_SHARE` of all (sum of squared differences, each divided by the relation's frequency), until that
    share of its leaflets is in the test split. Ties go by the SHA-256 of the drug's name.
    """
    by_disease: dict[str, list[AnnotatedLeaflet]] = {}
    for item in sorted(corpus, key=lambda item: hashlib.sha256(item.leaflet.drug.encode()).hexdigest()):
        by_disease.setdefault(item.leaflet.disease, []).append(item)
    diseases = sorted(by_disease)
    wanted = {disease: round(TEST_SHARE * len(by_disease[disease])) for disease in diseases}
    rounds = [disease for turn in range(max(wanted.values())) for disease in diseases if turn < wanted[disease]]
    total = sum((item.relations for item in corpus), Counter[str]())
    counts: Counter[str] = Counter()
    test: set[str] = set()
    for turn, disease in enumerate(rounds, 1):
        goal = {relation: TEST_SHARE * turn / len(rounds) * total[relation] for relation in CH_DDI_RELATION_TYPES}
        left = [item for item in by_disease[disease] if item.leaflet.drug not in test]
        distances = [
            sum((counts[r] + item.relations[r] - goal[r]) ** 2 / total[r] for r in goal if total[r]) for item in left
        ]
        chosen = left[distances.index(min(distances))]
        test.add(chosen.leaflet.drug)
        counts += chosen.relations
    splits: dict[str, list[AnnotatedSentence]] = {"train": [], "test": []}
    for item in corpus:
        splits["test" if item.leaflet.drug in test else "train"] += item.sentences
    return splits
