r"""
Export a training run as the bundled model, with float16 weights and links to the package's code. The model card in the
output directory is kept. The bundled model was made with these commands:

    step() { python recipes/default_model/grammar.py --output $1 --sentences $2 --seed $3; }
    further() { python train.py recipes/default_model/continue.yaml --checkpoint $1 --output_dir $2 --num_epochs $3 \
        --seed $4 --data_files train=$5/train.jsonl validation=$5/validation.jsonl \
        test=datasets_scripts/ch_ddi/data/test.jsonl leaflets=datasets_scripts/ch_ddi/data/leaflets.jsonl; }
    mean() { python recipes/default_model/average.py runs/$1 runs/$2 runs/$3 --share $4; }
    again() {  # NAME GRAMMAR_SEED SEED GRAMMAR_SEED SEED: two more rounds of training, averaged
        step runs/$1_data 3500 $2; further runs/default_model_2 runs/$1_3 1 $3 runs/$1_data
        step runs/$1_more 2500 $4; further runs/$1_3 runs/$1_4 2 $5 runs/$1_more; mean $1_3 $1_4 $1 0.7; }
    step runs/leaflets 2500 0
    python recipes/default_model/shrink_encoder.py ENCODER runs/encoder --layers 6 --corpus runs/leaflets/train.jsonl
    python train.py recipes/default_model/recipe.yaml
    step runs/leaflets2 1500 1; further runs/default_model runs/default_model_2 2 1 runs/leaflets2
    again first 11 1 12 2; again a 21 31 22 32; again b 23 33 24 34; again c 25 35 26 36
    mean a b ab 0.5; mean c ab abc 0.6667; mean abc first all 0.5
    python recipes/default_model/export.py runs/all modeling_iser/default_model

The corpus and the rules have grown since: `first` had 3,194 sentences of the corpus and fewer rules.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from datasets_scripts import load_ch_ddi
from modeling_iser import IserForJointExtraction
from modeling_iser.quantization_iser import spoiled_layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    model = IserForJointExtraction.from_pretrained(arguments.run, dtype=torch.float32)
    training = load_ch_ddi()["train"]["tokens"]
    model.config.float_layers = spoiled_layers(model, training[:: max(1, len(training) // 64)])
    card = (arguments.output / "README.md").read_bytes()
    shutil.rmtree(arguments.output)
    model.half().save_pretrained(arguments.output)
    for code in arguments.output.glob("*.py"):
        code.unlink()
        code.symlink_to(Path("..", code.name))
    path = arguments.output / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["encoder_config"].pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (arguments.output / "README.md").write_bytes(card)


if __name__ == "__main__":
    main()
