"""
Training for those who install the package: `train.py` beside it is a link to the file at the top of the repository, which
`accelerate launch train.py` runs there, so that no module of so common a name is put beside other people's packages.

    iser-train recipe.yaml
    accelerate launch -m training_iser.train recipe.yaml
"""
