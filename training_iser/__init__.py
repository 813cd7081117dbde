"""
Training with the installed package.

    iser-train recipe.yaml
    accelerate launch -m training_iser.train recipe.yaml

`train.py` in this directory is a link to the file at the top of the repository: a wheel must not install a module named
`train`.
"""
