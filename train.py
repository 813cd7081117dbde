"""
Train ISER or any of its variants, on one device or many.

    python train.py recipes/conll04.yaml --data_dir path/to/conll04 --output_dir runs/conll04
    accelerate launch train.py recipes/ch_ddi.yaml --output_dir runs/ch_ddi

A recipe is a YAML file of the settings below; the command line overrides it.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evaluate
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi
from safetensors.torch import load_file, load_model, save_file, save_model
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from datasets_scripts import load_ch_ddi, load_conll04
from modeling_iser import (
    VARIANTS,
    DdiExtractionPipeline,
    IserCollator,
    IserForJointExtraction,
    MentionReplacement,
    prepare_sentences,
)
from modeling_iser.card_iser import model_card
from modeling_iser.collation_iser import Sentence, max_sentence_tokens
from modeling_iser.configuration_iser import check_choice


logger = logging.getLogger("train")

DATASETS = {"conll04": load_conll04, "ch_ddi": load_ch_ddi}
METRIC = str(Path(__file__).resolve().parent / "evaluate_iser")


# ---------------------------------------------------------------------------------------- settings


def setting(default: Any, help: str) -> Any:
    """A field of `Settings` with its help text."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class Settings:
    """What a run is: data, model, training and output. A recipe sets the same names."""

    dataset: str = setting("conll04", f"Data set: {', '.join(DATASETS)}.")
    data_dir: str | None = setting(None, "Directory of the data; default: the data set's own source.")
    on_error: str = setting("raise", "Broken records: 'raise', or 'skip' to count and list them.")
    train_split: str = setting("train", "Split to train on; several are joined by '+'.")
    validation_split: str = setting("validation", "Split that chooses the best checkpoint.")
    validation_fraction: float = setting(
        0.0, "Without such a split: share of the training documents to hold out for it; 0 takes the last checkpoint."
    )
    test_splits: list[str] = setting(["test"], "Splits to evaluate on at the end; may be none.")

    max_train_documents: int | None = setting(None, "Train on the first so many documents; default: all.")
    max_evaluation_documents: int | None = setting(None, "Evaluate on the first so many of each split; default: all.")

    encoder: str | None = setting(None, "Pretrained encoder: name on the Hub or directory.")
    checkpoint: str | None = setting(
        None, "ISER checkpoint to start from, with all its settings of the model, in place of an encoder."
    )
    pretrained: bool = setting(True, "False: random weights; only the encoder's configuration and tokenizer are used.")
    variant: str = setting("iser", f"System of the paper: {', '.join(VARIANTS)}.")
    max_span_width: int = setting(10, "Width limit of candidate spans, in words.")
    width_embedding_size: int = setting(25, "Size of the width embedding.")
    projection_activation: str = setting("none", "Activation of the feed-forward layers before the fusion.")
    fusion_residual: bool = setting(True, "False: the paper's fusion as written, without residual connections.")
    proposal_threshold: float = setting(0.1, "First-pass score a span needs for its context to be looked at; 0: none.")
    context_attention_heads: int = setting(8, "Attention heads of the span context.")
    dropout: float = setting(0.1, "Dropout on the classifiers' inputs.")
    relation_threshold: float = setting(0.4, "Score from which a relation holds.")
    overlapping_entities: bool = setting(False, "True: entities may share words, as in the paper.")

    num_epochs: int = setting(70, "Passes over the training documents.")
    batch_size: int = setting(2, "Documents of a training step, on each process.")
    group_by_length: bool = setting(
        False, "Sentences of like length share a step: less padding, but steps that are less alike, and lower scores."
    )
    gradient_accumulation_steps: int = setting(1, "Batches whose gradients make one step.")
    learning_rate: float = setting(2e-5, "Peak learning rate.")
    new_layers_learning_rate: float | None = setting(
        None, "Peak learning rate of everything but the encoder; default: the same."
    )
    warmup_ratio: float = setting(0.1, "Share of the steps in which the learning rate rises.")
    weight_decay: float = setting(0.0, "Decoupled weight decay; 0 is plain Adam.")
    max_gradient_norm: float = setting(1.0, "Gradients are clipped to this norm.")
    negative_spans: int = setting(100, "Negative spans of a sentence.")
    negative_pairs: int = setting(100, "Negative pairs of a sentence.")
    mention_replacement: float = setting(
        0.0, "Probability that a mention is replaced by another one of its type, drawn anew in each epoch."
    )
    mixed_precision: str = setting("no", "no, bf16 or fp16.")
    seed: int = setting(0, "Seed of initial weights, data order, dropout and negative samples.")

    evaluation_batch_size: int = setting(1, "Documents that evaluation takes at once; the scores do not depend on it.")
    evaluate_every: int = setting(1, "Epochs between evaluations.")
    evaluate_first: bool = setting(False, "Print the scores on the test splits before any training too.")
    metric: str = setting("relation_micro_f1", "Score that chooses the best checkpoint.")
    patience: int = setting(0, "Stop after so many evaluations without a better score; 0: never.")

    examples: int = setting(0, "Test documents whose triples are printed at the end.")

    output_dir: str | None = setting(None, "Directory of checkpoints, logs, scores and the final model. Required.")
    checkpoint_every: int = setting(500, "Steps between checkpoints, beside one after every epoch.")
    resume: bool = setting(False, "Continue the run in output_dir.")
    push_to_hub: bool = setting(False, "Upload the final model.")
    hub_model_id: str | None = setting(None, "Name of the model on the Hub; default: output_dir's name.")

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("output_dir is not set: give it in the recipe or as --output_dir.")
        if bool(self.encoder) == bool(self.checkpoint):
            raise ValueError("Give either encoder or checkpoint, in the recipe or as --encoder or --checkpoint.")
        check_choice("dataset", self.dataset, tuple(DATASETS))
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("mixed_precision", self.mixed_precision, ("no", "bf16", "fp16"))
        for name in ("num_epochs", "batch_size", "gradient_accumulation_steps", "evaluation_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0.0 <= self.mention_replacement <= 1.0:
            raise ValueError(f"mention_replacement must lie between 0 and 1, got {self.mention_replacement}.")
        for name in ("warmup_ratio", "validation_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}.")


# Settings that may differ between a run and its continuation: they do not change what is learned.
_FREE_ON_RESUME = {
    "resume", "output_dir", "data_dir", "examples", "push_to_hub", "hub_model_id", "checkpoint_every"
}  # fmt: skip


def parse_settings(arguments: Sequence[str]) -> Settings:
    """
    Settings from `[recipe.yaml] [--name value …]`.

    Raises:
        ValueError: for a recipe that cannot be read, an unknown name, and a value out of range.
        SystemExit: for a value of the wrong type.
    """
    parser: Any = HfArgumentParser(
        Settings,  # type: ignore[arg-type]
        description=__doc__,
        allow_abbrev=False,
        usage="%(prog)s [recipe.yaml] [options]",
    )
    # HfArgumentParser overrules a field's own nargs with "+", which takes no empty list.
    for action in parser._actions:
        action.nargs = "*" if action.nargs == "+" else action.nargs
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        arguments = [*_recipe_arguments(Path(arguments[0])), *arguments[1:]]
    settings, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if unknown:
        raise ValueError(_no_setting(unknown[0].removeprefix("--")))
    return settings


def _no_setting(name: str) -> str:
    known = [item.name for item in dataclasses.fields(Settings)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known settings: {', '.join(known)}."
    return f"{name!r} is no setting.{hint}"


def _recipe_arguments(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"There is no recipe {path}.")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} must hold one 'name: value' a line.")
    known = [item.name for item in dataclasses.fields(Settings)]
    arguments: list[str] = []
    for name, value in recipe.items():
        if name not in known:
            raise ValueError(f"{path}: {_no_setting(str(name))}")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *map(str, values)]
    return arguments


