"""
Average the weights of two runs of the same model. The mean generalises better than either run to text unlike the
training data (Wortsman et al., *Model soups*, 2022). It keeps the calibration of the second run.

    python recipes/default_model/average.py runs/first_3 runs/first_4 runs/first --share 0.7
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from modeling_iser import IserForJointExtraction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--share", type=float, required=True, help="weight of the second run, from 0 to 1")
    arguments = parser.parse_args()
    first, mean = (
        IserForJointExtraction.from_pretrained(run, dtype=torch.float32) for run in (arguments.first, arguments.second)
    )
    with torch.no_grad():
        for parameter, other in zip(mean.parameters(), first.parameters(), strict=True):
            parameter.lerp_(other, 1 - arguments.share)
    mean.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
