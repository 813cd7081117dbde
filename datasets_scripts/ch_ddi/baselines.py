"""
Two simple baselines for the relations between gold drugs, which show what the corpus gives away without being read.

Both label every ordered pair of a sentence's gold drugs with a relation or none. Scores are of (head, tail, relation)
over the test split.
"""

from __future__ import annotations

from collections.abc import Sequence

from .records import AnnotatedSentence
from .statistics import relation_counts


NO_RELATION = "–"

Pair = tuple[AnnotatedSentence, int, int]


def majority(train: Sequence[AnnotatedSentence], test: Sequence[AnnotatedSentence]) -> list[str]:
    """The most frequent training relation from each drug to the leaflet's drug; none for other pairs."""
    label = relation_counts(train).most_common(1)[0][0]
    return [label if tail == 0 else NO_RELATION for _, _, tail in ordered_pairs(test)]


def tf_idf(train: Sequence[AnnotatedSentence], test: Sequence[AnnotatedSentence]) -> list[str]:
    """
    Logistic regression on TF-IDF of the character 1- to 3-grams between the two drugs and around them.

    Raises:
        ImportError: without scikit-learn.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline, make_union

    def vectorizer(text_of):  # type: ignore[no-untyped-def]
        return TfidfVectorizer(preprocessor=text_of, analyzer="char", ngram_range=(1, 3), sublinear_tf=True)

    # One binary problem per label, solved in one thread, so that figures do not depend on the number of cores.
    classifier = OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000, solver="liblinear"))
    model = make_pipeline(make_union(vectorizer(_between), vectorizer(_after), vectorizer(_order)), classifier)
    pairs = ordered_pairs(train)
    model.fit(pairs, gold(pairs))
    return list(model.predict(ordered_pairs(test)))


def ordered_pairs(sentences: Sequence[AnnotatedSentence]) -> list[Pair]:
    """All ordered pairs of different drugs of every sentence."""
    return [
        (sentence, head, tail)
        for sentence in sentences
        for head in range(len(sentence.entities))
        for tail in range(len(sentence.entities))
        if head != tail
    ]


def gold(pairs: Sequence[Pair]) -> list[str]:
    """The annotated label of each pair."""
    return [
        next((kind for h, t, kind in s.relations if (h, t) == (head, tail)), NO_RELATION) for s, head, tail in pairs
    ]


def score(labels: Sequence[str], predictions: Sequence[str]) -> tuple[float, float, float]:
    """Micro precision, recall and F1 of the relations, in percent."""
    correct = sum(p == label != NO_RELATION for label, p in zip(labels, predictions, strict=True))
    found, wanted = (sum(label != NO_RELATION for label in side) for side in (predictions, labels))
    precision, recall = (100 * correct / max(1, n) for n in (found, wanted))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def report(train: Sequence[AnnotatedSentence], test: Sequence[AnnotatedSentence]) -> str:
    """Both baselines as a Markdown table."""
    labels = gold(ordered_pairs(test))
    lines = ["| given the gold drugs | precision | recall | F1 |", "|---|---|---|---|"]
    systems = {
        "most frequent relation, from every drug to the leaflet's drug": majority(train, test),
        "logistic regression on TF-IDF of the text between and after the drugs": tf_idf(train, test),
    }
    for name, predictions in systems.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in score(labels, predictions)) + " |")
    return "\n".join(lines) + "\n"


def _bounds(pair: Pair) -> tuple[AnnotatedSentence, int, int]:
    sentence, head, tail = pair
    first, second = sorted((sentence.entities[head], sentence.entities[tail]))
    return sentence, first[1], second[0]


def _between(pair: Pair) -> str:
    sentence, start, end = _bounds(pair)
    return sentence.text[start:end]


def _after(pair: Pair) -> str:
    sentence, head, tail = pair
    return sentence.text[max(sentence.entities[head][1], sentence.entities[tail][1]) :]


def _order(pair: Pair) -> str:
    _, head, tail = pair
    return f"{'<' if head < tail else '>'}{'h' if head == 0 else 't' if tail == 0 else 'o'}"
