"""Training from the command line: recipes, processes, interruptions, wrong input."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import pipeline

import train
from modeling_iser import IserCollator, IserForJointExtraction

from .conftest import DOCUMENTS, REPOSITORY, shared


ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six documents in SpERT's format: three copies for training, five for validation, three for testing."""
    directory = tmp_path_factory.mktemp("data")
    for name, documents in (("train", DOCUMENTS * 3), ("dev", DOCUMENTS[:5]), ("test", DOCUMENTS[3:])):
        records = [
            {**{key: document[key] for key in ("tokens", "entities", "relations")}, "orig_id": index}
            for index, document in enumerate(documents)
        ]
        (directory / f"conll04_{name}.json").write_text(json.dumps(records))
    return directory


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, encoder_dir: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        f"""
dataset: conll04
data_dir: {data_dir}
encoder: {encoder_dir}
max_span_width: 4
context_attention_heads: 2
num_epochs: 6
batch_size: 4
evaluation_batch_size: 3
learning_rate: 1e-3
new_layers_learning_rate: 5e-3
evaluate_every: 2
checkpoint_every: 2
seed: 3
"""
    )
    return path


def command(recipe: Path, output_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "train.py", str(recipe), "--output_dir", str(output_dir), *options]


def run(arguments: list[str], **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=REPOSITORY, env={**ENVIRONMENT, **extra}, capture_output=True, text=True, timeout=300
    )


def succeed(arguments: list[str], **extra: str) -> str:
    result = run(arguments, **extra)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """The output directory of a run without interruption."""
    output_dir = tmp_path_factory.mktemp("runs") / "finished"
    succeed(command(recipe, output_dir))
    return output_dir


