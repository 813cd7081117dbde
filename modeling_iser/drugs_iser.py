"""
What entity types and names say of drugs.

`graph_iser` links to this file, because importing `modeling_iser` loads torch.
"""

from __future__ import annotations

import re


DRUG_TYPES = ("药物", "药品", "drug")
"""Names, in any case, of the entity type of drugs."""

OWN_DRUG = re.compile("本品|本药|该品")
"""What a leaflet calls its own drug."""

# Parts of a name that do not distinguish drugs: an acid before it; an ion, the release type and dosage form after it.
_ACID = re.compile(
    "(?:注射用|吸入用)?(?:盐酸|硫酸氢|硫酸|磷酸|氢溴酸|枸橼酸|柠檬酸|重?酒石酸|马来酸|富马酸|琥珀酸|苹果酸|乳酸|醋酸|乙酸|丙酸|戊酸|草酸"
    "|对?甲?苯磺酸|甲磺酸|双羟萘酸|糠酸)?"
)
_ION = re.compile("(?:钠盐|钾盐|钠|钾|钙|叔丁胺)?$")
_FORM = re.compile(
    "(?:(?:缓释|控释|肠溶|分散|咀嚼|泡腾|薄膜衣|口崩|舌下|透皮|口服|吸入|速释|双释放|软|干|鼻)*"
    "(?:片剂?|胶囊剂?|颗粒剂?|注射[液剂]|粉?针剂|口服[溶液]*|混悬[液剂]|溶液|糖浆|滴[剂眼液]*|凝胶|软膏|乳膏|贴[剂片]|栓剂?|散剂?|丸|气雾剂|粉雾剂"
    "|喷雾剂))?$"
)


def is_drug(entity_type: str) -> bool:
    """Whether entities of this type are drugs."""
    return entity_type.casefold() in DRUG_TYPES


def core_name(drug: str) -> str:
    """
    A drug's name without salt and dosage form: 盐酸二甲双胍缓释片 → 二甲双胍. A dosage form is removed only if at least
    two characters remain (钙片 stays 钙片), a salt only if three do (碳酸钙片 → 碳酸钙).
    """
    name = re.sub(r"[\s®™]|[(（][^()（）]*[)）]", "", drug)
    rest = _FORM.sub("", name)
    name = rest if len(rest) >= 2 else name
    for salt in (_ACID, _ION):
        found = salt.match(name) if salt is _ACID else salt.search(name)
        rest = name.removeprefix(found[0]) if salt is _ACID else name.removesuffix(found[0])  # type: ignore[index]
        name = rest if len(rest) >= 3 else name
    return name


__all__ = ["DRUG_TYPES", "OWN_DRUG", "core_name", "is_drug"]
