"""The pipeline as a service: HTTP requests in, the pipeline's answers out. Not for clinical decisions."""
