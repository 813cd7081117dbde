"""
Generate annotated sentences from a grammar: a few kinds of statements about drugs, expressed in many ways.

A corpus has few sentences for each drug, so that a model may learn what a drug usually does instead of what the
sentence says. Here, drugs are drawn at random, so that the relations follow only from the wording: who acts on whom,
negation, lists, headings, exceptions and hedges.

    python recipes/default_model/grammar.py --output runs/leaflets

writes the training data of the bundled model: the training split of CH-DDI-Open, without the leaflets held out for
validation, and generated sentences.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from datasets_scripts.ch_ddi.annotation_files import from_names, read_all, write_sentences
from datasets_scripts.ch_ddi.builder import SHIPPED
from datasets_scripts.ch_ddi.records import AnnotatedSentence
from modeling_iser.drugs_iser import core_name
from modeling_iser.text_iser import split_words


HERE = Path(__file__).parent
HELD_OUT = HERE / "held_out_drugs.txt"
"""Drugs of the training split whose leaflets are used for model selection and calibration instead of training."""
CONTRASTS = HERE.parent.parent / "benchmarks" / "bundled_model" / "contrast_sets" / "families.yaml"
PROMPT = "P"
"""The leaflet's drug as an argument of a relation."""


@dataclass(frozen=True)
class Phrase:
    """
    A phrase that mentions drugs.

    Attributes:
        text: the phrase, with every drug between ⟦ and ⟧.
        drugs: those that take part in the relation.
    """

    text: str
    drugs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A sentence and its relations, `(head, relation, tail)`."""

    text: str
    relations: tuple[tuple[str, str, str], ...] = ()


def mention(name: str) -> str:
    return f"⟦{name}⟧"


class Grammar:
    """
    Generates random sentences.

    Args:
        phrases: name → alternative phrases, from `grammar.yaml`.
        drugs, classes: names of drugs and drug classes.
        leaflets: drugs that have leaflets.
        generator: source of randomness.
    """

    def __init__(
        self,
        phrases: dict[str, list[str]],
        drugs: list[str],
        classes: list[str],
        leaflets: list[str],
        generator: random.Random,
    ) -> None:
        self.phrases, self.drugs, self.classes, self.leaflets = phrases, drugs, classes, leaflets
        self.random = generator
        self.drug = ""
        self.named = 0.0
        self.unused: list[str] = []
        self.unused_classes: list[str] = []

    # ----------------------------------------------------------------------------------------- phrases

    def pick(self, *names: str) -> str:
        """A random phrase from one of the lists, with its numbers filled in."""
        text = self.random.choice(self.phrases[self.random.choice(names)])
        return re.sub("<n>", lambda _: str(self.random.choice([12, 15, 20, 24, 30, 35, 45, 50, 65, 80, 110])), text)

    def one(self) -> Phrase:
        """A drug, or sometimes a class."""
        name = self.unused.pop() if self.random.random() < 0.8 else self.unused_classes.pop()
        if self.random.random() < 0.1:
            return self.described(name, self.unused_classes.pop())
        return Phrase(mention(name), (name,))

    def described(self, name: str, kind: str) -> Phrase:
        """A drug with its class, which takes no part in the relation."""
        shapes = [
            "{X}(一种{K})", "{X}(一种强效{K})", "{X}(是{K})", "{X}(为{K})", "{X}(属于{K})", "{X}(属{K}的一种)",
            "{K}{X}", "{X}属{K},", "{X}是一种{K},",
        ]  # fmt: skip
        text = self.random.choice(shapes).replace("{X}", mention(name)).replace("{K}", mention(kind))
        return Phrase(text, (name,))

    def some(self) -> Phrase:
        """One to five drugs and classes."""
        shape = self.random.random()
        if shape < 0.4:
            return self.one()
        if shape < 0.65:
            return self.several(self.random.choice([2, 2, 3, 3, 4, 5, 9]))
        kind = self.unused_classes.pop()
        members = self.several(self.random.choice([1, 2, 2, 3]), end=False)
        text = self.random.choice(
            [
                f"{mention(kind)}(如{members.text})",
                f"{mention(kind)}({members.text}等)",
                f"{mention(kind)}({members.text})",
                f"{mention(kind)}如{members.text}",
                f"{mention(kind)},包括{members.text}",
                f"{mention(kind)},例如{members.text}等",
                f"{members.text}等{mention(kind)}",
                f"{members.text}及其他{mention(kind)}",
            ]
        )
        if len(members.drugs) == 1 and self.random.random() < 0.3:
            return self.described(members.drugs[0], kind)
        return Phrase(text, (kind, *members.drugs))

    def several(self, count: int, end: bool = True) -> Phrase:
        """An enumeration of drugs."""
        names = [self.unused.pop() for _ in range(count)]
        mentions = [mention(name) for name in names]
        between = self.random.choice(["、", "、", "、", ","])
        if count == 1:
            text = mentions[0]
        elif self.random.random() < 0.5:
            text = between.join(mentions)
        else:
            text = between.join(mentions[:-1]) + self.random.choice(["和", "及", "或", "以及", "与"]) + mentions[-1]
        return Phrase(text + ("等" if end and count > 1 and self.random.random() < 0.25 else ""), tuple(names))

    def this(self) -> str:
        """A mention of the leaflet's drug."""
        own = core_name(self.drug)
        if self.random.random() < self.named and own != self.drug and own in self.drug:
            return mention(own)
        return self.random.choice(["本品", "本品", "本品", "本品", "本药"])

    # ----------------------------------------------------------------------------------------- statements

    def agent(self) -> Statement:
        """A subject acts on an object: X可升高Y的血药浓度."""
        relation, phrase = self.effect()
        other, hedge = self.some(), self.hedge(relation)
        if self.random.random() < 0.5:
            return self.said(f"{other.text}{hedge}{self.on(phrase, self.this())}", other, relation, PROMPT)
        subject = self.random.choice([self.this(), self.this(), self.this(), ""])
        return self.said(f"{subject}{hedge}{self.on(phrase, other.text)}", PROMPT, relation, other)

    def verb_and_object(self) -> Statement:
        """The object determines the relation: 促进…的吸收 raises a level, 促进…的排泄 lowers it."""
        more = self.random.random() < 0.5
        objects, relation = self.random.choice(
            [("absorption", "促进" if more else "抑制"), ("elimination", "抑制" if more else "促进"),
             ("action", "协同" if more else "拮抗")]
        )  # fmt: skip
        verb = self.pick(f"{'more' if more else 'less'} {objects}")
        where = self.random.choice(["", "", "在体内", "在肠道内"]) if objects == "absorption" else ""
        phrase = f"{verb}{{Y}}{where}的{self.pick(objects)}"
        other = self.some()
        hedge = self.hedge(relation)
        if self.random.random() < 0.6:
            return self.said(f"{other.text}{hedge}{self.on(phrase, self.this())}", other, relation, PROMPT)
        return self.said(f"{self.this()}{hedge}{self.on(phrase, other.text)}", PROMPT, relation, other)

    def between(self) -> Statement:
        """One drug acts on another, without the leaflet's drug."""
        relation, phrase = self.effect()
        first, second = self.some(), self.some()
        if self.random.random() < 0.6:
            kind = self.unused_classes.pop()
            first = Phrase(mention(kind), (kind,))
        text = f"{first.text}{self.hedge(relation)}{self.on(phrase, second.text)}"
        return Statement(text, tuple((head, relation, tail) for head in first.drugs for tail in second.drugs))

    def mutual(self) -> Statement:
        """The levels of both drugs change: relations in both directions."""
        other = self.one()
        relation = self.random.choice(["促进", "抑制"])
        before = self.pick("combined").replace("{X}", other.text).replace("{P}", self.this())
        both = self.said(f"{before},{self.pick(f'mutual {relation}')}", other, relation, PROMPT)
        return Statement(both.text, (*both.relations, *((tail, kind, head) for head, kind, tail in both.relations)))

    def with_reason(self) -> Statement:
        """The reason comes first: 因可加重心脏毒性,本品与X同用时应减量."""
        other = self.some()
        reason = self.pick("reason")
        if self.random.random() < 0.5:
            outcome = self.pick("forbidden").replace("{X}", other.text).replace("{P}", self.this())
            return self.said(f"{reason},{outcome}", other, "禁忌", PROMPT)
        before = self.pick("combined").replace("{X}", other.text).replace("{P}", self.this())
        return self.said(f"{reason},{before},{self.pick('relevant')}", other, "协同", PROMPT)

    def passive(self) -> Statement:
        """The object comes first: Y的代谢可被X抑制."""
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗", "无关"])
        other = self.some()
        phrase = self.pick(f"passive {relation}")
        if self.random.random() < 0.5:
            return self.said(phrase.replace("{Y}", self.this()).replace("{X}", other.text), other, relation, PROMPT)
        return self.said(phrase.replace("{Y}", other.text).replace("{X}", self.this()), PROMPT, relation, other)

    def together(self) -> Statement:
        """In combination, one of the drugs changes: 与X合用,后者血药浓度升高."""
        relation, phrase = self.change()
        other = self.one()
        template = self.pick("combined")
        before = template.replace("{X}", other.text).replace("{P}", self.this())
        if self.random.random() < 0.5:
            own = self.this() + self.random.choice(["", "的"] if "的" not in phrase else [""])
            return self.said(f"{before},{own}{phrase}", other, relation, PROMPT)
        # 前者 and 后者 refer to the drugs in the order of mention; an unmentioned 本品 counts as the first.
        first_is_other = "{P}" in template and template.index("{X}") < template.index("{P}")
        former = "{P}" in template and self.random.random() < 0.3
        word = self.random.choice(["前者", "前者的"] if former else ["后者", "后者", "后者的"])
        if former == first_is_other:
            return self.said(f"{before},{word}{phrase}", PROMPT, relation, other)
        return self.said(f"{before},{word}{phrase}", other, relation, PROMPT)

    def topic(self) -> Statement:
        """The level of the drug that the sentence begins with changes: X与本品合用时血药浓度升高."""
        relation = self.random.choice(["促进", "抑制"])
        change = self.random.choice(["", "", "可", "会", "可能", "其"]) + self.pick(f"level {relation}")
        together = self.pick("used together") + self.random.choice(["时", "时", "时,", "后", "后,"])
        other = self.some()
        if self.random.random() < 0.6:
            text = f"{other.text}与{self.this()}{together}{change}"
            return self.said(text, PROMPT, relation, other)
        first = self.random.choice([self.this(), self.this(), ""])
        return self.said(f"{first}与{other.text}{together}{change}", other, relation, PROMPT)

    def with_food(self) -> Statement:
        """After the statement, food or drink is to be avoided, which says nothing of the drugs."""
        statement = self.random.choice([self.agent, self.together, self.topic, self.passive])()
        aside = self.random.choice([",", ";", ";", "。"]) + self.pick("avoid food")
        return Statement(statement.text + aside, statement.relations)

    def named_again(self) -> Statement:
        """The other drug is named twice: 本品与X合用,X的血药浓度升高. The relation is with its first mention."""
        relation, phrase = self.change()
        name = self.unused.pop()
        other = Phrase(mention(name), (name,))
        template = self.pick("combined")
        before = template.replace("{X}", other.text).replace("{P}", self.this())
        if self.random.random() < 0.4:
            relation, effect = self.effect()
            clause = f"{self.hedge(relation)}{self.on(effect, other.text)}"
        else:
            clause = f"{self.random.choice([',', ',', '时,'])}{other.text}的{phrase}" if "的" not in phrase else ""
        clause = clause or f",{other.text}{phrase}"
        return self.said(f"{before.rstrip('时')}{clause}", PROMPT, relation, other)

    def joint(self) -> Statement:
        """A combined effect without an agent: 与X合用,出血风险增加."""
        other = self.some()
        relation = self.random.choice(["协同", "协同", "拮抗", "无关", "无关", "加成", "禁忌", "禁忌", "", ""])
        if relation == "禁忌":
            return self.said(
                self.pick("forbidden").replace("{X}", other.text).replace("{P}", self.this()), other, relation, PROMPT
            )
        before = self.pick("combined").replace("{X}", other.text).replace("{P}", self.this())
        return self.said(f"{before},{self.pick(f'joint {relation}'.strip())}", other, relation, PROMPT)

    def alone(self) -> Statement:
        """Fixed statements about safety, timing or dose, or that nothing is known."""
        other = self.some()
        relation = self.random.choice(["无关", "", ""])
        text = self.pick("whole 无关" if relation else "whole")
        return self.said(text.replace("{X}", other.text).replace("{P}", self.this()), other, relation, PROMPT)

    def allowed(self) -> Statement:
        """A prohibition, or similar words with the opposite meaning: 不可以与X合用; 并非不可以与X合用."""
        other = self.some()
        names, relation = self.random.choice([("allowed", "无关"), ("allowed", "无关"), ("not allowed", "禁忌")])
        text = self.pick(names).replace("{X}", other.text).replace("{P}", self.this())
        if relation == "无关" and self.random.random() < 0.5:
            text += self.random.choice([",", ",", ";"]) + self.pick("no interaction")
        return self.said(text, other, relation, PROMPT)

    def after_colon(self) -> Statement:
        """A list after a colon: 下列药物可升高本品的血药浓度:X、Y."""
        others = self.several(self.random.choice([2, 3, 3, 4, 5, 6, 10])) if self.random.random() < 0.8 else self.some()
        those = self.random.choice(["下列药物", "以下药物", "下述药物", "下列各药", "如下药物"])
        kind = self.random.random()
        if kind < 0.2:
            text, relation = self.pick("list 无关"), "无关"
        elif kind < 0.35:
            text, relation = self.pick("list 禁忌"), "禁忌"
        elif kind < 0.42:
            text, relation = self.pick("list"), ""
        else:
            relation, phrase = self.effect()
            hedge = self.hedge(relation)
            if self.random.random() < 0.5:
                return self.said(
                    f"{self.this()}{hedge}{self.on(phrase, those)}:{others.text}", PROMPT, relation, others
                )
            start = self.random.choice(
                [
                    f"{those}{hedge}{self.on(phrase, self.this())}",
                    f"{hedge if relation != '无关' else ''}{self.on(phrase, self.this())}的药物",
                    f"{hedge if relation != '无关' else ''}{self.on(phrase, self.this())}的药物有",
                    f"{those}与{self.this()}合用时,{hedge}{self.on(phrase, self.this())}",
                ]
            )
            return self.said(f"{start}:{others.text}", others, relation, PROMPT)
        text = text.replace("{those}", those).replace("{P}", self.this())
        return self.said(f"{text}:{others.text}", others, relation, PROMPT)

    def heading(self) -> Statement:
        """A drug as a heading: X:与本品合用时,其血药浓度升高."""
        other = self.some()
        before = self.random.choice(
            [
                "与本品合用时,",
                "与本品合用,",
                "合用时",
                "",
                "同时服用,",
                "与本药同用时,",
                "本品与其合用,",
                "本品与之同用时,",
            ]
        )
        colon = self.random.choice([":", ":", "——", ":"])
        kind = self.random.random()
        if kind < 0.3:
            relation, phrase = self.change()
            own = "" if before.startswith("本品") else self.this()
            return self.said(f"{other.text}{colon}{before}{own}{phrase}", other, relation, PROMPT)
        if before.startswith("本品"):
            before = ""
        if kind < 0.5:
            relation, phrase = self.change()
            its = self.random.choice(["其", "其", "后者", "该药"])
            return self.said(f"{other.text}{colon}{before}{its}{phrase}", PROMPT, relation, other)
        if kind < 0.7:
            relation, phrase = self.effect()
            return self.said(
                f"{other.text}{colon}{before}{self.hedge(relation)}{self.on(phrase, self.this())}",
                other,
                relation,
                PROMPT,
            )
        if kind < 0.8:
            relation, phrase = self.effect()
            clause = f"{self.this()}{self.hedge(relation)}{self.on(phrase, '其')}"
            return self.said(f"{other.text}{colon}{clause}", PROMPT, relation, other)
        relation = self.random.choice(["协同", "无关", "加成", "禁忌", ""])
        text = self.pick(f"heading {relation}".strip() if relation in ("禁忌",) else f"joint {relation}".strip())
        return self.said(f"{other.text}{colon}{before}{text}", other, relation, PROMPT)

    def two(self) -> Statement:
        """Two complete clauses: X增强本品的作用,而Y减弱本品的作用."""
        first, second = self.one(), self.one()
        parts = []
        relations: list[tuple[str, str, str]] = []
        towards_prompt = self.random.random() < 0.6
        for other in (first, second):
            relation, phrase = self.effect()
            if towards_prompt:
                statement = self.said(
                    f"{other.text}{self.hedge(relation)}{self.on(phrase, self.this())}", other, relation, PROMPT
                )
            else:
                subject = self.this() if not parts else ""
                statement = self.said(
                    f"{subject}{self.hedge(relation)}{self.on(phrase, other.text)}", PROMPT, relation, other
                )
            parts.append(statement.text)
            relations += statement.relations
        joined = self.random.choice([",而", ",但", ",", ",同时", ";", ",却"]).join(parts)
        return Statement(joined, tuple(relations))

    def two_in_short(self) -> Statement:
        """Two clauses with ellipsis: X可增强本品的作用,Y则不然; X增强而Y减弱本品的作用."""
        first, second = self.one(), self.one()
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗"])
        shape = self.random.random()
        if shape < 0.3:
            clause = f"{first.text}{self.hedge(relation)}{self.on(self.pick(f'effect {relation}'), '本品')}"
            otherwise = self.random.choice(["则不", "却不然", "则无此作用", "没有这种影响", "则不会"])
            text = f"{clause},{second.text}{otherwise}"
            relations = ((first.drugs[0], relation, PROMPT), (second.drugs[0], "无关", PROMPT))
        elif shape < 0.6:
            subject = self.random.choice(["本品的血药浓度", "本品的浓度", "本品的暴露量"])
            verbs = {"促进": ["使之升高", "可使其增加", "则使其上升"], "抑制": ["使之降低", "可使其下降", "则使其减少"]}
            relation = self.random.choice(["促进", "抑制"])
            unchanged = self.random.choice([f"不改变{subject}", f"对{subject}没有影响", f"未改变{subject}"])
            text = f"{first.text}{unchanged},{second.text}{self.random.choice(verbs[relation])}"
            relations = ((first.drugs[0], "无关", PROMPT), (second.drugs[0], relation, PROMPT))
        else:
            pairs = [("加强", "协同", "削弱", "拮抗", "的疗效"), ("提高", "促进", "降低", "抑制", "的血药浓度")]
            up, up_label, down, down_label, what = self.random.choice(pairs)
            ends = [(up, up_label), (down, down_label)]
            self.random.shuffle(ends)
            (verb, label), (other_verb, other_label) = ends
            if self.random.random() < 0.5:
                text = f"{first.text}{verb}而{second.text}{other_verb}{self.this()}{what}"
                relations = ((first.drugs[0], label, PROMPT), (second.drugs[0], other_label, PROMPT))
            else:
                middle = self.random.choice([",", ",而", ",但"])
                text = f"{self.this()}{verb}{first.text}{what}{middle}{other_verb}{second.text}{what}"
                relations = ((PROMPT, label, first.drugs[0]), (PROMPT, other_label, second.drugs[0]))
        return Statement(text, relations)

    def exception(self) -> Statement:
        """除X外,其他K可增强本品作用: the relation holds only for the class."""
        excepted = self.one() if self.random.random() < 0.7 else self.several(2, end=False)
        kind = self.unused_classes.pop()
        whole = Phrase(mention(kind), (kind,))
        subject = self.random.choice(
            [
                f"除{excepted.text}外,其他{whole.text}",
                f"除{excepted.text}以外的{whole.text}",
                f"{whole.text}(除{excepted.text}外)",
                f"{whole.text}({excepted.text}除外)",
                f"除了{excepted.text},{whole.text}",
            ]
        )
        if self.random.random() < 0.4:
            return self.said(
                f"{subject}{self.random.choice(['禁与本品合用', '不得与本品同用', '均不宜与本品合用'])}",
                whole,
                "禁忌",
                PROMPT,
            )
        relation, phrase = self.effect()
        return self.said(
            f"{subject}{self.random.choice(['均', '都', ''])}{self.hedge(relation)}{self.on(phrase, '本品')}",
            whole,
            relation,
            PROMPT,
        )

    def conclusion(self) -> Statement:
        """A finding and its significance: 虽升高…,但无临床意义."""
        other = self.one()
        relation = self.random.choice(["促进", "抑制"])
        phrase = self.pick(f"effect {relation}")
        head, tail = (other, PROMPT) if self.random.random() < 0.6 else (PROMPT, other)
        subject = other.text if head is other else self.this()
        clause = self.on(phrase, self.this() if tail is PROMPT else other.text)
        kind = self.random.random()
        if kind < 0.45:
            start = self.random.choice(["虽", "虽可", "虽然", "轻度", "可", "略"])
            if start in ("轻度", "略") and not re.match("升高|提高|增加|降低|减少", clause):
                start = "虽"
            return self.said(f"{subject}{start}{clause},{self.pick('irrelevant')}", head, "无关", tail)
        if kind < 0.8:
            return self.said(f"{subject}{self.hedge(relation)}{clause},{self.pick('relevant')}", head, relation, tail)
        return self.said(f"{subject}{self.hedge(relation)}{clause},{self.pick('banned')}", other, "禁忌", PROMPT)

    def no_drug(self) -> Statement:
        """Food, drink, diseases and tests, which are not drugs, act or are acted on."""
        actor = self.pick("no drug")
        relation, phrase = self.effect()
        if self.random.random() < 0.6:
            return Statement(f"{actor}{self.hedge(relation)}{self.on(phrase, self.this())}")
        if self.random.random() < 0.5:
            return Statement(self.pick("no drug whole").replace("{P}", self.this()))
        other = self.one()
        joined = self.random.choice([f"{other.text}、{actor}", f"{actor}和{other.text}", f"{other.text}以及{actor}"])
        return self.said(f"{joined}均{self.hedge(relation) or '可'}{self.on(phrase, '本品')}", other, relation, PROMPT)

    def open_direction(self) -> Statement:
        """影响…的浓度, without a direction of the effect: no relation."""
        other = self.some()
        phrase = self.pick("open")
        hedge = self.random.choice(["可", "可能", "会", "能", "可明显"])
        if self.random.random() < 0.5:
            return Statement(f"{other.text}{hedge}{self.on(phrase, self.this())}")
        return Statement(f"{self.this()}{hedge}{self.on(phrase, other.text)}")

    # ------------------------------------------------------------------------------------------ helpers

    def effect(self) -> tuple[str, str]:
        """A relation, and a verb phrase with the placeholder {Y} for its object."""
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗", "无关", "无关"])
        return relation, self.pick(f"effect {relation}")

    def change(self) -> tuple[str, str]:
        """A relation, and a phrase for what happens to its tail."""
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗", "无关"])
        return relation, self.pick(f"change {relation}")

    def hedge(self, relation: str) -> str:
        """A modal verb or adverb that keeps the relation; for 无关, one that fits a negation."""
        if relation == "无关":
            return self.random.choice(["", "", "并", "均", "一般", "似"])
        return self.random.choice(["可", "可", "能", "可能", "会", "", "偶可", "明显", "据报道可", "有时可"])

    def on(self, phrase: str, tail: str) -> str:
        return phrase.replace("{Y}", tail)

    def said(self, text: str, head: Phrase | str, relation: str, tail: Phrase | str) -> Statement:
        """
        A statement with a relation from every head to every tail; that of 禁忌 and 加成 is always the leaflet's drug.
        """
        if not relation:
            return Statement(text)
        if relation in ("禁忌", "加成") and head == PROMPT:
            head, tail = tail, head
        heads, tails = (side.drugs if isinstance(side, Phrase) else (side,) for side in (head, tail))
        return Statement(text, tuple((h, relation, t) for h in heads for t in tails))

    def untidy(self, text: str) -> str:
        """Add the numbering and punctuation of real leaflets."""
        text = text.replace("均均", "均")
        if self.random.random() < 0.12:
            text = self.pick("before") + text
        if self.random.random() < 0.05:
            text = re.sub("⟦(.*?)⟧", r"【⟦\1⟧】", text, count=1)
        if self.random.random() < 0.05:
            text = re.sub("⟦(.*?)⟧", r" ⟦\1⟧ ", text)
        if self.random.random() < 0.15:
            text = self.random.choice(["1.", "2、", "(3)", "④", "5)", "(2)", "一、"]) + text
        if self.random.random() < 0.3:
            text = text.translate(str.maketrans(",:;()", ",:;()"))
        if self.random.random() < 0.1:
            text += "。"
        return text

    def doubt(self) -> Statement:
        """An effect that cannot be ruled out: 不排除X升高本品浓度的可能."""
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗"])
        other, phrase = self.one(), self.pick(f"effect {relation}")
        if self.random.random() < 0.6:
            head, tail = other, PROMPT
            clause = f"{other.text}{self.on(phrase, self.this())}"
        else:
            head, tail = PROMPT, other
            clause = f"{self.this()}{self.on(phrase, other.text)}"
        frame = self.pick("doubt")
        return self.said(frame.replace("{…}", clause), head, relation, tail)

    def no_evidence(self) -> Statement:
        """An effect without evidence: 没有证据表明X升高本品的浓度."""
        relation = self.random.choice(["促进", "抑制", "协同", "拮抗"])
        other, phrase = self.one(), self.pick(f"effect {relation}")
        frame = self.pick("no evidence")
        if self.random.random() < 0.6:
            return self.said(frame.replace("{…}", f"{other.text}{self.on(phrase, self.this())}"), other, "无关", PROMPT)
        return self.said(frame.replace("{…}", f"{self.this()}{self.on(phrase, other.text)}"), PROMPT, "无关", other)

    def new_drug(self) -> str:
        """A drug with salt and dosage form, as leaflets name it: 盐酸…片."""
        while True:
            name = self.random.choice(self.drugs)
            acid = self.random.choice(["", "", "", "盐酸", "硫酸", "马来酸", "酒石酸", "富马酸", "枸橼酸", "甲磺酸"])
            drug = (
                acid
                + name
                + self.random.choice(["片", "片", "胶囊", "缓释片", "注射液", "颗粒", "分散片", "肠溶片", "口服溶液"])
            )
            if core_name(drug) == name:
                return drug

    def sentence(self) -> AnnotatedSentence:
        """A sentence from the leaflet of a random drug, in which no name is part of a longer word."""
        while True:
            sentence = self.draw()
            starts, ends = map(set, zip(*split_words(sentence.text), strict=True))
            if all(start in starts and end in ends for start, end in sentence.entities):
                return sentence

    def draw(self) -> AnnotatedSentence:
        """A sentence in which a name may be part of a longer word, such as MAOI in MAOIAUC."""
        self.drug = self.random.choice(self.leaflets) if self.random.random() < 0.4 else self.new_drug()
        own = core_name(self.drug)
        free = [name for name in self.drugs if name not in self.drug and own not in name and name not in own]
        self.named = self.random.choice([0.0, 0.3, 0.9])
        self.unused = _apart(self.random.sample(free, 24))
        self.unused_classes = _apart(self.random.sample(self.classes, 8))
        kinds: list[tuple[Callable[[], Statement], int]] = [
            (self.agent, 6), (self.passive, 1), (self.together, 4), (self.joint, 4), (self.alone, 4),
            (self.after_colon, 5), (self.heading, 4), (self.two, 3), (self.two_in_short, 2), (self.exception, 2),
            (self.conclusion, 2), (self.no_drug, 2), (self.open_direction, 1), (self.between, 3), (self.mutual, 1),
            (self.with_reason, 1), (self.doubt, 1), (self.no_evidence, 1), (self.named_again, 2),
            (self.verb_and_object, 3), (self.allowed, 3), (self.topic, 3), (self.with_food, 3),
        ]  # fmt: skip
        draw = self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        statement = draw()
        text = self.untidy(statement.text)
        names = [self.drug, *re.findall("⟦(.*?)⟧", text)]
        relations = [[self.drug if end == PROMPT else end for end in (h, t)] + [r] for h, r, t in statement.relations]
        record = {
            "text": f"{self.drug}@" + re.sub("[⟦⟧]", "", text),
            "entities": names,
            "relations": [[head, relation, tail] for head, tail, relation in relations],
        }
        return from_names(record)


