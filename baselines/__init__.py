"""The systems that can be trained: ISER with its variants, and the systems that the paper compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modeling_iser import VARIANTS, IserForJointExtraction, JointExtractionModel

from .casrel import CasRelForJointExtraction
from .graphrel import GraphRelForJointExtraction
from .multihead import MultiHeadForJointExtraction
from .onerel import OneRelForJointExtraction
from .spn4re import Spn4ReForJointExtraction
from .ster import TEACHERS, SterForJointExtraction
from .w2ner import W2NerForJointExtraction


@dataclass(frozen=True)
class System:
    """
    A system that can be trained.

    Attributes:
        model: the model class.
        fields: configuration fields that define the system.
        teachers: systems to train first, by name, from which the model then learns.
    """

    model: type[JointExtractionModel]
    fields: Mapping[str, Any] = field(default_factory=dict)
    teachers: Mapping[str, System] = field(default_factory=dict)


SYSTEMS: dict[str, System] = {
    **{name: System(IserForJointExtraction, fields) for name, fields in VARIANTS.items()},
    "casrel": System(CasRelForJointExtraction),
    "onerel": System(OneRelForJointExtraction),
    "spn4re": System(Spn4ReForJointExtraction),
    "multihead": System(MultiHeadForJointExtraction),
    "graphrel_1p": System(GraphRelForJointExtraction, {"phases": 1}),
    "graphrel_2p": System(GraphRelForJointExtraction, {"phases": 2}),
    "ster": System(
        SterForJointExtraction,
        teachers={name: System(SterForJointExtraction, {"privileged": what}) for name, what in TEACHERS.items()},
    ),
    "w2ner": System(W2NerForJointExtraction),
}
"""All systems by name."""

__all__ = ["SYSTEMS", "System"]
