"""Corpora as `datasets`: any annotated corpus, CoNLL04 and CH-DDI."""

from .ch_ddi.builder import load_ch_ddi
from .conll04.builder import load_conll04
from .corpus import Corpus, Labels, load_corpus


__all__ = ["Corpus", "Labels", "load_ch_ddi", "load_conll04", "load_corpus"]
