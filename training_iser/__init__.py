"""
Training for those who install the package.

    iser-train recipe.yaml
    accelerate launch -m training_iser.train recipe.yaml

`train.py` in here is a link to the file at the top of the repository: a wheel must not install a module called `train`.
"""
