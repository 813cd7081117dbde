"""Agreement of two annotators of the same sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .records import CH_DDI_RELATION_TYPES, AnnotatedSentence


NO_RELATION = "–"


@dataclass(frozen=True)
class Agreement:
    """
    Attributes:
        sentences: number of sentences that both annotated.
        span_f1: F1 of one annotator's drugs (exact characters) against the other's, without the prompt.
        relation_f1: micro F1 of (head, tail, relation), drugs compared by their characters.
        kappa: Cohen's kappa of the label (one of the seven relations, or none) over the ordered pairs of drugs that
            both annotators marked, including the leaflet's drug.
        kappa_related: the same over the pairs that at least one annotator related.
        pairs: number of ordered pairs that `kappa` covers.
        by_relation: relation → F1 of that relation.
        disagreements: `(text, head, tail, first label, second label)`.
    """

    sentences: int
    span_f1: float
    relation_f1: float
    kappa: float
    kappa_related: float
    pairs: int
    by_relation: dict[str, float]
    disagreements: list[tuple[str, str, str, str, str]]


def agreement(first: Sequence[AnnotatedSentence], second: Sequence[AnnotatedSentence]) -> Agreement:
    """
    Compare two annotations of the same texts; texts in only one of them are ignored.

    Raises:
        ValueError: if a text occurs twice in one of them, or no text is in both.
    """
    by_text = []
    for sentences in (first, second):
        texts = {sentence.text: sentence for sentence in sentences}
        if len(texts) != len(sentences):
            repeated = Counter(sentence.text for sentence in sentences).most_common(1)[0][0]
            raise ValueError(f"the sentence {repeated!r} occurs twice in one annotation.")
        by_text.append(texts)
    common = [text for text in by_text[0] if text in by_text[1]]
    if not common:
        raise ValueError("the two annotations have no sentence in common.")
    spans: tuple[set, set] = (set(), set())
    relations: tuple[set, set] = (set(), set())
    labels: list[tuple[str, str]] = []
    disagreements = []
    for text in common:
        both = (by_text[0][text], by_text[1][text])
        triples = [{(s.entities[h], s.entities[t]): kind for h, t, kind in s.relations} for s in both]
        for side in (0, 1):
            prompt = (0, len(both[side].leaflet))
            spans[side].update((text, span) for span in both[side].entities if span != prompt)
            relations[side].update((text, *pair, kind) for pair, kind in triples[side].items())
        marked = sorted(set(both[0].entities) & set(both[1].entities))
        for head in marked:
            for tail in marked:
                if head != tail:
                    one, other = (side.get((head, tail), NO_RELATION) for side in triples)
                    labels.append((one, other))
        for head, tail in sorted(triples[0].keys() | triples[1].keys()):
            one, other = (side.get((head, tail), NO_RELATION) for side in triples)
            if one != other:
                disagreements.append((text, text[slice(*head)], text[slice(*tail)], one, other))
    by_relation = {
        kind: _f1(*({item for item in side if item[-1] == kind} for side in relations))
        for kind in CH_DDI_RELATION_TYPES
    }
    related = [pair for pair in labels if set(pair) != {NO_RELATION}]
    return Agreement(
        len(common),
        _f1(*spans),
        _f1(*relations),
        cohens_kappa(labels),
        cohens_kappa(related),
        len(labels),
        by_relation,
        disagreements,
    )


def cohens_kappa(labels: Sequence[tuple[str, str]]) -> float:
    """Cohen's kappa of pairs of labels; 1 if both annotators only ever use the same single label, NaN without pairs."""
    total = len(labels)
    if not total:
        return float("nan")
    observed = sum(a == b for a, b in labels) / total
    first, second = Counter(a for a, _ in labels), Counter(b for _, b in labels)
    expected = sum(first[label] * second[label] for label in first) / total**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def report(result: Agreement) -> str:
    """The figures as Markdown."""
    per_relation = ", ".join(f"{kind} {100 * f1:.1f}" for kind, f1 in result.by_relation.items())
    return (
        f"| sentences | drug span F1 | relation F1 | Cohen's kappa, all {result.pairs} ordered pairs "
        "| Cohen's kappa, related pairs |\n|---|---|---|---|---|\n"
        f"| {result.sentences} | {100 * result.span_f1:.1f} | {100 * result.relation_f1:.1f} "
        f"| {result.kappa:.3f} | {result.kappa_related:.3f} |\n\nF1 of each relation: {per_relation}.\n"
    )


def _f1(first: set, second: set) -> float:
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0