def _apart(names: list[str]) -> list[str]:
    """The names that are not part of another name."""
    return [name for name in names if not any(name != other and name in other for other in names)]


def make_grammar(training: list[AnnotatedSentence], seed: int) -> Grammar:
    """Make a grammar with the drugs of a training split."""
    phrases = yaml.safe_load((HERE / "grammar.yaml").read_text(encoding="utf-8"))
    mentions = sorted({sentence.drug(i) for sentence in training for i in range(1, len(sentence.entities))})
    leaflets = sorted({sentence.drug(0) for sentence in training})
    mentions = [
        name for name in mentions if "@" not in name and 2 <= len(name) <= 14 and not re.search("[,、。;::]", name)
    ]
    is_class = re.compile("(药|药物|剂|类|制剂|素类|苷|激素|疫苗|抗生素)$|[类的]|药$")
    classes = [name for name in mentions if is_class.search(name)]
    drugs = [name for name in mentions if not is_class.search(name)]
    return Grammar(phrases, drugs, classes, leaflets, random.Random(seed))


def contrast_frames() -> set[str]:
    """The frames of the contrast sets without names; no training sentence may match one."""
    frames = yaml.safe_load(CONTRASTS.read_text(encoding="utf-8"))
    return {_without_names(re.sub("{.}", "⟦⟧", frame.partition("=>")[0])) for each in frames.values() for frame in each}


