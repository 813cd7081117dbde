"""Small encoders, tokenizers and documents shared by the tests. All text is invented."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from modeling_iser import VARIANTS, IserForJointExtraction


if TYPE_CHECKING:
    from playwright.sync_api import Browser


os.environ["HF_HUB_OFFLINE"] = "1"
# Speed is not tested.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
ENTITY_TYPES = ["Loc", "Org", "Peop"]
RELATION_TYPES = ["Live_In", "Work_For"]

SENTENCES = [
    "Anna Berg lives in Lund and works for Norrland Timber .",
    "Norrland Timber is based in Umea , where Per Falk was born .",
    "The mayor of Lund met Per Falk yesterday .",
    "Unremarkable weather , said the radio .",
    "Ida Holm , who works for Harbour Bank , lives in Malmo .",
    "Malmo .",
]


def document(
    name: str, text: str, entities: list[tuple[int, int, str]], relations: list[tuple[int, int, str]]
) -> dict[str, Any]:
    """Make a document from tuples."""
    return {
        "id": name,
        "text": text,
        "tokens": text.split(),
        "entities": [{"start": s, "end": e, "type": t} for s, e, t in entities],
        "relations": [{"head": h, "tail": t, "type": r} for h, t, r in relations],
    }


_LUND = [(0, 2, "Peop"), (4, 5, "Loc"), (8, 10, "Org")]
_UMEA = [(0, 2, "Org"), (5, 6, "Loc"), (8, 10, "Peop")]
_MALMO = [(0, 2, "Peop"), (6, 8, "Org"), (11, 12, "Loc")]
DOCUMENTS = [
    document("a", SENTENCES[0], _LUND, [(0, 1, "Live_In"), (0, 2, "Work_For")]),
    document("b", SENTENCES[1], _UMEA, [(2, 1, "Live_In")]),
    document("c", SENTENCES[2], [(3, 4, "Loc"), (5, 7, "Peop")], []),
    document("d", SENTENCES[3], [], []),
    document("e", SENTENCES[4], _MALMO, [(0, 1, "Work_For"), (0, 2, "Live_In")]),
    document("f", SENTENCES[5], [(0, 1, "Loc")], []),
]


def _wordpiece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def _byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )


def _unigram() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        SENTENCES, trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )


_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# Kind of encoder → its tokenizer, and the configuration that makes it small in addition to `_SIZES`.
ENCODERS: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], dict[str, Any]]] = {
    "bert": (_wordpiece, {"max_position_embeddings": 64}),
    "electra": (_wordpiece, {"max_position_embeddings": 64, "embedding_size": 8}),
    "roberta": (_byte_level, {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": (_unigram, {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "modernbert": (_byte_level, {"max_position_embeddings": 64, "pad_token_id": 1, "cls_token_id": 0,
                                 "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}),
}  # fmt: skip


def save_encoder(kind: str, directory: Path) -> Path:
    """Save a tiny encoder of the kind with random weights and its tokenizer to a checkpoint directory."""
    make_tokenizer, extra = ENCODERS[kind]
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **_SIZES, **extra)
    AutoModel.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT checkpoint."""
    return save_encoder("bert", tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def make_model(encoder_dir: Path) -> Callable[..., IserForJointExtraction]:
    """`make_model(variant, **config_fields)` builds a model with random weights on the tiny BERT."""

    def make(variant: str = "iser", seed: int = 0, **fields: Any) -> IserForJointExtraction:
        torch.manual_seed(seed)
        defaults = {"max_span_width": 4, "context_attention_heads": 2, "first_pass_threshold": 0.0}
        fields = {**defaults, **VARIANTS[variant], **fields}
        model = IserForJointExtraction.from_encoder(encoder_dir, ENTITY_TYPES, RELATION_TYPES, **fields)
        with torch.no_grad():  # Large weights keep scores away from zero.
            for name, parameter in model.named_parameters():
                if not name.startswith("iser.encoder."):
                    parameter.normal_(std=0.4)
        return model.eval()

    return make


def shared(path: str) -> Path:
    """A path in the shared data directory beside the repository; skips the test if it is missing."""
    target = SHARED / path
    if not target.exists():
        pytest.skip(f"needs {path} in a directory `shared` beside the repository")
    return target


@pytest.fixture(scope="module")
def chinese_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights whose bias makes it find many drugs and relations."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("model")
    model = IserForJointExtraction.from_encoder(
        save_encoder("bert", directory / "encoder"), ["药物"], ["协同", "禁忌"], max_span_width=3,
        context_attention_heads=2, first_pass_threshold=0.0, overlapping_entities=True,
    )  # fmt: skip
    with torch.no_grad():
        model.entity_classifier.weight.mul_(40)
        model.relation_classifier.weight.mul_(40)
        model.entity_classifier.bias[1] = 1.0
        model.relation_classifier.bias.fill_(0.5)
    model.save_pretrained(directory / "model")
    return directory / "model"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser chromium")
    with playwright.sync_playwright() as session:
        launched = session.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
