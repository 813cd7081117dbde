"""Raw leaflets and annotations → training and test split (paper 4.1.2, step 3)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..documents import BrokenRecord, BrokenRecordError
from .annotation_files import read_all
from .leaflets import Leaflet, prompted_sentences, read_leaflets
from .records import CH_DDI_RELATION_TYPES, AnnotatedSentence


TEST_SHARE = 0.2
"""Share of the drugs, and of each relation, in the test split (the paper: 147 of 732 sentences)."""


@dataclass(frozen=True)
class AnnotatedLeaflet:
    """A leaflet and its sentences in the order of the text."""

    leaflet: Leaflet
    sentences: tuple[AnnotatedSentence, ...]

    @property
    def relations(self) -> Counter[str]:
        """Number of times that each relation occurs in the leaflet."""
        return Counter(relation for sentence in self.sentences for *_, relation in sentence.relations)


def read_corpus(raw: Path, annotations: Path) -> list[AnnotatedLeaflet]:
    """
    Read the leaflets of `raw/*.txt` with the annotations of `annotations/*.jsonl`, file by file.

    An annotation file has one line for each sentence that segmentation finds, in the same order. A drug may have
    several leaflets, for example from several manufacturers.

    Raises:
        FileNotFoundError: if there is no raw file, or a raw file has no annotation file of the same name.
        BrokenRecordError: if a leaflet or annotation is broken, a sentence has no annotation, or an annotation no
            sentence. The message lists all problems up to the first sentence that does not match its annotation.
    """
    files = sorted(raw.glob("*.txt"))
    if not files:
        raise FileNotFoundError(f"{raw} contains no raw leaflets (*.txt).")
    corpus: list[AnnotatedLeaflet] = []
    broken: list[BrokenRecord] = []
    for file in files:
        annotated, problems = read_all(annotations / f"{file.stem}.jsonl", "names")
        broken += problems
        rest = iter(annotated)
        for leaflet in read_leaflets(file):
            if isinstance(leaflet, BrokenRecord):
                broken.append(leaflet)
                continue
            place = f"line {leaflet.line}"
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
            reason = f"{file} has no sentence left for {sentence.text!r}."
            broken.append(BrokenRecord(str(annotations / f"{file.stem}.jsonl"), line, reason))
    if broken:
        raise _errors(broken)
    return corpus


def _errors(broken: list[BrokenRecord]) -> BrokenRecordError:
    return BrokenRecordError("\n".join(map(str, broken)))


def split_corpus(
    corpus: list[AnnotatedLeaflet], held_out: Mapping[str, Collection[str]]
) -> dict[str, list[AnnotatedSentence]]:
    """
    Divide the sentences into splits: each held-out split gets the leaflets of its drugs, `train` all others.

    Args:
        held_out: name of a split other than `train` → its drugs.

    Raises:
        ValueError: if a drug has no leaflet, or is in two splits.
    """
    split_of = {drug: name for name, drugs in held_out.items() for drug in drugs}
    if missing := sorted(split_of.keys() - {item.leaflet.drug for item in corpus}):
        raise ValueError(f"No leaflet for these drugs of held-out splits: {', '.join(missing)}.")
    if twice := [
        drug for drug, name in split_of.items() for other in held_out if name != other and drug in held_out[other]
    ]:
        raise ValueError(f"In two splits: {', '.join(twice)}.")
    splits: dict[str, list[AnnotatedSentence]] = {name: [] for name in ("train", *held_out)}
    for item in corpus:
        splits[split_of.get(item.leaflet.drug, "train")] += item.sentences
    return splits


def choose_test_drugs(corpus: list[AnnotatedLeaflet]) -> list[str]:
    """
    Choose the drugs whose leaflets form the test split of a new corpus.

    Diseases take turns until `TEST_SHARE` of the drugs of each are chosen. On its turn, a disease contributes the drug
    that brings the relations chosen so far closest to their share of `TEST_SHARE` (sum of squared differences, each
    divided by the relation's frequency). Ties are broken by the SHA-256 of the drug's name. A drug counts for the
    disease of its first leaflet.
    """
    relations: dict[str, Counter[str]] = {}
    by_disease: dict[str, list[str]] = {}
    for item in corpus:
        if item.leaflet.drug not in relations:
            relations[item.leaflet.drug] = Counter()
            by_disease.setdefault(item.leaflet.disease, []).append(item.leaflet.drug)
        relations[item.leaflet.drug] += item.relations
    for drugs in by_disease.values():
        drugs.sort(key=lambda drug: hashlib.sha256(drug.encode()).hexdigest())
    diseases = sorted(by_disease)
    wanted = {disease: round(TEST_SHARE * len(by_disease[disease])) for disease in diseases}
    rounds = [disease for turn in range(max(wanted.values())) for disease in diseases if turn < wanted[disease]]
    total = sum(relations.values(), Counter[str]())
    counts: Counter[str] = Counter()
    test: list[str] = []
    for turn, disease in enumerate(rounds, 1):
        goal = {relation: TEST_SHARE * turn / len(rounds) * total[relation] for relation in CH_DDI_RELATION_TYPES}
        left = [drug for drug in by_disease[disease] if drug not in test]
        distances = [
            sum((counts[r] + relations[drug][r] - goal[r]) ** 2 / total[r] for r in goal if total[r]) for drug in left
        ]
        test.append(left[distances.index(min(distances))])
        counts += relations[test[-1]]
    return test