# -------------------------------------------------------------------------------------------- data


def load_splits(settings: Settings) -> tuple[Dataset, Dataset | None, dict[str, Dataset]]:
    """Documents to train on, to choose the best checkpoint by (or `None`), and to test on, by split name."""
    splits = DATASETS[settings.dataset](settings.data_dir, on_error=settings.on_error)
    names = settings.train_split.split("+")
    train = _concatenate([_split(splits, name) for name in names])
    if settings.validation_split in splits and settings.validation_split not in names:
        validation = splits[settings.validation_split]
    elif settings.validation_fraction > 0:
        held_out = train.train_test_split(settings.validation_fraction, seed=settings.seed)
        train, validation = held_out["train"], held_out["test"]
    else:
        validation = None
    tests = {name: _first(_split(splits, name), settings.max_evaluation_documents) for name in settings.test_splits}
    if validation is not None:
        validation = _first(validation, settings.max_evaluation_documents)
    return _first(train, settings.max_train_documents), validation, tests


def _first(documents: Dataset, most: int | None) -> Dataset:
    return documents.select(range(min(most, len(documents)))) if most is not None else documents


def _split(splits: DatasetDict, name: str) -> Dataset:
    if name not in splits:
        raise ValueError(f"There is no split {name!r}. The data set has: {', '.join(splits)}.")
    return splits[name]


