"""ISER: joint entity and relation extraction with spans and an interactive fusion representation."""

from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .collation_iser import IserCollator, prepare_sentences
from .configuration_iser import VARIANTS, IserConfig
from .modeling_iser import IserForJointExtraction, IserModel, IserModelOutput, IserOutput
from .pipeline_iser import DdiExtractionPipeline


AutoConfig.register("iser", IserConfig, exist_ok=True)
AutoModel.register(IserConfig, IserForJointExtraction, exist_ok=True)
IserConfig.register_for_auto_class()
IserForJointExtraction.register_for_auto_class("AutoModel")
PIPELINE_REGISTRY.register_pipeline(
    "ddi-extraction", pipeline_class=DdiExtractionPipeline, pt_model=AutoModel, type="text"
)

__all__ = [
    "VARIANTS",
    "DdiExtractionPipeline",
    "IserCollator",
    "IserConfig",
    "IserForJointExtraction",
    "IserModel",
    "IserModelOutput",
    "IserOutput",
    "prepare_sentences",
]
