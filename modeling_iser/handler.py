"""
Handler for Hugging Face Inference Endpoints: the platform loads this file from a checkpoint's directory, creates an
`EndpointHandler` and calls it with every request.

    {"inputs": "与阿司匹林合用,出血的危险增加", "parameters": {"drug": "华法林钠片", "triples": true}}

`inputs` is a text, or a list of texts or of objects that the pipeline accepts; `parameters` are the pipeline's. The
response is the pipeline's output, or `{"error": …}` for an invalid request. Not for clinical decisions.
"""

from __future__ import annotations

from typing import Any


MAX_TEXTS = 256
"""Maximum number of texts in a request."""
MAX_CHARACTERS = 200_000
"""Maximum number of characters in all texts of a request."""


class EndpointHandler:
    """
    Args:
        path: directory of the checkpoint.
        options: options of the pipeline, such as `device` and `backend`; the platform passes none.
    """

    def __init__(self, path: str = "", **options: Any) -> None:
        import torch
        from transformers import AutoConfig, pipeline

        config = AutoConfig.from_pretrained(path, trust_remote_code=True)
        task = "ddi-extraction" if config.drug_type is not None else "joint-extraction"
        options.setdefault("device", "cuda:0" if torch.cuda.is_available() else "cpu")
        load: Any = pipeline  # its signature lists only transformers' own tasks
        self.extractor = load(task, model=path, trust_remote_code=True, **options)

    def __call__(self, data: dict[str, Any]) -> Any:
        """
        Args:
            data: the request, decoded from JSON.
        """
        try:
            inputs, parameters = check_request(data)
            return self.extractor(inputs, **parameters)
        except (ValueError, TypeError) as error:
            return {"error": str(error)}


def check_request(data: Any) -> tuple[Any, dict[str, Any]]:
    """
    The inputs and the parameters of a request.

    Raises:
        ValueError: if the request is malformed or too large.
    """
    if not isinstance(data, dict) or "inputs" not in data:
        raise ValueError('A request must be {"inputs": a text or a list of texts, "parameters": {…}}.')
    inputs, parameters = data["inputs"], data.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"parameters must be an object, not {parameters!r:.60}.")
    items = inputs if isinstance(inputs, list) else [inputs]
    if len(items) > MAX_TEXTS:
        raise ValueError(f"A request may contain at most {MAX_TEXTS} texts, not {len(items)}.")
    characters = 0
    for number, item in enumerate(items, 1):
        text = item.get("text") if isinstance(item, dict) else item
        if not isinstance(text, str):
            raise ValueError(f"Text {number} must be a string, not {text!r:.60}.")
        characters += len(text)
    if characters > MAX_CHARACTERS:
        raise ValueError(f"The texts of a request may contain at most {MAX_CHARACTERS} characters.")
    return inputs, parameters
