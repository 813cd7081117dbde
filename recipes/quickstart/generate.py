"""
Writes the quickstart's text, in SpERT's format and with CoNLL04's labels, and its small encoder.

    python recipes/quickstart/generate.py

People, firms and events are invented. A third of the names in the development and test files never occur in the
training file, so that a model has to read the sentence.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, PreTrainedTokenizerFast


HERE = Path(__file__).parent
SIZES = {"train": 480, "dev": 90, "test": 90}

FIRST = """Anna Per Ida Olof Greta Sven Maja Lars Elin Nils Karin Axel Britta Emil Hanna Oskar Vera Anton Selma Hugo Tilda
Malin Rolf Signe Arvid Ebba Gustav Lova Knut Alma""".split()
LAST = """Berg Falk Holm Lind Sand Strand Ek Dahl Frost Vik Rask Storm Bjork Krona Ljung Myr Nord Palm Quist Roos Sjo Torn
Ulv Wall Ahl Brask Djurberg Engman Flod Graninge""".split()
PLACE = """Lund Umea Malmo Kalmar Visby Falun Gavle Boden Kiruna Ystad Arvika Motala Orebro Skara Tidaholm Varberg Nora Sala
Hjo Mora Trosa Vaxholm Eslov Amal Sunne Rattvik Sveg Tierp Ockelbo Hagfors""".split()
LAND = "Norrland Scania Dalarna Gotland Halland Uppland Blekinge Varmland Medelpad Jamtland".split()
FIRM = """Harbour Timber Granite Amber Lantern Juniper Compass Anchor Birch Copper Falcon Glacier Heather Iron Kestrel Linen
Marble Nettle Orchard Pebble""".split()
KIND = "Bank|Mills|Press|Shipping|Steel Works|University|Institute|Radio|Railways|Insurance".split("|")
THING = """Monday Tuesday Friday Saturday|the Winter Games|the Amber Prize|the Harbour Act|the Midsummer Fair|the Northern
Treaty|the Lantern Festival""".replace("\n", " ").split("|")

# {P} person, {O} organisation, {L} place, {R} region, {X} other; a number tells two of a kind apart. After the bar,
# the relations.
PATTERNS = """
{P} , who works for {O} , lives in {L} . | P Work_For O, P Live_In L
{P} of {L} joined {O} last spring . | P Live_In L, P Work_For O
{O} of {L} named {P} its president . | O OrgBased_In L, P Work_For O
" We are pleased , " said {P} , a spokesman for {O} . | P Work_For O
{P} was born in {L} and moved to {L2} as a child . | P Live_In L, P Live_In L2
{O} , based in {L} , will hire forty people . | O OrgBased_In L
The {L} office of {O} was closed after {X} . | O OrgBased_In L
{L} , {R} , was quiet during {X} . | L Located_In R
A storm hit {L} in {R} late on {X} . | L Located_In R
{P} shot {P2} outside a hotel in {L} . | P Kill P2
{P} was convicted of killing {P2} in {L} , {R} . | P Kill P2, L Located_In R
Police believe that {P2} was murdered by {P} . | P Kill P2
{P} met {P2} at {X} in {L} . |
{O} and {O2} signed an agreement in {L} . |
The mayor of {L} praised {P} . |
{P} , the director of {O} , spoke at {X} . | P Work_For O
{O} moved its headquarters to {L} , {R} . | O OrgBased_In L, O OrgBased_In R, L Located_In R
{P} has lived in {L} , {R} , for ten years . | P Live_In L, P Live_In R, L Located_In R
Neither {P} nor {P2} could be reached on {X} . |
{P} left {O} and now teaches at {O2} in {L} . | P Work_For O2, O2 OrgBased_In L
Prices rose again , {O} reported . |
{X} will be held in {L} next year . |
Trains between {L} and {L2} were late . |
{P} , 43 , a farmer from {L} , won {X} . | P Live_In L
According to {O} in {L} , {P} was killed by {P2} . | O OrgBased_In L, P2 Kill P
Snow fell for three days and the roads were closed . |
{O} lawyer {P} lives near {L} . | P Work_For O, P Live_In L
In {R} , {O} employs more people than {O2} . | O OrgBased_In R
{P} and {P2} run {O} together . | P Work_For O, P2 Work_For O
{P} returned home to {L} after years abroad . | P Live_In L
"""
TYPES = {"P": "Peop", "O": "Org", "L": "Loc", "R": "Loc", "X": "Other"}


def name(kind: str, generator: random.Random, unseen: bool) -> list[str]:
    """A name as words; with `unseen`, from the part of the lists that training does not use."""

    def pick(words: list[str]) -> str:
        border = len(words) * 4 // 5
        return generator.choice(words[border:] if unseen else words[:border])

    if kind == "P":
        return [pick(FIRST), pick(LAST)] if generator.random() < 0.7 else [pick(LAST)]
    if kind == "O":
        return [pick(FIRM), *generator.choice(KIND).split()]
    if kind == "X":
        choice = generator.choice(THING)
        return [generator.choice(choice.split())] if choice.startswith("Monday") else choice.split()[1:]
    return [pick(PLACE if kind == "L" else LAND)]


def sentence(pattern: str, generator: random.Random, unseen_share: float) -> dict[str, Any]:
    """A record of a pattern with names filled in."""
    text, _, relations = pattern.partition("|")
    tokens: list[str] = []
    entities: list[dict[str, Any]] = []
    place: dict[str, int] = {}
    for word in text.split():
        slot = re.fullmatch(r"\{(\w)(\d?)\}", word)
        if slot is None:
            tokens.append(word)
            continue
        words = name(slot[1], generator, generator.random() < unseen_share)
        if slot[1] == "X" and words[0] not in ("Monday", "Tuesday", "Friday", "Saturday"):
            tokens.append("the")
        place[slot[1] + slot[2]] = len(entities)
        entities.append({"type": TYPES[slot[1]], "start": len(tokens), "end": len(tokens) + len(words)})
        tokens.extend(words)
    triples = [relation.split() for relation in relations.split(",") if relation.strip()]
    return {
        "tokens": tokens,
        "entities": entities,
        "relations": [{"type": kind, "head": place[head], "tail": place[tail]} for head, kind, tail in triples],
    }


def main() -> None:
    """Write the data and the encoder beside this file."""
    patterns = [line.strip() for line in PATTERNS.strip().splitlines()]
    generator = random.Random(7)
    texts: list[list[str]] = []
    for split, size in SIZES.items():
        records = []
        for index in range(size):
            record = sentence(patterns[index % len(patterns)], generator, 0.0 if split == "train" else 1 / 3)
            records.append({**record, "orig_id": index})
        lines = ",\n".join(json.dumps(record) for record in records)
        (HERE / f"conll04_{split}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        if split == "train":
            texts = [record["tokens"] for record in records]

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([" ".join(words) for words in texts], trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
    ).save_pretrained(HERE / "encoder")
    BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=128,
    ).save_pretrained(HERE / "encoder")


if __name__ == "__main__":
    main()
