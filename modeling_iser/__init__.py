"""ISER: joint entity and relation extraction with spans and an interactive fusion representation."""

from pathlib import Path

from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .collation_iser import IserCollator, MentionReplacement, prepare_sentences
from .configuration_iser import VARIANTS, IserConfig
from .modeling_iser import IserForJointExtraction, IserModel, IserModelOutput, IserOutput
from .pipeline_iser import DdiExtractionPipeline
from .visualization_iser import Extraction, write_html


DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""The bundled checkpoint: Chinese drug-drug interactions."""

AutoConfig.register("iser", IserConfig, exist_ok=True)
AutoModel.register(IserConfig, IserForJointExtraction, exist_ok=True)
IserConfig.register_for_auto_class()
IserForJointExtraction.register_for_auto_class("AutoModel")
PIPELINE_REGISTRY.register_pipeline(
    "ddi-extraction",
    pipeline_class=DdiExtractionPipeline,
    pt_model=AutoModel,
    default={"model": (str(DEFAULT_MODEL), None)},
    type="text",
)
# A saved pipeline names its implementation, not the place of the bundled model.
DdiExtractionPipeline._registered_impl = {
    "ddi-extraction": {"impl": DdiExtractionPipeline, "pt": (AutoModel,), "type": "text"}
}

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
    "MentionReplacement",
    "prepare_sentences",
    "write_html",
]
