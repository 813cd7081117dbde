"""
Train ISER, one of its variants, or one of the systems that it is compared with, on one or more devices.

    python train.py recipes/conll04.yaml --data_dir path/to/conll04 --output_dir runs/conll04
    accelerate launch train.py recipes/ch_ddi.yaml --output_dir runs/ch_ddi

A recipe is a YAML file of the settings below; the command line overrides it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import inspect
import json
import logging
import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, HfArgumentParser

import evaluate_iser
from baselines import SYSTEMS, System
from modeling_iser import (
    IserConfig,
    IserForJointExtraction,
    JointExtractionConfig,
    JointExtractionModel,
    JointExtractionPipeline,
    MentionReplacement,
    prepare_sentences,
)
from modeling_iser.calibration_iser import MIN_SCORE, fit_calibration
from modeling_iser.card_iser import model_card
from modeling_iser.collation_iser import Sentence, max_sentence_tokens
from modeling_iser.commands import check_model_place, extra, in_options
from modeling_iser.configuration_iser import check_choice


COMMAND = {"__main__": "train.py", "training_iser.train": "iser-train"}.get(__name__)
"""The command that this file runs as; `None` where it is imported for its functions."""

with extra("train", COMMAND):
    import evaluate
    import yaml
    from accelerate import Accelerator
    from accelerate.utils import gather_object
    from datasets import Dataset, DatasetDict

    from datasets_scripts import Labels, load_ch_ddi, load_conll04, load_corpus
    from datasets_scripts.corpus import found_labels
    from datasets_scripts.subsets import (
        divide,
        fitting_span_width,
        frequent_end_types,
        group_of,
        keep_labels,
        labels_to_learn,
        relation_signatures,
    )

logger = logging.getLogger("train")

DATASETS: dict[str, Any] = {"conll04": load_conll04, "ch_ddi": load_ch_ddi, "corpus": load_corpus}
MIN_TO_DIVIDE = 100
"""
Minimum number of documents in a corpus from which validation documents are held out by default: a tenth of fewer
documents is too few to choose a checkpoint by.
"""
MIN_STEPS = 50
"""Minimum number of training steps: with fewer, new labels are hardly learned, even from a trained model."""
TEACHERS_DIRECTORY = "teachers"
"""Subdirectory of a run with the teachers that its model learns from."""
METRIC = str(Path(evaluate_iser.__path__[0]))


# ---------------------------------------------------------------------------------------- settings


def setting(default: Any, help: str) -> Any:
    """A field of `Settings` with its help text."""
    metadata = {"help": help.replace("%", "%%")}  # argparse formats help texts with %.
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Show defaults, and the examples of the description line by line."""