def _concatenate(parts: Sequence[Dataset]) -> Dataset:
    from datasets import concatenate_datasets

    return parts[0] if len(parts) == 1 else concatenate_datasets(list(parts))


def label_types(*splits: Iterable[dict[str, Any]] | None) -> tuple[list[str], list[str]]:
    """The entity and relation types that occur in the documents, sorted."""
    entities: set[str] = set()
    relations: set[str] = set()
    for split in splits:
        for document in split or ():
            entities.update(entity["type"] for entity in document["entities"])
            relations.update(relation["type"] for relation in document["relations"])
    return sorted(entities), sorted(relations)


# --------------------------------------------------------------------------------------- randomness


def derived_seed(*parts: Any) -> int:
    """A seed that depends on all the parts and on nothing else."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


# Sentences are grouped by length within so many steps: far more would hardly save padding, and make the steps of every
# epoch the same.
_STEPS_OF_A_POOL = 16


def epoch_order(seed: int, epoch: int, lengths: Sequence[int], step_size: int) -> list[int]:
    """
    The order of the training sentences in an epoch: random, but those of a step are of like length.

    Args:
        lengths: length of each sentence; where all are equal, this is a plain shuffle.
        step_size: sentences of an optimizer step.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = _STEPS_OF_A_POOL * step_size
    steps: list[list[int]] = []
    for first in range(0, len(order), pool):
        alike = sorted(order[first : first + pool], key=lengths.__getitem__)
        steps += [alike[start : start + step_size] for start in range(0, len(alike), step_size)]
    # The last step may be a smaller one, and has to stay the last.
    places = [*torch.randperm(len(steps) - 1, generator=generator).tolist(), len(steps) - 1]
    return [index for place in places for index in steps[place]]


# -------------------------------------------------------------------------------------- checkpoints


