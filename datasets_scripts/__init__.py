"""Load annotated corpora as `datasets`: CoNLL04, CH-DDI, or any other."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .commands import extra


if TYPE_CHECKING:
    from .ch_ddi.builder import load_ch_ddi
    from .conll04.builder import load_conll04
    from .corpus import Corpus, Labels, load_corpus

_MODULES = {
    "Corpus": ".corpus",
    "Labels": ".corpus",
    "load_ch_ddi": ".ch_ddi.builder",
    "load_conll04": ".conll04.builder",
    "load_corpus": ".corpus",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the commands in this package can say which extra is not installed.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extra("corpus"):
        return getattr(import_module(_MODULES[name], __name__), name)


__all__ = ["Corpus", "Labels", "load_ch_ddi", "load_conll04", "load_corpus"]
