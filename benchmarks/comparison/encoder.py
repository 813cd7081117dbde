"""The encoder for benchmarks that need nothing but this repository."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import torch

from modeling_iser import DEFAULT_MODEL, IserForJointExtraction


def bundled_encoder(directory: Path) -> Path:
    """
    The encoder of the bundled model, which has already seen the training split of CH-DDI-Open.

    Args:
        directory: where the encoder and its tokenizer are; they are written if it does not exist.
    """
    if not directory.exists():
        model = IserForJointExtraction.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
            written = Path(temporary, "encoder")
            model.tokenizer.save_pretrained(written)
            model.iser.encoder.save_pretrained(written)
            with contextlib.suppress(OSError):  # Another process was first.
                written.rename(directory)
    return directory
