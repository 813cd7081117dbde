"""The pipeline as an HTTP service. Not for clinical decisions."""
