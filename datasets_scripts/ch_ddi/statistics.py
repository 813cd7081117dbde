"""The paper's Tables 1 and 2 for any corpus, and the drugs of held-out splits that do not occur in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .records import CH_DDI_RELATION_TYPES, AnnotatedSentence


ENGLISH = dict(
    zip(
        CH_DDI_RELATION_TYPES,
        ("antagonism", "inhibition", "synergy", "taboo", "irrelevance", "promotion", "addition"),
        strict=True,
    )
)
# The paper's figures for CH-DDI (Tables 1 and 2): sentences, entities and relations; then relations by type.
PAPER_SIZES = {"train": (585, 1830, 1276), "test": (147, 527, 386)}
PAPER_RELATIONS = {
    "train": dict(zip(CH_DDI_RELATION_TYPES, (252, 120, 319, 279, 187, 95, 24), strict=True)),
    "test": dict(zip(CH_DDI_RELATION_TYPES, (76, 22, 118, 91, 31, 42, 6), strict=True)),
}

Splits = Mapping[str, Sequence[AnnotatedSentence]]


def statistics(splits: Splits) -> str:
    """Markdown tables of sentences, drugs and relations for each split, beside the paper's figures."""
    lines = [
        "| split | drugs with leaflets | sentences | entities | relations | paper: sentences / entities / relations |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, sentences in splits.items():
        paper = " / ".join(map(str, PAPER_SIZES[name])) if name in PAPER_SIZES else "–"
        leaflets = len({sentence.leaflet for sentence in sentences})
        entities = sum(len(sentence.entities) for sentence in sentences)
        relations = sum(len(sentence.relations) for sentence in sentences)
        lines.append(f"| {name} | {leaflets} | {len(sentences)} | {entities} | {relations} | {paper} |")
    lines += ["", "| relation | English | " + " | ".join(f"{name} | share | paper" for name in splits) + " |"]
    lines.append("|---|---|" + "---|---|---|" * len(splits))
    counts = {name: relation_counts(sentences) for name, sentences in splits.items()}
    for relation in CH_DDI_RELATION_TYPES:
        cells = [relation, ENGLISH[relation]]
        for name in splits:
            paper_counts = PAPER_RELATIONS.get(name)
            paper = (
                f"{paper_counts[relation]} ({_share(paper_counts[relation], paper_counts)})" if paper_counts else "–"
            )
            cells += [str(counts[name][relation]), _share(counts[name][relation], counts[name]), paper]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_further(splits)]
    return "\n".join(lines) + "\n"


def relation_counts(sentences: Sequence[AnnotatedSentence]) -> Counter[str]:
    """Number of times that each relation occurs in the sentences."""
    return Counter(relation for sentence in sentences for *_, relation in sentence.relations)


def _share(count: int, counts: Mapping[str, int]) -> str:
    return f"{100 * count / max(1, sum(counts.values())):.1f} %"


def _further(splits: Splits) -> list[str]:
    everything = [sentence for sentences in splits.values() for sentence in sentences]
    lengths = [len(sentence.text.partition("@")[2] or sentence.text) for sentence in everything]
    without = sum(not sentence.relations for sentence in everything)
    several = sum(len({relation for *_, relation in sentence.relations}) > 1 for sentence in everything)
    lines = [
        f"- {without} of {len(everything)} sentences hold no relation, {several} hold two or more different ones.",
        f"- Length without the prompt: {sum(lengths) / max(1, len(lengths)):.0f} characters on average, "
        f"at most {max(lengths, default=0)}.",
    ]
    mentions = {name: Counter(s.drug(i) for s in splits[name] for i in range(len(s.entities))) for name in splits}
    for name in [name for name in splits if name != "train"] if "train" in splits else []:
        unseen = mentions[name].keys() - mentions["train"].keys()
        lines.append(
            f"- {len(unseen)} of the {len(mentions[name])} different drug strings of the split `{name}`, "
            f"{sum(mentions[name][drug] for drug in unseen)} of its {mentions[name].total()} mentions, "
            "never occur in training."
        )
    return lines