@dataclass
class Settings:
    """Settings of a run: data, model, training and output. A recipe uses the same names."""

    dataset: str = setting("conll04", f"Data set: {', '.join(DATASETS)}.")
    data_dir: str | None = setting(
        None, "Directory of the data, or file of a corpus; default: the data set's own source."
    )
    data_files: list[str] = setting(
        [], "Files of a corpus instead of data_dir, each as split=file; in a recipe also a mapping."
    )
    format: str | None = setting(None, "Format of a corpus; default: detected from its content.")
    columns: list[str] = setting(
        [], "Column names of a data set used as a corpus, each as ours=theirs; in a recipe also a mapping."
    )
    grow_entities: bool = setting(False, "Extend entities that begin or end within a word to whole words.")
    entity_types: list[str] = setting([], "Entity types to learn, others are left out; default: all that occur.")
    relation_types: list[str] = setting([], "Relation types to learn, others are left out; default: all that occur.")
    symmetric_relations: list[str] = setting(
        [], "Relation types without direction; default: those in the corpus's …types.json."
    )
    on_error: str = setting("raise", "For broken records: 'raise' an error, or 'skip' them, with a count and a list.")
    train_split: str = setting("train", "Split to train on; join several with '+'.")
    validation_split: str = setting("validation", "Split to choose the best checkpoint on.")
    validation_fraction: float | None = setting(
        None,
        "Without a validation split: fraction of the training documents to hold out for validation; 0 keeps the last "
        f"checkpoint. Default: 0.1 for a corpus of at least {MIN_TO_DIVIDE} documents, otherwise 0.",
    )
    test_splits: list[str] = setting(
        ["test"], "Splits to evaluate on at the end; may be empty. A corpus may lack the default split."
    )

    max_train_documents: int | None = setting(None, "Train on at most the first N documents; default: all.")
    max_evaluation_documents: int | None = setting(
        None, "Evaluate on at most the first N documents of each split; default: all."
    )

    encoder: str | None = setting(None, "Pretrained encoder: name on the Hub or directory.")
    checkpoint: str | None = setting(
        None, "Checkpoint to start from, with all of its model settings, instead of an encoder."
    )
    train_only: str | None = setting(
        None, "Train only the parameters whose names begin with this prefix, for example first_pass; default: all."
    )
    pretrained: bool = setting(True, "False: random weights; only the encoder's configuration and tokenizer are used.")
    system: str = setting("iser", f"System to train: {', '.join(SYSTEMS)}.")
    system_options: list[str] = setting(
        [], "Additional fields of the system's configuration, each as name=value; in a recipe also a mapping."
    )
    max_span_width: int | None = setting(
        None,
        "Maximum width of candidate spans, in words; default: covers 99.9 % of the training entities, 10 to 30.",
    )
    width_embedding_size: int = setting(25, "Size of the width embedding.")
    projection_activation: str = setting("none", "Activation of the feed-forward layers before the fusion.")
    fusion_residual: bool = setting(True, "False: the paper's fusion as written, without a residual connection.")
    first_pass_threshold: float = setting(
        0.2, "Minimum first-pass score for a span's context to be computed; 0: no first pass."
    )
    context_attention_heads: int = setting(8, "Attention heads of the span context.")
    dropout: float | None = setting(None, "Dropout on the classifiers' inputs; default: the system's (ISER: 0.1).")
    relation_threshold: float | None = setting(None, "Minimum score of a relation; default: the system's (ISER: 0.4).")
    relation_thresholds: list[str] = setting(
        [],
        "Minimum scores of single relation types in place of relation_threshold, each as type=score; in a recipe also "
        "a mapping.",
    )
    constrain_relations: bool = setting(
        True, "Drop relations whose combination of head type, relation type and tail type is not in the training data."
    )
    overlapping_entities: bool | None = setting(
        None, "Whether entities may share words, as in the paper; default: the system's (ISER: no)."
    )

    num_epochs: int = setting(70, "Passes over the training documents.")
    batch_size: int = setting(2, "Documents per batch on each process.")
    group_by_length: bool = setting(
        False, "Group sentences of similar length into a step: less padding, but less varied steps and lower scores."
    )
    gradient_accumulation_steps: int = setting(1, "Batches per optimizer step.")
    learning_rate: float = setting(2e-5, "Peak learning rate.")
    new_layers_learning_rate: float | None = setting(
        None, "Peak learning rate of everything but the encoder; default: learning_rate."
    )
    warmup_ratio: float = setting(0.1, "Fraction of the steps in which the learning rate rises.")
    weight_decay: float = setting(0.0, "Decoupled weight decay; 0 is plain Adam.")
    max_gradient_norm: float = setting(1.0, "Gradients are clipped to this norm.")
    negative_spans: int = setting(100, "Maximum number of negative spans per sentence.")
    negative_pairs: int = setting(100, "Maximum number of negative pairs per sentence.")
    mention_replacement: float = setting(
        0.0, "Probability that a mention is replaced with another one of its type, drawn anew in each epoch."
    )
    mixed_precision: str = setting("no", "no, bf16 or fp16.")
    seed: int = setting(0, "Seed of initial weights, data order, dropout and negative samples.")

    evaluation_batch_size: int = setting(1, "Documents per batch in evaluation; the scores do not depend on it.")
    evaluate_every: int = setting(1, "Epochs between evaluations.")
    evaluate_first: bool = setting(False, "Also print the scores on the test splits before training.")
    metric: str = setting("relation_micro_f1", "Score that chooses the best checkpoint.")
    calibrate: bool = setting(
        False, "Calibrate the scores on the validation split, so that they estimate the probability of being correct."
    )
    patience: int = setting(0, "Stop after this many evaluations without improvement; 0: never.")

    examples: int = setting(0, "Number of test documents whose triples are printed at the end.")

    output_dir: str | None = setting(None, "Directory for checkpoints, logs, scores and the final model. Required.")
    checkpoint_every: int = setting(500, "Steps between checkpoints, in addition to one after every epoch.")
    resume: bool = setting(False, "Continue the run in output_dir.")
    push_to_hub: bool = setting(False, "Upload the final model.")
    hub_model_id: str | None = setting(None, "Name of the model on the Hub; default: output_dir's name.")

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("output_dir is not set: give it in the recipe or as --output_dir.")
        if bool(self.encoder) == bool(self.checkpoint):
            raise ValueError("Give either encoder or checkpoint, in the recipe or as --encoder or --checkpoint.")
        check_choice("dataset", self.dataset, tuple(DATASETS))
        for name in ("format", "data_files", "symmetric_relations", "columns", "grow_entities"):
            if getattr(self, name) and self.dataset != "corpus":
                raise ValueError(f"{name} can only be set with dataset: corpus; {self.dataset} has its own.")
        if self.checkpoint and self.system_options:
            raise ValueError("system_options can only be set for a new model; a checkpoint has its own configuration.")
        if self.data_dir and self.data_files:
            raise ValueError("Give either data_dir or data_files.")
        for name in ("data_files", "columns", "system_options", "relation_thresholds"):
            if unnamed := [item for item in getattr(self, name) if not all(item.partition("="))]:
                raise ValueError(f"{name}: {unnamed[0]!r} must have the form name=value, such as train=notes.jsonl.")
        check_choice("system", self.system, tuple(SYSTEMS))
        check_choice("mixed_precision", self.mixed_precision, ("no", "bf16", "fp16"))
        for name in (
            "num_epochs", "batch_size", "gradient_accumulation_steps", "evaluation_batch_size", "evaluate_every",
            "checkpoint_every",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0.0 <= self.mention_replacement <= 1.0:
            raise ValueError(f"mention_replacement must lie between 0 and 1, got {self.mention_replacement}.")
        for name in ("warmup_ratio", "validation_fraction"):
            if not 0.0 <= (getattr(self, name) or 0.0) < 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}.")


