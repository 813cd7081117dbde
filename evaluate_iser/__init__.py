"""The `evaluate` metric of ISER: `evaluate.load("evaluate_iser")` loads evaluate_iser.py from this directory."""
