"""Checks for annotation errors and near-duplicate sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .builder import to_document
from .leaflets import segment, tidy
from .records import AnnotatedSentence


# In characters. A longer sentence is probably a section that was not segmented.
LONGEST_SENTENCE = 300
# Jaccard similarity of the character 5-grams after the prompt.
NEAR_DUPLICATE = 0.8


def problems(sentence: AnnotatedSentence) -> Iterator[str]:
    """
    Yield what is wrong or doubtful in a sentence.

    These are offsets that cut a word or include whitespace, overlapping drugs, a prompt that is not annotated,
    contradictory labels for an ordered pair, 禁忌 or 加成 in both directions, 禁忌 with the leaflet's drug as head, and
    text of more than one sentence. Unknown labels, drugs that are not in the text and self-relations are errors on
    reading.
    """
    text = sentence.text
    try:
        to_document("", sentence)
    except ValueError as error:
        yield str(error)
    for index, (start, _) in enumerate(sentence.entities):
        if sentence.drug(index) != sentence.drug(index).strip():
            yield f"the drug {sentence.drug(index)!r} begins or ends with whitespace."
        if index and start < sentence.entities[index - 1][1]:
            yield f"the drugs {sentence.drug(index - 1)!r} and {sentence.drug(index)!r} overlap."
    if sentence.leaflet and (0, len(sentence.leaflet)) not in sentence.entities:
        yield f"the leaflet's drug {sentence.leaflet!r} is not annotated before the '@'."
    labels: dict[tuple[int, int], set[str]] = {}
    for head, tail, relation in sentence.relations:
        labels.setdefault((head, tail), set()).add(relation)
    for (head, tail), relations in labels.items():
        pair = f"{sentence.drug(head)!r} → {sentence.drug(tail)!r}"
        if len(relations) > 1:
            yield f"contradictory labels for {pair}: {', '.join(sorted(relations))}."
        for relation in sorted(relations & {"禁忌", "加成"} & labels.get((tail, head), set())):
            if head < tail:
                yield f"{relation} has no agent, so {pair} must be annotated in one direction only."
        if "禁忌" in relations and head == 0 and sentence.leaflet:
            yield f"禁忌 goes from the other drug to the leaflet's drug, not {pair}."
    if len(text) > LONGEST_SENTENCE:
        yield f"the sentence has {len(text)} characters; one interaction rarely needs more than {LONGEST_SENTENCE}."
    body = text.partition("@")[2] or text
    if len([piece for piece in segment(body) if tidy(body[slice(*piece)])]) > 1:
        yield "the text is more than one sentence."


def duplicates(sentences: list[AnnotatedSentence]) -> Iterator[tuple[int, int, float]]:
    """
    Pairs of sentences whose character 5-grams after the prompt have a Jaccard similarity above `NEAR_DUPLICATE`.

    Yields:
        indices of the later and the earlier sentence, and the similarity; 1.0 for equal texts.
    """
    grams = [_five_grams(sentence.text) for sentence in sentences]
    containing: dict[str, list[int]] = {}
    for later, mine in enumerate(grams):
        shared: Counter[int] = Counter(earlier for gram in mine for earlier in containing.get(gram, ()))
        for earlier, common in sorted(shared.items()):
            similarity = common / (len(mine) + len(grams[earlier]) - common)
            if similarity > NEAR_DUPLICATE:
                yield later, earlier, similarity
        for gram in mine:
            containing.setdefault(gram, []).append(later)


def _five_grams(text: str) -> set[str]:
    body = text.partition("@")[2] or text
    return {body[start : start + 5] for start in range(max(1, len(body) - 4))}
