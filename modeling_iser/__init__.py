"""ISER: joint entity and relation extraction with spans and an interactive fusion representation."""

import logging
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .collation_iser import IserCollator, MentionReplacement, Sentence, TrainingCollator, prepare_sentences
from .configuration_iser import PIPELINES, VARIANTS, IserConfig, JointExtractionConfig
from .modeling_base_iser import JointExtractionModel
from .modeling_iser import IserForJointExtraction, IserModel, IserModelOutput, IserOutput
from .pipeline_iser import DdiExtractionPipeline, JointExtractionPipeline
from .visualization_iser import Extraction, write_html


DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""The bundled checkpoint: Chinese drug-drug interactions."""

AutoConfig.register("iser", IserConfig, exist_ok=True)
AutoModel.register(IserConfig, IserForJointExtraction, exist_ok=True)
IserConfig.register_for_auto_class()
IserForJointExtraction.register_for_auto_class("AutoModel")


class _NoDefault(dict[str, Any]):
    """The default model of a task without one: a clear `ValueError` in place of transformers' `KeyError`."""

    def __getitem__(self, key: str) -> Any:
        raise ValueError(
            'pipeline("joint-extraction") has no default model. Pass one: model="path/to/checkpoint". The bundled '
            'model of drug-drug interactions is the default of pipeline("ddi-extraction").'
        )


def _is_relevant(record: logging.LogRecord) -> bool:
    """False for the warning that no model was given: using the bundled model is the normal case."""
    return f"No model was supplied, defaulted to {DEFAULT_MODEL}" not in record.getMessage()


logging.getLogger("transformers.pipelines").addFilter(_is_relevant)
_defaults: dict[str, dict[str, Any]] = {
    "joint-extraction": _NoDefault(model=None),
    "ddi-extraction": {"model": (str(DEFAULT_MODEL), None)},
}
for _pipeline in (JointExtractionPipeline, DdiExtractionPipeline):
    (_task,) = (task for task, name in PIPELINES.items() if name == _pipeline.__name__)
    PIPELINE_REGISTRY.register_pipeline(
        _task, pipeline_class=_pipeline, pt_model=AutoModel, default=_defaults[_task], type="text"
    )
    # Without the default model: its path must not be saved with a pipeline.
    _pipeline._registered_impl = {_task: {"impl": _pipeline, "pt": (AutoModel,), "type": "text"}}

__all__ = [
    "DEFAULT_MODEL",
    "VARIANTS",
    "DdiExtractionPipeline",
    "Extraction",
    "IserCollator",
    "IserConfig",
    "IserForJointExtraction",
    "IserModel",
    "IserModelOutput",
    "IserOutput",
    "JointExtractionConfig",
    "JointExtractionModel",
    "JointExtractionPipeline",
    "MentionReplacement",
    "Sentence",
    "TrainingCollator",
    "prepare_sentences",
    "write_html",
]
