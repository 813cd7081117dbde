"""The pipeline as a service: HTTP requests in, the pipeline's answers out. Not for clinical decisions."""

from .service import Settings, create_app


__all__ = ["Settings", "create_app"]