# Settings that may differ when a run is resumed, since they do not change the trained model.
_FREE_ON_RESUME = {
    "resume", "output_dir", "data_dir", "data_files", "examples", "push_to_hub", "hub_model_id", "checkpoint_every"
}  # fmt: skip


def parse_settings(arguments: Sequence[str]) -> Settings:
    """
    Settings from `[recipe.yaml] [--name value …]`.

    Raises:
        ValueError: if the recipe cannot be read, a name is unknown, or a value is out of range.
        SystemExit: if a value has the wrong type.
    """
    parser: Any = HfArgumentParser(
        Settings,  # type: ignore[arg-type]
        description=__doc__,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s [recipe.yaml] [options]",
    )
    # HfArgumentParser overrides a field's own nargs with "+", which accepts no empty list.
    for action in parser._actions:
        action.nargs = "*" if action.nargs == "+" else action.nargs
    arguments = [{"--variant": "--system"}.get(argument, argument) for argument in arguments]  # the former name
    if arguments and not arguments[0].startswith("-"):
        arguments = [*_recipe_arguments(Path(arguments[0])), *arguments[1:]]
    settings, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if unknown:
        raise ValueError(_unknown_setting(unknown[0].removeprefix("--")))
    return settings


def _unknown_setting(name: str) -> str:
    known = [item.name for item in dataclasses.fields(Settings)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known settings: {', '.join(known)}."
    return f"{name!r} is not a setting.{hint}"


def _recipe_arguments(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"There is no recipe {path}.")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} must contain one 'name: value' per line.")
    known = [item.name for item in dataclasses.fields(Settings)]
    arguments: list[str] = []
    for name, value in recipe.items():
        name = "system" if name == "variant" else name  # the former name
        if name not in known:
            raise ValueError(f"{path}: {_unknown_setting(str(name))}")
        if value is None:
            continue
        if isinstance(value, dict):
            value = [f"{key}={item}" for key, item in value.items()]
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *map(str, values)]
    return arguments


# -------------------------------------------------------------------------------------------- data


class Data(NamedTuple):
    """The documents of a run, and the labels to learn."""

    train: Dataset
    validation: Dataset | None
    """Documents to choose the best checkpoint on, if any."""
    tests: dict[str, Dataset]
    labels: Labels


def load_splits(settings: Settings, splits: DatasetDict | None = None) -> Data:
    """
    Load the documents of a run, and determine the labels to learn.

    Args:
        settings: settings of the run.
        splits: documents by split name, instead of those that the settings name.

    Raises:
        ValueError: if a split is missing, or no document has one of the labels to learn.
    """
    splits = splits if splits is not None else _load(settings)
    names = settings.train_split.split("+")
    train = _concatenate([_split(splits, name) for name in names])
    validation = splits.get(settings.validation_split) if settings.validation_split not in names else None
    fraction = settings.validation_fraction
    if fraction is None:
        fraction = 0.1 if settings.dataset == "corpus" and len(train) >= MIN_TO_DIVIDE else 0.0
    if validation is None and fraction > 0:
        documents = train.to_list()
        groups = [group_of(document) for document in documents]
        parts = divide(documents, groups, {"validation": fraction}, settings.seed)
        train, validation = (Dataset.from_list(parts[name], train.features) for name in ("train", "validation"))
    test_splits = settings.test_splits
    if settings.dataset == "corpus" and test_splits == ["test"] and "test" not in splits:
        logger.info("There is no split 'test': only validation documents are scored.")
        test_splits = []
    tests = {name: _first(_split(splits, name), settings.max_evaluation_documents) for name in test_splits}
    if validation is not None:
        validation = _first(validation, settings.max_evaluation_documents)
    data = Data(_first(train, settings.max_train_documents), validation, tests, Labels())
    return _with_labels_to_learn(data, settings, getattr(splits, "labels", Labels()))


def _load(settings: Settings) -> DatasetDict:
    if settings.dataset != "corpus":
        return DATASETS[settings.dataset](settings.data_dir, on_error=settings.on_error)
    if not settings.data_dir and not settings.data_files:
        raise ValueError("dataset: corpus needs data_dir (the directory or file of your corpus) or data_files.")
    files: dict[str, list[str]] = {}
    for split, _, path in (item.partition("=") for item in settings.data_files):
        files.setdefault(split, []).append(path)
    return load_corpus(
        settings.data_dir,
        format=settings.format,
        data_files=files or None,
        on_error=settings.on_error,
        symmetric_relations=settings.symmetric_relations or None,
        columns={ours: theirs for ours, _, theirs in (item.partition("=") for item in settings.columns)} or None,
        grow_entities=settings.grow_entities,
    )


