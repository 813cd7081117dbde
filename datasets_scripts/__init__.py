"""Loaders of CoNLL04 and CH-DDI as `datasets`."""

from .ch_ddi.builder import load_ch_ddi
from .conll04.builder import load_conll04


__all__ = ["load_ch_ddi", "load_conll04"]
