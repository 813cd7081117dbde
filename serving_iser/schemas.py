"""Schemas of requests and answers, for validation and for the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from modeling_iser.handler import check_request


MAX_ENTITIES = 100
"""Given entities per text, limited because the model scores every pair of them."""

MAX_DRUG_CHARACTERS = 200
"""Characters in the name of a drug, limited because the model reads it with every sentence."""

_TEXT = "与阿司匹林合用,出血的危险增加"
_DRUG = "华法林钠片"
_STRICT = ConfigDict(extra="forbid", strict=True)

Drug = Annotated[str, Field(max_length=MAX_DRUG_CHARACTERS, description="the drug whose leaflet the text is from")]
Share = Annotated[float, Field(ge=0, le=1)]


class GivenEntity(BaseModel):
    """A given entity. Offsets count the characters of the text."""

    model_config = _STRICT

    start: int
    end: int
    type: str | None = Field(default=None, description="may be omitted if the model has only one type")


class Text(BaseModel):
    """A text with its own drug and entities."""

    model_config = _STRICT | ConfigDict(json_schema_extra={"examples": [{"text": _TEXT, "drug": _DRUG}]})

    text: str
    drug: Drug | None = None
    entities: list[GivenEntity] | None = Field(
        default=None, max_length=MAX_ENTITIES, description="if given, only relations between these are scored"
    )


class Parameters(BaseModel):
    """Parameters of the pipeline; omitted ones have the pipeline's defaults."""

    model_config = _STRICT | ConfigDict(json_schema_extra={"examples": [{"drug": _DRUG, "triples": True}]})

    drug: Drug | None = None
    triples: bool | None = Field(default=None, description="answer with flat triples instead")
    split_sentences: bool | None = Field(
        default=None, description="process each sentence separately; the default if a drug is given"
    )
    rules: bool | list[str] | None = Field(
        default=None, description="whether to apply the rules for leaflets, or the names of those to apply"
    )
    entity_threshold: Share | None = None
    relation_threshold: Share | None = None
    min_confidence: float | str | None = Field(
        default=None, description='least score of a relation, or a calibrated precision such as "95%"'
    )


def _as_objects(inputs: Any) -> Any:
    items = inputs if isinstance(inputs, list) else [inputs]
    return [{"text": item} if isinstance(item, str) else item for item in items]


class ExtractionRequest(BaseModel):
    """
    A text or an object with text and drug, or a list of these, and the parameters of the pipeline.

    Raises:
        ValidationError: for anything else, or more texts or characters than the handler accepts.
    """

    model_config = ConfigDict(extra="forbid")

    inputs: Annotated[list[Text], BeforeValidator(_as_objects, json_schema_input_type=str | Text | list[str | Text])]
    parameters: Parameters = Parameters()
    _is_list: bool = PrivateAttr(True)

    @model_validator(mode="wrap")
    @classmethod
    def _check_by_handler(cls, data: Any, validate: ModelWrapValidatorHandler[ExtractionRequest]) -> ExtractionRequest:
        if isinstance(data, bytes):
            raise ValueError("The body is not JSON, or its Content-Type is not application/json.")
        check_request(data)
        request = validate({name: value for name, value in data.items() if (name, value) != ("parameters", None)})
        request._is_list = isinstance(data["inputs"], list)
        return request

    @property
    def is_list(self) -> bool:
        """Whether the answer is a list: a single text gets a single answer."""
        return self._is_list

    def items(self) -> list[dict[str, Any]]:
        """The texts as inputs of the pipeline, each with its own drug or else the drug of the request."""
        items = [text.model_dump(exclude_none=True) for text in self.inputs]
        drug = self.parameters.drug
        return items if drug is None else [{"drug": drug, **item} for item in items]

    def shared(self) -> dict[str, Any]:
        """The parameters of the pipeline that apply to all texts."""
        return self.parameters.model_dump(exclude_none=True, exclude={"drug"})


class FoundEntity(BaseModel):
    """`text[start:end]` is the entity; start and end are null for the leaflet's drug under its given name."""

    text: str
    type: str
    start: int | None
    end: int | None
    score: float


class FoundRelation(BaseModel):
    """A relation with its score."""

    type: str
    head: FoundEntity
    tail: FoundEntity
    score: float


class Extraction(BaseModel):
    """The result for a text."""

    text: str
    drug: dict[str, Any] | None = Field(default=None, description="the leaflet's drug and where the text mentions it")
    entities: list[FoundEntity]
    relations: list[FoundRelation]


class Triple(BaseModel):
    """A relation in the answer to a request with `triples`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"head": "阿司匹林", "relation": "协同", "tail": _DRUG, "score": 0.98}]}
    )

    head: str
    relation: str
    tail: str
    score: float


Answer = Extraction | list[Triple] | list[Extraction] | list[list[Triple]]


class Problem(BaseModel):
    """The reason why there is no answer."""

    error: str


EXAMPLES: dict[str, Any] = {
    "a text": {"value": {"inputs": _TEXT, "parameters": {"drug": _DRUG, "triples": True}}},
    "several texts of one leaflet": {
        "value": {"inputs": [_TEXT, "本品不影响地高辛的血药浓度"], "parameters": {"drug": _DRUG}}
    },
    "texts of several leaflets": {
        "value": {
            "inputs": [{"text": _TEXT, "drug": _DRUG}, {"text": "与多巴胺合用,本品利尿作用加强", "drug": "布美他尼片"}]
        }
    },
    "known entities": {
        "value": {
            "inputs": {"text": _TEXT, "drug": _DRUG, "entities": [{"start": 1, "end": 5, "type": "药物"}]},
            "parameters": {"min_confidence": "90%"},
        }
    },
}