@dataclass
class Progress:
    """How far a run is; saved with every checkpoint."""

    step: int = 0
    """Optimizer steps done."""
    best_step: int | None = None
    best_score: float | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each evaluation: epoch, step and scores."""


class Checkpoints:
    """
    Checkpoints of a run, written atomically: a directory under its final name is always complete.

    Randomness is a function of seed and step, so weights, optimizer state and progress are all there is to
    a run. Files are safetensors and JSON.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.directory = Path(output_dir) / "checkpoints"

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return max(self.directory.glob("step-" + "[0-9]" * 8), default=None)

    def best_weights(self, step: int) -> Path:
        """Where the weights after the best evaluation are."""
        return self.directory / f"best-{step:08d}.safetensors"

    def save_best(self, model: torch.nn.Module, step: int) -> None:
        """Save the weights of the best evaluation so far; older ones go when a checkpoint confirms these."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / "best.tmp"
        save_model(model, str(temporary))
        _sync(temporary)
        os.replace(temporary, self.best_weights(step))

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: Any,
        progress: Progress,
        settings: Settings,
    ) -> None:
        """Write a checkpoint, then remove what it replaces."""
        final = self.directory / f"step-{progress.step:08d}"
        temporary = final.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_model(model, str(temporary / "model.safetensors"))
        save_file(_optimizer_tensors(model, optimizer), str(temporary / "optimizer.safetensors"))
        state = {
            "progress": dataclasses.asdict(progress),
            "settings": dataclasses.asdict(settings),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        (temporary / "state.json").write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        _sync(self.directory)
        for path in self.directory.iterdir():
            if path == final or (progress.best_step is not None and path == self.best_weights(progress.best_step)):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def load(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, settings: Settings
    ) -> Progress:
        """
        Restore the newest checkpoint; a fresh `Progress` where there is none yet.

        Raises:
            ValueError: when the checkpoint belongs to a run with other settings.
        """
        checkpoint = self.latest()
        if checkpoint is None:
            return Progress()
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        now = dataclasses.asdict(settings)
        changed = [
            f"{name}: {state['settings'].get(name)!r} → {value!r}"
            for name, value in now.items()
            if name not in _FREE_ON_RESUME and state["settings"].get(name) != value
        ]
        if changed:
            raise ValueError(
                f"The run in {self.directory.parent} has other settings ({'; '.join(changed)}). Resume it with its own "
                "settings, or choose another output_dir."
            )
        load_model(model, str(checkpoint / "model.safetensors"))
        _load_optimizer_tensors(model, optimizer, load_file(str(checkpoint / "optimizer.safetensors")))
        if scaler is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        return Progress(**state["progress"])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    states = optimizer.state
    return {
        f"{name}/{key}": tensor.detach().contiguous()
        for name, parameter in model.named_parameters()
        for key, tensor in states.get(parameter, {}).items()
    }


def _load_optimizer_tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    parameters = dict(model.named_parameters())
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        # Adam keeps its step counter on the CPU.
        optimizer.state[parameter][slot] = tensor if slot == "step" else tensor.to(parameter.device)


# ----------------------------------------------------------------------------------------- training


def build_model(settings: Settings, entity_types: list[str], relation_types: list[str]) -> IserForJointExtraction:
    """
    A new model on the encoder, or the checkpoint to go on from.

    Raises:
        ValueError: for a checkpoint that does not know a label of the data.
    """
    if settings.checkpoint:
        model = IserForJointExtraction.from_pretrained(settings.checkpoint, dtype=torch.float32)
        for known, wanted in ((model.config.entity_types, entity_types), (model.config.relation_types, relation_types)):
            if unknown := set(wanted) - set(known):
                raise ValueError(
                    f"{settings.checkpoint} knows {', '.join(known)}, but the data also has "
                    f"{', '.join(sorted(unknown))}. Start from an encoder to learn other labels."
                )
        return model
    return IserForJointExtraction.from_encoder(
        str(settings.encoder),
        entity_types,
        relation_types,
        pretrained=settings.pretrained,
        max_span_width=settings.max_span_width,
        width_embedding_size=settings.width_embedding_size,
        projection_activation=settings.projection_activation,
        fusion_residual=settings.fusion_residual,
        proposal_threshold=settings.proposal_threshold,
        context_attention_heads=settings.context_attention_heads,
        dropout=settings.dropout,
        relation_threshold=settings.relation_threshold,
        overlapping_entities=settings.overlapping_entities,
        **VARIANTS[settings.variant],
    )


def build_optimizer(model: IserForJointExtraction, settings: Settings) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay; the new layers may learn at a rate of their own."""
    new_rate = settings.new_layers_learning_rate or settings.learning_rate
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = settings.learning_rate if name.startswith("iser.encoder.") else new_rate
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        fused=True,
    )


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """Linear warm-up, then linear decay to zero, as a share of the peak rate; `step` counts from 0."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


def score(
    model: IserForJointExtraction, documents: Dataset, accelerator: Accelerator, settings: Settings
) -> dict[str, Any]:
    """Scores of `extract` on the documents; the processes share the work, each document counts once."""
    everything = list(documents)
    mine = everything[accelerator.process_index :: accelerator.num_processes]
    with accelerator.autocast():
        extracted = model.extract([document["tokens"] for document in mine], batch_size=settings.evaluation_batch_size)
    found = gather_object(extracted)
    # Processes are gathered one after the other; undo the striding.
    shares = [range(index, len(everything), accelerator.num_processes) for index in range(accelerator.num_processes)]
    order = [index for share in shares for index in share]
    predictions: list[dict[str, Any]] = [{}] * len(everything)
    for index, document in zip(order, found, strict=True):
        predictions[index] = document
    metric = evaluate.load(METRIC, experiment_id=f"process-{os.getpid()}")
    return metric.compute(predictions=predictions, references=everything)


def train(settings: Settings) -> dict[str, dict[str, Any]]:
    """
    Run, or continue, what the settings say.

    Returns:
        Scores of the best checkpoint for each evaluated split.

    Raises:
        ValueError: for settings or data that cannot be used.
        FloatingPointError: when the loss is no longer a number.
    """
    output_dir = Path(str(settings.output_dir))
    checkpoints = Checkpoints(output_dir)
    if not settings.resume and (checkpoints.latest() is not None or (output_dir / "scores.json").exists()):
        raise ValueError(f"{output_dir} holds a run already. Continue it with --resume, or choose another output_dir.")
    accelerator = Accelerator(
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        mixed_precision=settings.mixed_precision,
        log_with="tensorboard",
        project_dir=str(output_dir / "logs"),
    )
    logging.basicConfig(
        level=logging.INFO if accelerator.is_main_process else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with accelerator.main_process_first():
        documents, validation, tests = load_splits(settings)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    model = build_model(settings, *label_types(documents, validation, *tests.values()))
    sentences, report = prepare_sentences(documents, model.tokenizer, model.config)
    logger.info("Training data: %s", report.summary())
    for name, split in {settings.validation_split: validation, **tests}.items():
        if split is not None:
            logger.info("Split %s: %s", name, prepare_sentences(split, model.tokenizer, model.config)[1].summary())
    if not sentences:
        raise ValueError("There is nothing to train on: no document holds a word.")

    optimizer = build_optimizer(model, settings)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare_model: IserForJointExtraction = accelerator.unwrap_model(model)
    progress = checkpoints.load(bare_model, optimizer, accelerator.scaler, settings)
    if progress.step:
        logger.info("Continuing after step %d", progress.step)
    accelerator.init_trackers("")

    if settings.evaluate_first and not progress.step:
        before = {name: score(bare_model, split, accelerator, settings) for name, split in tests.items()}
        if accelerator.is_main_process:
            print(f"Before training:\n{score_table(before)}\n")
    _run_epochs(settings, accelerator, model, bare_model, optimizer, sentences, validation, checkpoints, progress)

    if progress.best_step is not None:
        load_model(bare_model, str(checkpoints.best_weights(progress.best_step)))
    final_splits = {settings.validation_split: validation, **tests}
    scores = {
        name: score(bare_model, split, accelerator, settings)
        for name, split in final_splits.items()
        if split is not None
    }
    if accelerator.is_main_process:
        _publish(bare_model, settings, progress, scores, len(documents))
        for split in list(tests.values())[-1:]:
            _show_triples(bare_model, split, settings.examples)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return scores


def _run_epochs(
    settings: Settings,
    accelerator: Accelerator,
    model: torch.nn.Module,
    bare_model: IserForJointExtraction,
    optimizer: Any,
    sentences: list[Sentence],
    validation: Dataset | None,
    checkpoints: Checkpoints,
    progress: Progress,
) -> None:
    collator = IserCollator(
        bare_model.tokenizer, bare_model.config, settings.negative_spans, settings.negative_pairs, settings.seed
    )
    if settings.mention_replacement:
        max_tokens = max_sentence_tokens(bare_model.tokenizer, bare_model.config)
        collator.replacement = MentionReplacement(sentences, settings.mention_replacement, max_tokens)
    documents_per_step = settings.batch_size * accelerator.num_processes * settings.gradient_accumulation_steps
    steps_per_epoch = math.ceil(len(sentences) / documents_per_step)
    lengths = [len(sentence.word_tokens) if settings.group_by_length else 0 for sentence in sentences]
    total_steps = settings.num_epochs * steps_per_epoch
    warmup_steps = round(settings.warmup_ratio * total_steps)
    started = time.monotonic() - progress.seconds

    def save_checkpoint() -> None:
        progress.seconds = time.monotonic() - started
        if accelerator.is_main_process:
            checkpoints.save(bare_model, optimizer.optimizer, accelerator.scaler, progress, settings)
        accelerator.wait_for_everyone()

    def collate(batch: list[Sentence]) -> tuple[dict[str, torch.Tensor], list[str]]:
        return collator(batch), [sentence.document_id for sentence in batch]

    bar = tqdm(
        total=total_steps, initial=progress.step, unit="step", disable=not accelerator.is_main_process, mininterval=1.0
    )
    for epoch in range(progress.step // steps_per_epoch, settings.num_epochs):
        if progress.stopped_early:
            break
        bar.set_description(f"epoch {epoch + 1}/{settings.num_epochs}")
        collator.epoch = epoch
        done = (progress.step - epoch * steps_per_epoch) * documents_per_step
        order = epoch_order(settings.seed, epoch, lengths, documents_per_step)[done:]
        loader = accelerator.prepare(
            DataLoader(Subset(sentences, order), batch_size=settings.batch_size, collate_fn=collate)  # type: ignore[arg-type]
        )
        model.train()
        micro_step = 0
        for batch, names in loader:
            torch.manual_seed(
                derived_seed(settings.seed, "dropout", progress.step, micro_step, accelerator.process_index)
            )
            factor = learning_rate_factor(progress.step, total_steps, warmup_steps)
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            with accelerator.accumulate(model):
                output = model(**batch)
                if not torch.isfinite(output.loss):
                    raise FloatingPointError(
                        f"The loss is {output.loss.item()} at step {progress.step + 1}, documents {', '.join(names)}. "
                        f"Lower learning_rate ({settings.learning_rate:g}) or raise warmup_ratio"
                        f"{'; or use bf16 instead of fp16' if settings.mixed_precision == 'fp16' else ''}. The last "
                        "checkpoint is kept."
                    )
                accelerator.backward(output.loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
                optimizer.step()
                optimizer.zero_grad()
            micro_step += 1
            if not accelerator.sync_gradients:
                continue
            micro_step = 0
            progress.step += 1
            bar.update()
            if progress.step % 10 == 0:
                losses = {
                    "loss": output.loss.item(),
                    "entity_loss": output.entity_loss.item(),
                    "relation_loss": output.relation_loss.item(),
                }
                bar.set_postfix(loss=f"{losses['loss']:.3f}")
                accelerator.log({**losses, "learning_rate": optimizer.param_groups[0]["lr"]}, step=progress.step)
            if progress.step % settings.checkpoint_every == 0 and progress.step % steps_per_epoch:
                save_checkpoint()
        last = epoch + 1 == settings.num_epochs
        if validation is not None and (last or (epoch + 1) % settings.evaluate_every == 0):
            scores = score(bare_model, validation, accelerator, settings)
            if _record(progress, epoch + 1, scores, settings) and accelerator.is_main_process:
                checkpoints.save_best(bare_model, progress.step)
            accelerator.log(
                {f"validation/{name}": value for name, value in scores.items() if isinstance(value, float)},
                step=progress.step,
            )
            logger.info("Epoch %d: %s", epoch + 1, headline(scores))
        save_checkpoint()
    bar.close()


def _record(progress: Progress, epoch: int, scores: dict[str, Any], settings: Settings) -> bool:
    """Enter an evaluation into the progress; whether it is the best so far."""
    if settings.metric not in scores:
        check_choice("metric", settings.metric, [name for name, value in scores.items() if isinstance(value, float)])
    value = scores[settings.metric]
    numbers = {name: number for name, number in scores.items() if isinstance(number, float)}
    progress.history.append({"epoch": epoch, "step": progress.step, **numbers})
    better = progress.best_score is None or value > progress.best_score
    if better:
        progress.best_score, progress.best_step = value, progress.step
        progress.evaluations_without_gain = 0
    else:
        progress.evaluations_without_gain += 1
        progress.stopped_early = 0 < settings.patience <= progress.evaluations_without_gain
    return better


# ------------------------------------------------------------------------------------------ results


def headline(scores: dict[str, Any]) -> str:
    """Entity and relation F1 of an evaluation in one line."""
    return (
        f"entity F1 {100 * scores['entity_micro_f1']:.2f} micro, {100 * scores['entity_macro_f1']:.2f} macro; "
        f"relation F1 {100 * scores['relation_micro_f1']:.2f} micro, {100 * scores['relation_macro_f1']:.2f} macro"
    )


def score_table(scores: dict[str, dict[str, Any]]) -> str:
    """Precision, recall and F1 in percent for each split, micro and macro, as a Markdown table."""
    lines = [
        "| split | | entity P / R / F1 | relation P / R / F1 | relation, boundaries only P / R / F1 |",
        "|---|---|---|---|---|",
    ]
    for split, values in scores.items():
        for average in ("micro", "macro"):
            cells = (
                " / ".join(f"{100 * values[f'{what}_{average}_{name}']:.2f}" for name in ("precision", "recall", "f1"))
                for what in ("entity", "relation", "relation_boundary")
            )
            lines.append(f"| {split} | {average} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _publish(
    model: IserForJointExtraction,
    settings: Settings,
    progress: Progress,
    scores: dict[str, dict[str, Any]],
    num_documents: int,
) -> None:
    """Write the final model with its card and scores into output_dir; upload it if asked to."""
    output_dir = Path(str(settings.output_dir))
    table = score_table(scores)
    values = "\n".join(f"- {name}: `{value}`" for name, value in dataclasses.asdict(settings).items())
    sections = f"""
