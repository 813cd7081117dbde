"""The `evaluate` metric of ISER: `evaluate.load("evaluate_iser")` reads evaluate_iser.py beside this file."""
