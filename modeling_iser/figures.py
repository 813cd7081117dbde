"""
Draw the fusion's cross-attention over a sentence as heat maps, one per direction (the paper's Figures 7 and 8).

    python -m modeling_iser.figures "与多巴胺合用,本品的利尿作用加强" --drug 布美他尼片 --output attention.png

Requires the extra `figures`: matplotlib, and a font for Chinese labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel

from . import DEFAULT_MODEL, IserForJointExtraction
from .collation_iser import encode_sentences, tokenize_words
from .text_iser import split_words


def cross_attention(model: IserForJointExtraction, text: str | Sequence[str]) -> tuple[list[str], Tensor, Tensor]:
    """
    The words of a sentence and the weights of the cross-attention between them (paper, Eq. 3 and 4).

    Args:
        text: a text, or its words.

    Returns:
        The words; the attention weights of the entity view over the relation view, and of the relation view over the
        entity view, each of shape `(num_words, num_words)`, rows summing to 1.

    Raises:
        ValueError: if the text has no words or is too long for the encoder, or the model has no interactive fusion.
    """
    words = [text[start:end] for start, end in split_words(text)] if isinstance(text, str) else list(text)
    tokens = tokenize_words(model.tokenizer, [words])
    if not words or sum(map(len, tokens[0])) + 2 > model.config.max_position_embeddings:
        raise ValueError(f"A heat map needs a sentence that fits into the encoder; this one has {len(words)} words.")
    batch = {name: tensor.to(model.device) for name, tensor in encode_sentences(tokens, model.tokenizer).items()}
    with torch.no_grad():
        output = model.eval().iser(**batch, output_attentions=True)
    if output.entity_attention is None:
        raise ValueError("This model has no interactive fusion, so there is no cross-attention to show.")
    entity, relation = (
        (weights.mean(dim=1) if weights.dim() == 4 else weights)[0].float().cpu()
        for weights in (output.entity_attention, output.relation_attention)
    )
    return words, entity, relation


def attention_heatmap(model: IserForJointExtraction, text: str | Sequence[str], path: str | Path) -> None:
    """
    Draw both directions side by side into an image file.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    draw_attention(*cross_attention(model, text), path)


def draw_attention(words: Sequence[str], entity: Tensor, relation: Tensor, path: str | Path) -> None:
    """Draw the output of [`cross_attention`] into an image file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = max(3.0, 0.24 * len(words))
    figure = Figure(figsize=(2 * size + 3, size + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    font = chinese_font()
    titles = ("entity states attend to relation states", "relation states attend to entity states")
    for axes, weights, title in zip(figure.subplots(1, 2), (entity, relation), titles, strict=True):
        image = axes.imshow(weights, cmap="Blues", vmin=0)
        axes.set_xticks(range(len(words)), words, fontproperties=font, rotation=90)
        axes.set_yticks(range(len(words)), words, fontproperties=font)
        axes.set(title=title, xlabel="attended to", ylabel="attending")
        figure.colorbar(image, ax=axes, shrink=0.7)
    figure.savefig(path, dpi=110)


def chinese_font() -> object | None:
    """The font with Chinese characters from mplfonts; `None`, for matplotlib's default font, without that package."""
    from importlib.util import find_spec

    from matplotlib.font_manager import FontProperties

    package = find_spec("mplfonts")
    if package is None or package.origin is None:
        return None
    return FontProperties(fname=Path(package.origin).parent / "fonts" / "NotoSansCJKsc-Regular.otf")


def main() -> None:
    """Draw the heat map of a sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--drug", help="drug whose leaflet the sentence is from")
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="ISER checkpoint; default: the bundled model")
    parser.add_argument("--output", type=Path, default=Path("attention.png"))
    arguments = parser.parse_args()
    model = AutoModel.from_pretrained(arguments.model, dtype=torch.float32)
    attention_heatmap(
        model, f"{arguments.drug}@{arguments.text}" if arguments.drug else arguments.text, arguments.output
    )
    print(arguments.output)


if __name__ == "__main__":
    main()