def _with_labels_to_learn(data: Data, settings: Settings, known: Labels) -> Data:
    """Restrict documents to the labels in the settings (default: all), in the order of the known labels."""
    found = found_labels(data.train, data.validation, *data.tests.values())
    labels = labels_to_learn(found, known, settings.entity_types, settings.relation_types, settings.symmetric_relations)
    if not settings.entity_types and not settings.relation_types:
        return data._replace(labels=labels)
    left_out: Counter[str] = Counter()

    def restrict(split: Dataset) -> Dataset:
        kept, lost = zip(*(keep_labels(document, labels) for document in split.to_list()), strict=True)
        left_out.update(sum(lost, Counter[str]()))
        return Dataset.from_list(list(kept), split.features)

    validation = restrict(data.validation) if data.validation is not None else None
    data = Data(restrict(data.train), validation, {name: restrict(split) for name, split in data.tests.items()}, labels)
    if left_out:
        counts = ", ".join(f"{label} ({count})" for label, count in left_out.most_common())
        logger.info("Left out, since entity_types and relation_types do not list them: %s", counts)
    return data


def _first(documents: Dataset, most: int | None) -> Dataset:
    return documents.select(range(min(most, len(documents)))) if most is not None else documents


def _split(splits: DatasetDict, name: str) -> Dataset:
    if name not in splits:
        raise ValueError(f"There is no split {name!r}. The data set has: {', '.join(splits)}.")
    return splits[name]


def _concatenate(parts: Sequence[Dataset]) -> Dataset:
    from datasets import concatenate_datasets

    return parts[0] if len(parts) == 1 else concatenate_datasets(list(parts))


# --------------------------------------------------------------------------------------- randomness


def derived_seed(*parts: Any) -> int:
    """A seed that depends only on the parts."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


# Number of steps within which sentences are grouped by length. Far more would hardly reduce padding further, and would
# make the steps of all epochs alike.
_STEPS_OF_A_POOL = 16


def epoch_order(seed: int, epoch: int, lengths: Sequence[int], step_size: int) -> list[int]:
    """
    The order of the training sentences in an epoch: random, but sentences in a step have similar lengths.

    Args:
        seed: seed of the run.
        epoch: number of the epoch.
        lengths: length of each sentence; if all are equal, the order is a plain shuffle.
        step_size: number of sentences per optimizer step.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = _STEPS_OF_A_POOL * step_size
    steps: list[list[int]] = []
    for first in range(0, len(order), pool):
        alike = sorted(order[first : first + pool], key=lengths.__getitem__)
        steps += [alike[start : start + step_size] for start in range(0, len(alike), step_size)]
    # The last step may be smaller, and has to stay last.
    places = [*torch.randperm(len(steps) - 1, generator=generator).tolist(), len(steps) - 1]
    return [index for place in places for index in steps[place]]


# -------------------------------------------------------------------------------------- checkpoints


@dataclass
class Progress:
    """Progress of a run, saved with every checkpoint."""

    step: int = 0
    """Number of completed optimizer steps."""
    best_step: int | None = None
    best_score: float | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """Epoch, step and scores of each evaluation."""


class Checkpoints:
    """
    Checkpoints of a run, written atomically: a directory under its final name is always complete.

    Randomness is a function of seed and step, so weights, optimizer state and progress are the complete state of a run.
    Files are safetensors and JSON.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.directory = Path(output_dir) / "checkpoints"

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return max(self.directory.glob("step-" + "[0-9]" * 8), default=None)

    def best_weights(self, step: int) -> Path:
        """Path of the weights with the best evaluation, at this step."""
        return self.directory / f"best-{step:08d}.safetensors"

    def save_best(self, model: torch.nn.Module, step: int) -> None:
        """Save the weights with the best evaluation so far; the next checkpoint removes older ones."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / "best.tmp"
        save_file(_weights(model), str(temporary))
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
        """Write a checkpoint, then remove the files that it replaces."""
        final = self.directory / f"step-{progress.step:08d}"
        temporary = final.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(_weights(model), str(temporary / "model.safetensors"))
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
        Restore the newest checkpoint; without one, return a new `Progress`.

        Raises:
            ValueError: if the checkpoint belongs to a run with other settings.
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
        model.load_state_dict(load_file(str(checkpoint / "model.safetensors")))
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


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the model's tensors: on a GPU, those of a recurrent layer share memory, which safetensors refuses."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


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
        # Adam's step counter stays on the CPU.
        optimizer.state[parameter][slot] = tensor if slot == "step" else tensor.to(parameter.device)


# ----------------------------------------------------------------------------------------- training


def build_model(settings: Settings, data: Data, system: System) -> JointExtractionModel:
    """A new model on the encoder, or the checkpoint to start from, adapted to the data's labels if it lacks any."""
    labels = data.labels
    signatures = relation_signatures(data.train, labels)
    if settings.checkpoint:
        model = _from_checkpoint(settings, labels, signatures)
        if settings.relation_thresholds:
            model.config.relation_thresholds = _relation_thresholds(settings, model.config.relation_types)
        return model
    known = _fields(system.model.config_class)
    options = {name: yaml.safe_load(value) for name, _, value in (o.partition("=") for o in settings.system_options)}
    for name in options:
        if name not in known:
            check_choice("system_options", name, sorted(known))
    fields = {name: getattr(settings, name) for name in _MODEL_SETTINGS if getattr(settings, name) is not None}
    fields |= {
        "symmetric_relations": labels.symmetric_relations,
        "relation_signatures": signatures,
        "end_types": frequent_end_types(data.train),
        "max_span_width": settings.max_span_width or fitting_span_width(data.train),
        "relation_thresholds": _relation_thresholds(settings, labels.relation_types),
    }
    return system.model.from_encoder(
        str(settings.encoder),
        list(labels.entity_types),
        list(labels.relation_types),
        pretrained=settings.pretrained,
        **{name: value for name, value in fields.items() if name in known} | dict(system.fields) | options,
    )


