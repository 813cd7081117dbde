"""
How close the sentences of a corpus are to reference sentences.

    python -m benchmarks.bundled_model.style REFERENCE.jsonl datasets_scripts/ch_ddi/data/train.jsonl OTHER.jsonl

Each file holds JSON lines with a `text`, in which everything up to `@` is ignored. Distances are 1 − cosine of TF-IDF
vectors of character 1- to 3-grams, with document frequencies from all files together: between the mean vectors of the
files, and from each reference sentence to the nearest sentence of the file, on average.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def distances(reference: Sequence[str], corpora: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """
    For each corpus, the distance of its mean vector from the reference's, and the mean distance from a reference
    sentence to the nearest one in the corpus. The latter looks at as many sentences as the smallest corpus has, evenly
    spaced, because a larger corpus would have nearer ones by its size alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    vectorizer.fit([*reference, *(text for texts in corpora.values() for text in texts)])
    target = vectorizer.transform(reference)
    center = np.asarray(target.mean(axis=0)).ravel()
    least = min(map(len, corpora.values()))
    found = {}
    for name, texts in corpora.items():
        vectors = vectorizer.transform(texts)
        mean = np.asarray(vectors.mean(axis=0)).ravel()
        cosine = mean @ center / (np.linalg.norm(mean) * np.linalg.norm(center))
        sample = vectors[np.linspace(0, len(texts) - 1, least).round().astype(int)]
        nearest = np.asarray((target @ sample.T).max(axis=1).todense()).ravel()
        found[name] = (1 - float(cosine), 1 - float(nearest.mean()))
    return found


def read_texts(path: Path) -> list[str]:
    """The sentences of a file without their prompts."""
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines if line.strip()]
    return [text.partition("@")[2] or text for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    corpora = {str(file): read_texts(file) for file in arguments.files}
    print("| sentences | number | distance of the means | distance to the nearest |\n|---|---|---|---|")
    for name, (mean, nearest) in distances(read_texts(arguments.reference), corpora).items():
        print(f"| {name} | {len(corpora[name])} | {mean:.3f} | {nearest:.3f} |")


if __name__ == "__main__":
    main()
