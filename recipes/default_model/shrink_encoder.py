"""
Make a smaller encoder from a BERT: keep its first layers and, with a corpus, a part of its vocabulary.

    python recipes/default_model/shrink_encoder.py ENCODER OUTPUT --layers 6 --corpus CORPUS

The reduced vocabulary contains the special tokens, all single characters (as word starts and continuations), and the
longer tokens that occur in the corpus. Chinese text is tokenised exactly as before; other Latin words are split into
more tokens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="directory or name of a BERT encoder with a WordPiece vocabulary")
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--layers", type=int, required=True, help="number of layers to keep, counted from the embeddings"
    )
    parser.add_argument("--corpus", type=Path, help="JSON lines with a `text` each; without it, the vocabulary is kept")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.encoder)
    model = AutoModel.from_pretrained(arguments.encoder, dtype=torch.float32, add_pooling_layer=False)
    model.encoder.layer = model.encoder.layer[: arguments.layers]
    model.config.num_hidden_layers = arguments.layers
    tokenizer.save_pretrained(arguments.output)
    if arguments.corpus:
        lines = arguments.corpus.read_text(encoding="utf-8").splitlines()
        shrink_vocabulary(model, tokenizer, [json.loads(line)["text"] for line in lines], arguments.output)
    model.save_pretrained(arguments.output)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.output}: {model.config.vocab_size} tokens, {arguments.layers} layers, {size} parameters")


def shrink_vocabulary(model: Any, tokenizer: Any, texts: list[str], output: Path) -> None:
    """
    Remove unneeded tokens from the model's embeddings and from the tokenizer saved in `output`.

    Raises:
        ValueError: if a special token would change its id, or a text would be tokenised differently.
    """
    used = {token for text in texts for token in tokenizer.tokenize(text)} | set(tokenizer.all_special_tokens)
    vocabulary = tokenizer.get_vocab()
    kept = sorted(
        (token for token in vocabulary if len(token.removeprefix("##")) == 1 or token in used),
        key=vocabulary.__getitem__,
    )
    rows = torch.tensor([vocabulary[token] for token in kept])
    embeddings = torch.nn.Embedding(len(kept), model.config.hidden_size, padding_idx=kept.index(tokenizer.pad_token))
    embeddings.weight.data.copy_(model.get_input_embeddings().weight.data[rows])
    model.set_input_embeddings(embeddings)
    model.config.vocab_size = len(kept)

    # References to special tokens by id stay valid only if these come first in both vocabularies.
    path = output / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"] = {token: index for index, token in enumerate(kept)}
    for token in content["added_tokens"]:
        if kept.index(token["content"]) != token["id"]:
            raise ValueError(f"{token['content']} would lose its id {token['id']}.")
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    reduced = AutoTokenizer.from_pretrained(output)
    for text in texts:
        if reduced.tokenize(text) != tokenizer.tokenize(text):
            raise ValueError(f"The reduced vocabulary tokenises this text differently: {text}")


if __name__ == "__main__":
    main()