def test_run_writes_model_card_scores_and_logs(finished: Path) -> None:
    result = json.loads((finished / "scores.json").read_text())
    assert set(result["scores"]) == {"validation", "test"}
    assert [entry["epoch"] for entry in result["progress"]["history"]] == [2, 4, 6]
    history = [entry["relation_micro_f1"] for entry in result["progress"]["history"]]
    assert result["scores"]["validation"]["relation_micro_f1"] == max(history)
    model = IserForJointExtraction.from_pretrained(finished)
    assert model.config.relation_types == ["Live_In", "Work_For"]
    best = load_file(finished / "checkpoints" / f"best-{result['progress']['best_step']:08d}.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, best[name]), name
    card = (finished / "README.md").read_text()
    for part in ("| validation | micro |", "learning_rate: `0.001`", "not for clinical decisions", "18 documents"):
        assert part in card
    assert list((finished / "logs").rglob("events.out.tfevents.*"))
    assert not list(finished.rglob("*.tmp"))
    assert not [path for path in finished.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    extractor = pipeline("ddi-extraction", model=str(finished), trust_remote_code=True)
    assert extractor("Anna Berg lives in Lund .")["text"] == "Anna Berg lives in Lund ."


def test_train_only_updates_the_chosen_layers(recipe: Path, finished: Path, tmp_path: Path) -> None:
    lines = recipe.read_text(encoding="utf-8").splitlines()
    tuned = tmp_path / "recipe.yaml"
    tuned.write_text("\n".join(line for line in lines if not line.startswith("encoder:")), encoding="utf-8")
    succeed(command(tuned, tmp_path / "run", "--checkpoint", str(finished), "--train_only", "first_pass"))
    before = load_file(finished / "model.safetensors")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("first_pass.")} != set()

    result = run(command(tuned, tmp_path / "none", "--checkpoint", str(finished), "--train_only", "no_such_layer"))
    assert result.returncode == 1 and "no_such_layer" in result.stderr


def test_training_fits_the_data(recipe: Path, tmp_path: Path) -> None:
    succeed(command(recipe, tmp_path / "run", "--num_epochs", "40", "--dropout", "0", "--evaluate_every", "40"))
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert scores["validation"]["entity_micro_f1"] > 0.9
    assert scores["validation"]["relation_micro_f1"] > 0.8


def test_accelerate_launch(recipe: Path, finished: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    succeed([*launch, *command(recipe, tmp_path / "run")[1:]])
    assert_same_run(finished, tmp_path / "run")


def test_two_processes_count_every_document_once(recipe: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    output_dir = tmp_path / "run"
    succeed([*torchrun, *command(recipe, output_dir, "--num_epochs", "2")[1:]], ACCELERATE_USE_CPU="true")
    result = json.loads((output_dir / "scores.json").read_text())
    assert result["progress"]["step"] == 2 * math.ceil(18 / 8)
    model = IserForJointExtraction.from_pretrained(output_dir)
    metric = train.evaluate.load(train.METRIC)
    for split, documents in (("validation", DOCUMENTS[:5]), ("test", DOCUMENTS[3:])):
        words = [document["tokens"] for document in documents]
        expected = metric.compute(predictions=model.extract(words), references=documents)
        predictions = model.extract(words, entities=[document["entities"] for document in documents])
        given = metric.compute(predictions=predictions, references=documents)
        for name in ("precision", "recall", "f1"):
            for average in ("micro", "macro"):
                expected[f"relation_given_entities_{average}_{name}"] = given[f"relation_{average}_{name}"]
        expected["per_type"]["relation_given_entities"] = given["per_type"]["relation"]
        assert result["scores"][split] == json.loads(json.dumps(expected))
        supports = sum(row["support"] for row in result["scores"][split]["per_type"]["entity"].values())
        assert supports == sum(len(document["entities"]) for document in documents)


def assert_same_run(first: Path, second: Path) -> None:
    assert sorted(p.name for p in (first / "checkpoints").iterdir()) == sorted(
        p.name for p in (second / "checkpoints").iterdir()
    )
    for path in [first / "model.safetensors", *(first / "checkpoints").rglob("*.safetensors")]:
        ours, other = load_file(path), load_file(second / path.relative_to(first))
        assert ours.keys() == other.keys()
        for name, tensor in ours.items():
            assert torch.equal(tensor, other[name]), (path.name, name)
    results = [json.loads((directory / "scores.json").read_text()) for directory in (first, second)]
    assert results[0]["scores"] == results[1]["scores"]
    assert results[0]["progress"]["history"] == results[1]["progress"]["history"]


def kill_when(process: subprocess.Popen[bytes], moment: Any) -> bool:
    """Kill the process with SIGKILL as soon as `moment()` is true; return whether it was still running."""
    while process.poll() is None:
        if moment():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    assert process.returncode == 0
    return False


def test_killed_and_resumed_run_ends_with_the_same_weights(recipe: Path, finished: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    checkpoints = output_dir / "checkpoints"

    def steps() -> int:
        return max((int(path.name[5:13]) for path in checkpoints.glob("step-*[0-9]")), default=0)

    moments = {
        "while the first checkpoint is written": lambda: bool(list(checkpoints.glob("step-*.tmp"))),
        "after a checkpoint in the middle of an epoch": lambda: steps() >= 8,
        "while a later checkpoint is written": lambda: steps() >= 10 and bool(list(checkpoints.glob("step-*.tmp/*"))),
        "when a new best model appears": lambda: steps() >= 12 and bool(list(checkpoints.glob("best*"))),
        "while the final model is written": lambda: (output_dir / "model.tmp").exists(),
    }
    kills = 0
    for moment in moments.values():
        process = subprocess.Popen(
            command(recipe, output_dir, "--resume"),
            cwd=REPOSITORY,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kills += kill_when(process, moment)
    assert kills >= 4
    log = succeed(command(recipe, output_dir, "--resume"))
    assert "Resuming after step" in log
    assert_same_run(finished, output_dir)


def test_unfinished_checkpoints_are_ignored(tmp_path: Path) -> None:
    checkpoints = train.Checkpoints(tmp_path)
    for name in ("step-00000004", "step-00000012", "step-00000020.tmp", "best-00000099.safetensors"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoints.latest() == tmp_path / "checkpoints" / "step-00000012"


def share_memory(layer: torch.nn.RNNBase) -> None:
    """Lay the parameters out one behind the other in one block, as cuDNN has them on a GPU."""
    parameters = list(layer.parameters())
    block = torch.cat([parameter.detach().flatten() for parameter in parameters])
    for parameter, part in zip(parameters, block.split([each.numel() for each in parameters]), strict=True):
        parameter.data = part.view_as(parameter)


def test_weights_that_share_memory_as_on_a_gpu_are_saved_and_restored(tmp_path: Path, encoder_dir: Path) -> None:
    model, restored = (IserForJointExtraction.from_encoder(str(encoder_dir), ["A"], ["r"]) for _ in range(2))
    recurrent = [layer for layer in model.modules() if isinstance(layer, torch.nn.RNNBase)]
    assert recurrent
    for layer in recurrent:
        share_memory(layer)
    optimizers = [torch.optim.AdamW(each.parameters()) for each in (model, restored)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers[0].step()
    checkpoints, settings = (
        train.Checkpoints(tmp_path),
        train.Settings(encoder=str(encoder_dir), output_dir=str(tmp_path)),
    )
    checkpoints.save(model, optimizers[0], None, train.Progress(step=7), settings)
    assert checkpoints.load(restored, optimizers[1], None, settings).step == 7
    checkpoints.save_best(model, 7)
    best = load_file(checkpoints.best_weights(7))
    model.save_pretrained(tmp_path / "model")
    exported = load_file(tmp_path / "model" / "model.safetensors")
    for name, weights in model.state_dict().items():
        for other in (restored.state_dict()[name], best[name], exported[name]):
            torch.testing.assert_close(other, weights, rtol=0, atol=0)


def test_gradient_accumulation_takes_fewer_steps(recipe: Path, tmp_path: Path) -> None:
    succeed(
        command(
            recipe, tmp_path / "run", "--num_epochs", "2", "--batch_size", "2", "--gradient_accumulation_steps", "2"
        )
    )
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["progress"]["step"] == 2 * math.ceil(18 / 4)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 3))
def test_epoch_contains_every_sentence_once_grouped_by_length(lengths: list[int], step_size: int, epoch: int) -> None:
    order = train.epoch_order(0, epoch, lengths, step_size)
    assert sorted(order) == list(range(len(lengths)))
    assert order == train.epoch_order(0, epoch, lengths, step_size)
    pool = train._STEPS_OF_A_POOL * step_size
    if len(lengths) <= pool and len(lengths) % step_size == 0:
        # Except for their order, the steps are consecutive pieces of the sorted sentences.
        steps = [[lengths[i] for i in order[first : first + step_size]] for first in range(0, len(order), step_size)]
        assert [length for step in sorted(steps) for length in step] == sorted(lengths)


def test_grouping_by_length_saves_padding_and_epochs_differ() -> None:
    lengths = torch.randint(1, 100, (923,), generator=torch.Generator().manual_seed(0)).tolist()

    def padded(order: list[int]) -> int:
        return sum(8 * max(lengths[i] for i in order[first : first + 8]) for first in range(0, len(order), 8))

    grouped = train.epoch_order(0, 0, lengths, 8)
    assert padded(grouped) < 1.15 * sum(lengths)
    assert padded(train.epoch_order(0, 0, [0] * len(lengths), 8)) > 1.5 * sum(lengths)
    steps = {frozenset(grouped[first : first + 8]) for first in range(0, 923, 8)}
    later = train.epoch_order(0, 1, lengths, 8)
    assert not steps & {frozenset(later[first : first + 8]) for first in range(0, 923, 8)}


def test_early_stopping_and_bfloat16(recipe: Path, tmp_path: Path) -> None:
    options = [
        "--learning_rate",
        "0",
        "--new_layers_learning_rate",
        "1e-12",
        "--patience",
        "2",
        "--evaluate_every",
        "1",
    ]
    succeed(command(recipe, tmp_path / "run", *options, "--mixed_precision", "bf16"))
    progress = json.loads((tmp_path / "run" / "scores.json").read_text())["progress"]
    assert [entry["epoch"] for entry in progress["history"]] == [1, 2, 3]
    assert progress["stopped_early"]


def fail(recipe: Path, output_dir: Path, *options: str) -> str:
    """The error message of an invalid run, whose options are parsed as on the command line."""
    with pytest.raises((ValueError, FileNotFoundError, FloatingPointError)) as error:
        train.train(train.parse_settings([str(recipe), "--output_dir", str(output_dir), *options]))
    return str(error.value)


def test_wrong_recipes(recipe: Path, tmp_path: Path) -> None:
    assert "There is no recipe" in fail(tmp_path / "none.yaml", tmp_path)
    for text, message in [
        ("learning_rat: 1e-3", "'learning_rat' is not a setting. Did you mean 'learning_rate'?"),
        ("- a", "must contain one 'name: value' per line"),
        ("a: [", "is not valid YAML"),
        ("dropout: 0.1", "Give either encoder or checkpoint"),
        ("{encoder: x, variant: sprt}", "system='sprt' is not known"),
        ("{encoder: x, dataset: conll}", "Did you mean 'conll04'?"),
        ("{encoder: x, num_epochs: 0}", "num_epochs must be at least 1"),
        ("{checkpoint: nosuch}", "checkpoint='nosuch': there is no such directory"),
        ("{encoder: no/such/place}", "encoder='no/such/place': there is no such directory"),
        ("{encoder: ./missing}", "encoder='./missing': there is no such directory"),
        ("{encoder: tests/missing}", "encoder='tests/missing': there is no such directory"),
        (f"encoder: {tmp_path}", "is not a model: it has no config.json"),
        (f"checkpoint: {tmp_path / 'wrong.yaml'}", "is a file. Name the directory of a model"),
        ("{encoder: x, warmup_ratio: 2}", "warmup_ratio must lie between 0 and 1"),
    ]:
        path = tmp_path / "wrong.yaml"
        path.write_text(text)
        assert message in fail(path, tmp_path / "run")
    assert "'learning_rat' is not a setting. Did you mean 'learning_rate'?" in fail(
        recipe, tmp_path, "--learning_rat", "3"
    )
    with pytest.raises(SystemExit):
        train.parse_settings([str(recipe), "--output_dir", "x", "--num_epochs", "many"])


def test_recipes_have_the_settings_of_the_paper() -> None:
    for name, dropout, negatives in (("conll04", 0.1, 100), ("ch_ddi", 0.75, 50)):
        settings = train.parse_settings([str(REPOSITORY / "recipes" / f"{name}.yaml"), "--output_dir", "x"])
        assert settings.dataset == name
        assert settings.learning_rate == 2e-5
        assert settings.new_layers_learning_rate is None
        assert (settings.dropout, settings.negative_spans, settings.negative_pairs) == (dropout, negatives, negatives)
        assert (settings.num_epochs, settings.batch_size, settings.relation_threshold) == (70, 2, 0.4)


def test_output_directory_with_a_run_is_not_overwritten(recipe: Path, finished: Path) -> None:
    before = (finished / "scores.json").read_text()
    assert "already contains a run" in fail(recipe, finished)
    assert "other settings (batch_size: 4 → 3)" in fail(recipe, finished, "--resume", "--batch_size", "3")
    assert (finished / "scores.json").read_text() == before


def test_missing_data_and_splits(recipe: Path, tmp_path: Path) -> None:
    assert "conll04_train.json" in fail(recipe, tmp_path / "a", "--data_dir", str(tmp_path / "nowhere"))
    assert "There is no split 'final'" in fail(recipe, tmp_path / "b", "--test_splits", "final")


def test_non_finite_loss_stops_the_run(recipe: Path, tmp_path: Path) -> None:
    message = fail(recipe, tmp_path / "run", "--learning_rate", "1e25", "--warmup_ratio", "0")
    assert "at step" in message
    assert "documents" in message
    assert "Lower learning_rate" in message


def test_held_out_validation_and_joined_splits(recipe: Path, tmp_path: Path) -> None:
    options = ["--train_split", "train+validation", "--validation_fraction", "0.3", "--num_epochs", "1"]
    scores = train.train(train.parse_settings([str(recipe), "--output_dir", str(tmp_path / "run"), *options]))
    assert set(scores) == {"validation", "test"}


def test_thresholds_of_single_relation_types(finished: Path, recipe: Path, tmp_path: Path) -> None:
    (name, *_) = json.loads((finished / "config.json").read_text())["relation_types"]
    source = "".join(line for line in recipe.read_text().splitlines(keepends=True) if not line.startswith("encoder"))
    (tmp_path / "recipe.yaml").write_text(f"{source}\ncheckpoint: {finished}\nrelation_thresholds: {{{name}: 0.3}}\n")
    options = ["--num_epochs", "1", "--max_train_documents", "4"]
    succeed(command(tmp_path / "recipe.yaml", tmp_path / "run", *options))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["relation_thresholds"] == {name: 0.3}
    for wrong, message in ((f"{name}=high", "must be a number between 0 and 1"), ("nothing=0.3", "nothing")):
        assert message in fail(tmp_path / "recipe.yaml", tmp_path / "other", *options, "--relation_thresholds", wrong)


def test_continue_from_a_checkpoint_with_limited_data(
    finished: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = next(line for line in recipe.read_text().splitlines() if line.startswith("data_dir"))
    (tmp_path / "recipe.yaml").write_text(
        f"{data}\ncheckpoint: {finished}\nnum_epochs: 1\nbatch_size: 4\nmax_train_documents: 5\n"
        "max_evaluation_documents: 2\nevaluate_first: true\n"
    )
    train.train(train.parse_settings([str(tmp_path / "recipe.yaml"), "--output_dir", str(tmp_path / "run")]))
    assert "Before training:\n| split |" in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert result["progress"]["step"] == 2
    model = IserForJointExtraction.from_pretrained(tmp_path / "run")
    assert model.config.max_span_width == IserForJointExtraction.from_pretrained(finished).config.max_span_width


def test_push_to_hub_uploads_the_model_without_checkpoints(
    recipe: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = []

    class Hub:
        """Replaces the Hub, which tests cannot reach."""

        def create_repo(self, name: str, exist_ok: bool) -> Any:
            return SimpleNamespace(repo_id=f"me/{name}")

        def upload_folder(self, **settings: Any) -> None:
            uploads.append(settings)

    monkeypatch.setattr(train, "HfApi", Hub)
    options = ["--output_dir", str(finished), "--resume", "--push_to_hub", "--hub_model_id", "mine"]
    train.train(train.parse_settings([str(recipe), *options]))
    (upload,) = uploads
    assert upload["repo_id"] == "me/mine"
    names = [str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()]
    sent = set(filter_repo_objects(names, ignore_patterns=upload["ignore_patterns"]))
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json", "modeling_iser.py"} <= sent
    assert not [name for name in sent if name.startswith(("checkpoints", "logs"))]


def test_learning_rate_schedule() -> None:
    factors = [train.learning_rate_factor(step, total=10, warmup=2) for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_a_few_steps_on_conll04(tmp_path: Path) -> None:
    settings = train.parse_settings(
        [
            str(REPOSITORY / "recipes" / "conll04.yaml"),
            *("--data_dir", str(shared("data/conll04")), "--encoder", str(shared("encoders/e5-small-zh-en"))),
            *("--output_dir", str(tmp_path / "run")),
        ]
    )
    documents, validation, tests, labels = data = train.load_splits(settings)
    assert (len(documents), len(validation or ()), len(tests["test"])) == (922, 231, 288)
    assert labels.entity_types == ("Loc", "Org", "Other", "Peop")
    assert labels.relation_types == ("Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For")
    model = train.build_model(settings, data, train.SYSTEMS[settings.system])
    assert len(model.config.relation_signatures or ()) == 5
    sentences, report = train.prepare_sentences(documents, model.tokenizer, model.config)
    assert len(report.wide_entities) == 2
    assert "(13 words)" in report.summary()
    collator = IserCollator(model.tokenizer, model.config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    model.train()
    for _ in range(4):
        loss = model(**collator(sentences[:4])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_test_splits_may_be_empty(recipe: Path, tmp_path: Path) -> None:
    from_options = train.parse_settings([str(recipe), "--output_dir", str(tmp_path), "--test_splits"])
    assert from_options.test_splits == []
    development = tmp_path / "recipe.yaml"
    development.write_text(recipe.read_text() + "\ntest_splits: []\n")
    assert train.parse_settings([str(development), "--output_dir", str(tmp_path)]).test_splits == []