def _relation_thresholds(settings: Settings, relation_types: Sequence[str]) -> dict[str, float]:
    thresholds: dict[str, float] = {}
    for name, _, score in (item.partition("=") for item in settings.relation_thresholds):
        check_choice("relation_thresholds", name, tuple(relation_types))
        try:
            thresholds[name] = float(score)
        except ValueError:
            thresholds[name] = math.nan
        if not 0.0 <= thresholds[name] <= 1.0:
            raise ValueError(f"relation_thresholds: {name}={score} must be a number between 0 and 1.")
    return thresholds


# Settings that are passed to the configuration of a system if it has a field of that name.
_MODEL_SETTINGS = (
    "constrain_relations", "width_embedding_size", "projection_activation", "fusion_residual",
    "first_pass_threshold", "context_attention_heads", "dropout", "relation_threshold", "overlapping_entities",
)  # fmt: skip


def _fields(config_class: type[Any]) -> set[str]:
    """Names of a configuration's fields."""
    classes = [base for base in config_class.__mro__ if issubclass(base, JointExtractionConfig)]
    return {name for base in classes for name in inspect.signature(base.__init__).parameters} - {
        "self", "args", "kwargs"
    }  # fmt: skip


def _from_checkpoint(settings: Settings, labels: Labels, signatures: list[list[str]]) -> JointExtractionModel:
    # Runs the code of this package, not the code beside the weights.
    config = AutoConfig.from_pretrained(str(settings.checkpoint), trust_remote_code=False)
    config.calibration = None  # Further training invalidates it.
    if settings.train_only and settings.train_only.startswith("first_pass"):  # creates one if there is none
        config.first_pass_threshold = config.first_pass_threshold or settings.first_pass_threshold
    model: Any = AutoModel.from_pretrained(
        str(settings.checkpoint), config=config, dtype=torch.float32, trust_remote_code=False
    )
    if not known_labels(config, labels):
        if not isinstance(model, IserForJointExtraction):
            raise ValueError(
                f"{settings.checkpoint} does not know all labels in the data, and only ISER checkpoints can learn new "
                "ones."
            )
        return with_labels(model, labels, signatures)
    if config.relation_signatures is not None:
        config.relation_signatures += [s for s in signatures if s not in config.relation_signatures]
    return model


def known_labels(config: JointExtractionConfig, labels: Labels) -> bool:
    """Whether a checkpoint knows all labels, and agrees on which relations are symmetric."""
    common = set(labels.relation_types) & set(config.relation_types)
    return (
        set(labels.entity_types) <= set(config.entity_types)
        and set(labels.relation_types) <= set(config.relation_types)
        and common & set(labels.symmetric_relations) == common & set(config.symmetric_relations)
    )


def with_labels(model: IserForJointExtraction, labels: Labels, signatures: list[list[str]]) -> IserForJointExtraction:
    """
    Adapt a model to other labels: encoder, fusion, contexts and the classifier weights of known labels are kept; the
    other classifier weights and the first pass are new.
    """
    old = model.config
    new = {
        "entity_types": labels.entity_types,
        "relation_types": labels.relation_types,
        "symmetric_relations": labels.symmetric_relations,
        "relation_signatures": signatures,
        "relation_thresholds": {n: s for n, s in old.relation_thresholds.items() if n in labels.relation_types},
        "calibration": None,
    }
    config = IserConfig.from_dict({**old.to_dict(), **new})
    changed = IserForJointExtraction(config)
    changed.tokenizer = model.tokenizer
    new_parts = ("entity_classifier.", "relation_classifier.", "first_pass.")
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(new_parts)}
    changed.load_state_dict(kept, strict=False)
    known = [
        *(label for label in old.entity_types if label in labels.entity_types),
        *(label for label in old.relation_types if label in labels.relation_types),
    ]
    classifiers: list[tuple[Any, Any, Any]] = [  # row 0 of the entity classifier is "no entity"
        (
            changed.entity_classifier,
            model.entity_classifier,
            _rows(["", *labels.entity_types], ["", *old.entity_types]),
        ),
        (changed.relation_classifier, model.relation_classifier, _rows(labels.relation_types, old.relation_types)),
    ]
    with torch.no_grad():
        for mine, theirs, rows in classifiers:
            for row, old_row in rows:
                mine.weight[row], mine.bias[row] = theirs.weight[old_row], theirs.bias[old_row]
    logger.info(
        "The data has labels that the checkpoint does not know. Kept: encoder, fusion, contexts, width embedding, and "
        "the classifier weights of known labels (%s). New: the other classifier weights, and the first pass.",
        ", ".join(known) or "none",
    )
    return changed


