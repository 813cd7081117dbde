"""Checkpoints are complete: they load in a process without the package, and save again without loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from modeling_iser import VARIANTS, IserConfig, IserForJointExtraction

from .conftest import ENCODERS, ENTITY_TYPES, RELATION_TYPES, SENTENCES, save_encoder


MakeModel = Callable[..., IserForJointExtraction]

# Runs where the package cannot be imported: records scores, documents and pipeline answers, and saves again.
SCRIPT = """
import json, sys
import torch
from transformers import AutoModel, pipeline
try:
    import modeling_iser
except ImportError:
    pass
else:
    raise AssertionError("the package must not be importable")
directory, again, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = AutoModel.from_pretrained(directory, trust_remote_code=True)
batch = {k: torch.tensor(v) for k, v in json.loads(sys.argv[4]).items()}
with torch.no_grad():
    output = model(**batch)
pipe = pipeline("ddi-extraction", model=directory, trust_remote_code=True)
answers = pipe(texts)
def without_scores(value):
    if isinstance(value, dict):
        return {key: without_scores(item) for key, item in value.items() if key != "score"}
    return [without_scores(item) for item in value] if isinstance(value, list) else value
assert without_scores(pipe(texts[0])) == without_scores(answers[0])
model.save_pretrained(again)
pipe.save_pretrained(again + "-from-pipeline")
json.dump({
    "entity": output.entity_logits.tolist(), "relation": output.relation_logits.tolist(),
    "documents": model.extract(texts), "answers": answers,
}, open("result.json", "w"))
"""


def run_without_package(directory: Path, again: Path, batch: dict[str, torch.Tensor], cwd: Path) -> dict:
    """Load `directory` in a new process: offline, in another working directory, without the package."""
    script = cwd / "script.py"
    script.write_text(SCRIPT)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(cwd / f"modules-{again.name}"),
        "PYTHONSAFEPATH": "1",
    }
    # Remove the paths and import hooks of an editable installation, but keep the libraries.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    bootstrap = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + "
        f"{libraries!r}; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
        f"sys.argv = sys.argv[1:]; exec(compile(open(sys.argv[0]).read(), 'script.py', 'exec'))"
    )
    encoded = json.dumps({name: tensor.tolist() for name, tensor in batch.items()})
    result = subprocess.run(
        [sys.executable, "-c", bootstrap, str(script), str(directory), str(again), json.dumps(SENTENCES), encoded],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((cwd / "result.json").read_text())


def batch_of(model: IserForJointExtraction) -> dict[str, torch.Tensor]:
    from modeling_iser.collation_iser import encode_sentences, tokenize_words

    return encode_sentences(tokenize_words(model.tokenizer, [text.split() for text in SENTENCES]), model.tokenizer)


@pytest.mark.parametrize("variant", ["iser", "spert", "lc_to_lc_att"])
def test_checkpoint_works_without_the_package_and_saves_without_loss(
    make_model: MakeModel, tmp_path: Path, variant: str
) -> None:
    model = make_model(variant)
    first = tmp_path / "first"
    model.save_pretrained(first)
    batch = batch_of(model)
    with torch.no_grad():
        output = model(**batch)
    found = run_without_package(first, tmp_path / "second", batch, tmp_path)
    assert torch.equal(torch.tensor(found["entity"]), output.entity_logits)
    assert torch.equal(torch.tensor(found["relation"]), output.relation_logits)
    assert found["documents"] == json.loads(json.dumps(model.extract(SENTENCES)))
    for answer, document in zip(found["answers"], found["documents"], strict=True):
        assert len(answer["entities"]) == len(document["entities"]) > 0
        assert len(answer["relations"]) == len(document["relations"])
        for entity in answer["entities"]:
            assert answer["text"][entity["start"] : entity["end"]] == entity["text"]
    if variant != "iser":
        return
    for again in ("second", "second-from-pipeline"):
        assert {path.name for path in (tmp_path / again).iterdir()} >= {path.name for path in first.iterdir()}
        text = (tmp_path / again / "config.json").read_text()
        assert str(tmp_path) not in text
        assert run_without_package(tmp_path / again, tmp_path / f"{again}-again", batch, tmp_path) == found
    assert (tmp_path / "second" / "README.md").read_text() == (first / "README.md").read_text()


def test_checkpoint_files(make_model: MakeModel, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert {path.name for path in (Path(__file__).parent.parent / "modeling_iser").glob("*_iser.py")} <= names
    config = json.loads((tmp_path / "config.json").read_text())
    for task, implementation in (("ddi", "DdiExtractionPipeline"), ("joint", "JointExtractionPipeline")):
        assert config["custom_pipelines"][f"{task}-extraction"]["impl"] == f"pipeline_iser.{implementation}"
    assert config["auto_map"]["AutoModel"] == "modeling_iser.IserForJointExtraction"
    assert "not for clinical decisions" in (tmp_path / "README.md").read_text()


def test_package_loads_its_own_checkpoints(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    for loaded in (AutoModel.from_pretrained(tmp_path), IserForJointExtraction.from_pretrained(tmp_path)):
        assert isinstance(loaded, IserForJointExtraction)
        for name, parameter in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], parameter), name
        assert loaded.extract(SENTENCES) == model.extract(SENTENCES)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, IserConfig)
    assert config.encoder_config.to_dict() == model.config.encoder_config.to_dict()
    AutoTokenizer.from_pretrained(tmp_path)
    extractor = pipeline("ddi-extraction", model=str(tmp_path), trust_remote_code=True)
    answers = extractor(SENTENCES, batch_size=4)
    assert [len(answer["entities"]) for answer in answers] == [len(d["entities"]) for d in model.extract(SENTENCES)]


def test_existing_model_card_is_kept(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    make_model().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_every_kind_of_encoder_trains_saves_and_loads(kind: str, tmp_path: Path) -> None:
    from modeling_iser import IserCollator, prepare_sentences

    from .conftest import DOCUMENTS

    encoder = save_encoder(kind, tmp_path / "encoder")
    torch.manual_seed(0)
    model = IserForJointExtraction.from_encoder(
        encoder, ENTITY_TYPES, RELATION_TYPES, max_span_width=4, context_attention_heads=2
    )
    assert model.config.max_tokens == 64
    pretrained = AutoModel.from_pretrained(encoder)
    for name, parameter in model.iser.encoder.named_parameters():
        assert torch.equal(parameter, pretrained.state_dict()[name]), name
    sentences, _ = prepare_sentences(DOCUMENTS, model.tokenizer, model.config)
    batch = IserCollator(model.tokenizer, model.config)(sentences)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**batch).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    model.eval().save_pretrained(tmp_path / "saved")
    loaded = IserForJointExtraction.from_pretrained(tmp_path / "saved")
    long = " ".join(SENTENCES * 8)
    assert loaded.extract([*SENTENCES, long]) == model.extract([*SENTENCES, long])


def test_byte_level_tokenizers_mark_the_start_of_every_word(tmp_path: Path) -> None:
    encoder = save_encoder("roberta", tmp_path / "encoder")
    text = (encoder / "tokenizer.json").read_text()
    (encoder / "tokenizer.json").write_text(text.replace('"add_prefix_space": true', '"add_prefix_space": false'))
    model = IserForJointExtraction.from_encoder(encoder, ENTITY_TYPES, RELATION_TYPES, context_attention_heads=2)
    model.save_pretrained(tmp_path / "saved")
    again = pipeline("ddi-extraction", model=str(tmp_path / "saved"), trust_remote_code=True).model
    for tokenizer in (model.tokenizer, again.tokenizer):
        tokens = tokenizer.convert_ids_to_tokens(
            tokenizer([["lives", "in", "Lund"]], is_split_into_words=True)["input_ids"][0]
        )
        assert "".join(tokens) == "<s>ĠlivesĠinĠLund</s>"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(make_model: MakeModel, dtype: torch.dtype) -> None:
    documents = make_model(first_pass_threshold=0.01).to(dtype).extract(SENTENCES)
    assert any(document["entities"] for document in documents)


def test_from_encoder_with_random_weights(encoder_dir: Path) -> None:
    torch.manual_seed(1)
    model = IserForJointExtraction.from_encoder(encoder_dir, ENTITY_TYPES, RELATION_TYPES, pretrained=False,
                                                context_attention_heads=2)  # fmt: skip
    saved = AutoModel.from_pretrained(encoder_dir)
    assert not torch.equal(model.get_input_embeddings().weight, saved.get_input_embeddings().weight)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_variants_round_trip(variant: str, encoder_dir: Path, tmp_path: Path) -> None:
    config = IserConfig.variant(
        variant, encoder_config=AutoConfig.from_pretrained(encoder_dir), context_attention_heads=2
    )
    config.save_pretrained(tmp_path)
    loaded = IserConfig.from_pretrained(tmp_path)
    for name, value in VARIANTS[variant].items():
        assert getattr(loaded, name) == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusion": "interactiv"}, r"fusion='interactiv' is not known. Valid values: 'interactive', 'none'.*mean"),
        ({"span_context": "bert"}, "'sea', 'gru', 'cls'"),
        ({"relation_context": 3}, "'local_attention'"),
        ({"projection_activation": "swish"}, "'none', 'relu', 'gelu', 'tanh'"),
        ({"entity_types": []}, "at least one entity type"),
        ({"entity_types": ["A", "A"]}, "lists A more than once"),
        ({"relation_types": [""]}, "non-empty strings"),
        ({"max_span_width": 0}, "max_span_width must be an integer of at least 1"),
        ({"dropout": 1.5}, "dropout must lie between 0 and 1"),
        ({"context_attention_heads": 7}, "does not divide"),
        ({"max_tokens": 2}, "max_tokens"),
    ],
)
def test_wrong_configuration(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IserConfig(**fields)


def test_model_without_tokenizer() -> None:
    tiny = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "vocab_size": 10}  # fmt: skip
    model = IserForJointExtraction(IserConfig(tiny))
    with pytest.raises(ValueError, match="has no tokenizer"):
        model.extract("text")