## Scores

{table}

In percent, strict: boundaries and types of both entities, direction and relation type must be right.

## Training

{num_documents} documents of `{settings.dataset}` ({settings.train_split}); {progress.step} steps in \
{progress.seconds / 60:.1f} minutes{f"; weights of step {progress.best_step}" if progress.best_step else ""}.

{values}
"""
    temporary = output_dir / "model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    (temporary / "README.md").write_text(model_card(model.config, sections), encoding="utf-8")
    result = {
        "scores": scores,
        "settings": dataclasses.asdict(settings),
        "progress": dataclasses.asdict(progress),
    }
    (temporary / "scores.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    # The scores come last: where they are, the model is complete.
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == "scores.json"):
        os.replace(path, output_dir / path.name)
    temporary.rmdir()
    logger.info("The model is in %s\n%s", output_dir, table)
    if settings.push_to_hub:
        hub = HfApi()
        repository = hub.create_repo(settings.hub_model_id or output_dir.name, exist_ok=True).repo_id
        hub.upload_folder(repo_id=repository, folder_path=output_dir, ignore_patterns=["checkpoints/*", "logs/*"])
        logger.info("The model is on the Hub as %s", repository)


def _show_triples(model: IserForJointExtraction, documents: Dataset, count: int) -> None:
    """Print what the model finds in the first documents."""
    extractor = DdiExtractionPipeline(model=model, tokenizer=model.tokenizer)
    for text in documents["text"][:count]:
        print(f"\n{text}")
        for relation in extractor(text)["relations"]:
            head, tail = relation["head"]["text"], relation["tail"]["text"]
            print(f"    {head} —{relation['type']}→ {tail}  ({relation['score']:.2f})")


def main() -> None:
    """Entry point of the command line."""
    try:
        train(parse_settings(sys.argv[1:]))
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