def _rows(labels: Sequence[str], old: Sequence[str]) -> list[tuple[int, int]]:
    """Positions in both lists of the labels that are in both."""
    return [(row, list(old).index(label)) for row, label in enumerate(labels) if label in old]


def build_optimizer(model: JointExtractionModel, settings: Settings) -> torch.optim.Optimizer:
    """AdamW, with an optional separate learning rate for the new layers."""
    new_rate = settings.new_layers_learning_rate or settings.learning_rate
    pretrained = {id(parameter) for parameter in model.text_encoder.parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    frozen = {id(parameter) for parameter in model.frozen_parameters()}
    for name, parameter in model.named_parameters():
        if not name.startswith(settings.train_only or "") or id(parameter) in frozen:
            parameter.requires_grad_(False)
            continue
        rate = settings.learning_rate if id(parameter) in pretrained else new_rate
        rate *= next((factor for start, factor in model.learning_rate_factors.items() if name.startswith(start)), 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    if not groups:
        raise ValueError(f"train_only: no parameter's name begins with {settings.train_only!r}.")
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        fused=True,
    )


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """Linear warm-up, then linear decay to zero, as a fraction of the peak rate; `step` counts from 0."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


def score(
    model: JointExtractionModel,
    documents: Dataset,
    accelerator: Accelerator,
    settings: Settings,
    given_entities: bool = False,
) -> dict[str, Any]:
    """
    Score `extract` on documents, which are distributed over the processes.

    Args:
        given_entities: whether to also score the relations found among the gold entities, as
            `relation_given_entities_…`.
    """
    everything = documents.to_list()
    metric = evaluate.load(METRIC, experiment_id=f"process-{os.getpid()}")
    symmetric = model.config.symmetric_relations
    predictions = _extract(model, everything, accelerator, settings)
    scores = metric.compute(predictions=predictions, references=everything, symmetric_relations=symmetric)
    tasks = _tasks(model.config)
    per_type = {task: of_task for task, of_task in scores.pop("per_type").items() if task.startswith(tasks)}
    scores = {name: value for name, value in scores.items() if name.startswith(tasks)} | {"per_type": per_type}
    if given_entities and model.takes_entities and model.config.relation_types:
        predictions = _extract(model, everything, accelerator, settings, given_entities=True)
        given = metric.compute(predictions=predictions, references=everything, symmetric_relations=symmetric)
        for name, value in given.items():
            if name.startswith(("relation_micro", "relation_macro")):
                scores[name.replace("relation", "relation_given_entities", 1)] = value
        scores["per_type"]["relation_given_entities"] = given["per_type"]["relation"]
    return scores


def _tasks(config: JointExtractionConfig) -> tuple[str, ...]:
    """The tasks that a model is scored on."""
    return config.tasks if config.relation_types else ("entity",)


def _extract(
    model: JointExtractionModel,
    documents: list[dict[str, Any]],
    accelerator: Accelerator,
    settings: Settings,
    given_entities: bool = False,
    relation_threshold: float | None = None,
) -> list[dict[str, Any]]:
    """The model's predictions for documents, which are distributed over the processes."""
    mine = documents[accelerator.process_index :: accelerator.num_processes]
    with accelerator.autocast():
        extracted = model.extract(
            [document["tokens"] for document in mine],
            batch_size=settings.evaluation_batch_size,
            entities=[document["entities"] for document in mine] if given_entities else None,
            relation_threshold=relation_threshold,
        )
    found = gather_object(extracted)
    # The results are gathered process by process; restore the order of the documents.
    shares = [range(index, len(documents), accelerator.num_processes) for index in range(accelerator.num_processes)]
    order = [index for share in shares for index in share]
    predictions: list[dict[str, Any]] = [{}] * len(documents)
    for index, document in zip(order, found, strict=True):
        predictions[index] = document
    return predictions


def calibrate(model: JointExtractionModel, documents: Dataset, accelerator: Accelerator, settings: Settings) -> None:
    """Calibrate the model's scores on the documents, or leave them uncalibrated if too little is found there."""
    if not isinstance(model, IserForJointExtraction):
        raise ValueError("calibrate can only be set for ISER and its variants.")
    everything = documents.to_list()
    found = _extract(model, everything, accelerator, settings, relation_threshold=MIN_SCORE)
    try:
        calibration = fit_calibration(found, everything, model.config.relation_types)
    except ValueError as error:
        logger.warning("The scores stay uncalibrated: %s", error)
        return
    model.config.calibration = calibration.to_dict()
    logger.info("Scores calibrated on %d documents: %s", len(everything), calibration)


def train(settings: Settings, splits: DatasetDict | None = None) -> dict[str, dict[str, Any]]:
    """
    Run the training that the settings describe, or resume it.

    ```python
    from train import Settings, train

    settings = Settings(dataset="corpus", data_dir="my_corpus", encoder="bert-base-cased", output_dir="runs/mine")
    scores = train(settings)
    model = IserForJointExtraction.from_pretrained("runs/mine")
    ```

    Args:
        settings: settings of the run.
        splits: documents by split name, such as those of `load_corpus`, instead of those that the settings name.

    Returns:
        Scores of the best checkpoint on each evaluated split.

    Raises:
        FileNotFoundError: if the encoder, the checkpoint or a file of the data is not there.
        ValueError: if settings or data are invalid.
        FloatingPointError: if the loss becomes infinite or NaN.
    """
    if settings.checkpoint:
        check_model_place(settings.checkpoint, "checkpoint")
    else:
        check_model_place(str(settings.encoder), "encoder", bare=True)
    _refuse_to_overwrite(settings)
    accelerator = _accelerator(settings)
    with accelerator.main_process_first():
        data = load_splits(settings, splits)
    if settings.calibrate and data.validation is None:
        raise ValueError("calibrate needs validation documents: a validation split, or validation_fraction.")
    return _train(settings, data, SYSTEMS[settings.system], accelerator)


def _refuse_to_overwrite(settings: Settings) -> None:
    output_dir = Path(str(settings.output_dir))
    begun = Checkpoints(output_dir).latest() is not None or (output_dir / TEACHERS_DIRECTORY).exists()
    if not settings.resume and (begun or (output_dir / "scores.json").exists()):
        raise ValueError(f"{output_dir} already contains a run. Resume it with --resume, or choose another output_dir.")


def _accelerator(settings: Settings) -> Accelerator:
    accelerator = Accelerator(
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        mixed_precision=settings.mixed_precision,
        log_with="tensorboard",
        project_dir=str(Path(str(settings.output_dir)) / "logs"),
    )
    logging.basicConfig(
        level=logging.INFO if accelerator.is_main_process else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return accelerator


def _teachers(settings: Settings, data: Data, system: System) -> dict[str, JointExtractionModel]:
    """
    The teachers that a new model of the system learns from, each trained in a directory of its own unless it is there.

    Teachers read gold labels, which only training documents have, so no validation documents choose their checkpoint:
    the last one is used.
    """
    teachers: dict[str, JointExtractionModel] = {}
    for name, teacher in system.teachers.items() if not settings.checkpoint else ():
        directory = Path(str(settings.output_dir)) / TEACHERS_DIRECTORY / name
        if not (directory / "scores.json").exists():
            logger.info("Training the %s", name.replace("_", " "))
            own = dataclasses.replace(settings, output_dir=str(directory), push_to_hub=False, calibrate=False)
            _train(own, data._replace(validation=None, tests={}), teacher, _accelerator(own))
        teachers[name] = teacher.model.from_pretrained(directory, dtype=torch.float32)
    return teachers


def _train(settings: Settings, data: Data, system: System, accelerator: Accelerator) -> dict[str, dict[str, Any]]:
    """Train a model of the system, score it and save it; returns the scores as [`train`] does."""
    output_dir = Path(str(settings.output_dir))
    checkpoints = Checkpoints(output_dir)
    documents, validation, tests, _ = data
    teachers = _teachers(settings, data, system)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    model = build_model(settings, data, system)
    if teachers:
        model.learn_from(teachers)
    if not settings.metric.startswith(_tasks(model.config)):
        settings = dataclasses.replace(settings, metric=f"{_tasks(model.config)[0]}_micro_f1")
        logger.info("%s chooses the best checkpoint, since the model has no other task.", settings.metric)
    sentences, report = prepare_sentences(documents, model.tokenizer, model.config)
    logger.info("Training data: %s", report.summary())
    for name, split in {settings.validation_split: validation, **tests}.items():
        if split is not None:
            logger.info("Split %s: %s", name, prepare_sentences(split, model.tokenizer, model.config)[1].summary())
    if not sentences:
        raise ValueError("There is nothing to train on: no document has any words.")

    optimizer = build_optimizer(model, settings)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare_model: JointExtractionModel = accelerator.unwrap_model(model)
    progress = checkpoints.load(bare_model, optimizer, accelerator.scaler, settings)
    if progress.step:
        logger.info("Resuming after step %d", progress.step)
    accelerator.init_trackers("")

    before: dict[str, dict[str, Any]] = {}
    if settings.evaluate_first and not progress.step:
        before = {name: score(bare_model, split, accelerator, settings, True) for name, split in tests.items()}
        if accelerator.is_main_process and before:
            print(f"Before training:\n{score_table(before)}\n")
    _run_epochs(settings, accelerator, model, bare_model, optimizer, sentences, validation, checkpoints, progress)

    if progress.best_step is not None:
        bare_model.load_state_dict(load_file(str(checkpoints.best_weights(progress.best_step))))
    if settings.calibrate and validation is not None:
        calibrate(bare_model, validation, accelerator, settings)
    final_splits = {settings.validation_split: validation, **tests}
    scores = {
        name: score(bare_model, split, accelerator, settings, given_entities=True)
        for name, split in final_splits.items()
        if split is not None
    }
    if accelerator.is_main_process:
        _publish(bare_model, settings, progress, scores, len(documents))
        both = {**{f"{name}, before training": of_split for name, of_split in before.items()}, **scores}
        logger.info("The model is in %s\n%s", output_dir, score_table(both))
        if not scores:
            logger.info(
                "To get scores, add a file of test documents to the corpus, or set aside a part of the training "
                "documents with --validation_fraction 0.2."
            )
        for split in list(tests.values())[-1:]:
            _show_triples(bare_model, split, settings.examples)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return scores


def _run_epochs(
    settings: Settings,
    accelerator: Accelerator,
    model: torch.nn.Module,
    bare_model: JointExtractionModel,
    optimizer: Any,
    sentences: list[Sentence],
    validation: Dataset | None,
    checkpoints: Checkpoints,
    progress: Progress,
) -> None:
    collator = bare_model.collator(
        negative_spans=settings.negative_spans, negative_pairs=settings.negative_pairs, seed=settings.seed
    )
    if settings.mention_replacement:
        max_tokens = max_sentence_tokens(bare_model.tokenizer, bare_model.config)
        collator.replacement = MentionReplacement(sentences, settings.mention_replacement, max_tokens)
    documents_per_step = settings.batch_size * accelerator.num_processes * settings.gradient_accumulation_steps
    steps_per_epoch = math.ceil(len(sentences) / documents_per_step)
    lengths = [len(sentence.word_tokens) if settings.group_by_length else 0 for sentence in sentences]
    total_steps = settings.num_epochs * steps_per_epoch
    if total_steps < MIN_STEPS:
        logger.warning("Only %d steps: the model may not find anything yet. Increase --num_epochs.", total_steps)
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
        total=total_steps,
        initial=progress.step,
        unit=" steps",
        disable=not accelerator.is_main_process,
        mininterval=1.0,
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
                    name: value.item()
                    for name, value in output.items()
                    if name == "loss" or (name.endswith("_loss") and value is not None)
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
    """Add an evaluation to the progress; return whether it is the best so far."""
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
    """Entity and relation F1 of an evaluation, on one line."""
    return "; ".join(
        f"{task} F1 {100 * scores[f'{task}_micro_f1']:.2f} micro, {100 * scores[f'{task}_macro_f1']:.2f} macro"
        for task in ("entity", "relation")
        if f"{task}_micro_f1" in scores
    )


def score_table(scores: dict[str, dict[str, Any]]) -> str:
    """
    Precision, recall and F1 in percent for each split, micro and macro, as a Markdown table; "–" for tasks that were
    not scored, such as relations of a model without relation types. A sentence if there was nothing to score.
    """
    if not scores:
        return "Nothing was scored: there were no test or validation documents."
    lines = [
        "| split | | entity P / R / F1 | relation P / R / F1 | relation, boundaries only P / R / F1 "
        "| relation given entities P / R / F1 |",
        "|---|---|---|---|---|---|",
    ]
    for split, values in scores.items():
        for average in ("micro", "macro"):
            cells = (
                " / ".join(f"{100 * values[f'{what}_{average}_{name}']:.2f}" for name in ("precision", "recall", "f1"))
                if f"{what}_{average}_f1" in values
                else "–"
                for what in ("entity", "relation", "relation_boundary", "relation_given_entities")
            )
            lines.append(f"| {split} | {average} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _publish(
    model: JointExtractionModel,
    settings: Settings,
    progress: Progress,
    scores: dict[str, dict[str, Any]],
    num_documents: int,
) -> None:
    """Write the final model with its card and scores into output_dir, and upload it if `push_to_hub` is set."""
    output_dir = Path(str(settings.output_dir))
    table = score_table(scores)
    values = "\n".join(f"- {name}: `{value}`" for name, value in dataclasses.asdict(settings).items())
    sections = f"""
## Scores

{table}

In percent, strict: boundaries and types of both entities, direction and relation type must be correct. "Given entities"
scores the relations that the model finds among the gold entities.

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
    # The scores are moved last: their presence means that the model is complete.
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == "scores.json"):
        os.replace(path, output_dir / path.name)
    temporary.rmdir()
    if settings.push_to_hub:
        hub = HfApi()
        repository = hub.create_repo(settings.hub_model_id or output_dir.name, exist_ok=True).repo_id
        ignored = ["checkpoints/*", "logs/*", f"{TEACHERS_DIRECTORY}/*"]
        hub.upload_folder(repo_id=repository, folder_path=output_dir, ignore_patterns=ignored)
        logger.info("The model is on the Hub as %s", repository)


def _show_triples(model: JointExtractionModel, documents: Dataset, count: int) -> None:
    """Print the triples that the model finds in the first documents."""
    extractor = JointExtractionPipeline(model=model, tokenizer=model.tokenizer)
    for text in documents["text"][:count]:
        print(f"\n{text}")
        for relation in extractor(text)["relations"]:
            head, tail = relation["head"]["text"], relation["tail"]["text"]
            print(f"    {head} —{relation['type']}→ {tail}  ({relation['score']:.2f})")


def main() -> None:
    """Entry point of the command line."""
    try:
        with extra("train", COMMAND or "train.py"):
            train(parse_settings(sys.argv[1:]))
    except (ValueError, OSError, FloatingPointError) as error:
        names = {item.name: f"--{item.name}" for item in dataclasses.fields(Settings)}
        sys.exit(f"error: {in_options(str(error), names)}")
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume true continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