def masked(sentence: AnnotatedSentence) -> str:
    """The sentence without names, punctuation and prompt."""
    parts, end = [], 0
    for start, stop in sentence.entities:
        parts.append(sentence.text[end:start])
        end = stop
    return _without_names("⟦⟧".join([*parts, sentence.text[end:]]).partition("@")[2])


def _without_names(text: str) -> str:
    return re.sub(r"[^\w⟦⟧]", "", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=2500, help="generated sentences (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="directory for train.jsonl and validation.jsonl")
    arguments = parser.parse_args()
    shipped = [sentence for _, sentence in read_all(SHIPPED / "train.jsonl", "paper")[0]]
    # The list is fixed, so that leaflets once held out are never trained on.
    drugs = HELD_OUT.read_text(encoding="utf-8").splitlines()
    training, held_out = ([s for s in shipped if (s.leaflet in drugs) == out] for out in (False, True))
    grammar = make_grammar(training, arguments.seed)
    tested = contrast_frames()
    generated: dict[str, AnnotatedSentence] = {}
    while len(generated) < arguments.sentences:
        sentence = grammar.sentence()
        if masked(sentence) not in tested:
            generated[sentence.text] = sentence
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, sentences in {"train": [*training, *generated.values()], "validation": held_out}.items():
        write_sentences(sentences, arguments.output / f"{name}.jsonl", "paper")
        print(f"{arguments.output / name}.jsonl: {len(sentences)} sentences")


if __name__ == "__main__":
    main()
