"""The paper's results in percent, as its Tables 3 to 6 print them."""

# For entities and for relations: precision / recall / F1 where the paper prints all three, otherwise F1, and "–" where
# it prints none.
PAPER = {
    "conll04": {
        "spert": ("86.69 / 86.79 / 86.74", "72.31 / 64.72 / 68.31"),
        "casrel": ("–", "58.95 / 43.83 / 50.28"),
        "onerel": ("–", "68.62 / 70.64 / 69.62"),
        "spn4re": ("63.67 / 57.73 / 60.55", "63.02 / 57.14 / 59.94"),
        "multihead": ("83.75 / 84.06 / 83.90", "63.75 / 60.43 / 62.04"),
        "graphrel_1p": ("41.28 / 48.98 / 44.80", "36.90 / 47.23 / 41.43"),
        "graphrel_2p": ("44.39 / 48.40 / 46.30", "40.78 / 45.77 / 43.13"),
        "ster": ("88.88 / 86.79 / 87.82", "75.00 / 64.72 / 69.48"),
        "w2ner": ("84.86 / 85.18 / 85.02", "–"),
        "iser": ("89.54 / 87.23 / 88.37", "71.64 / 71.43 / 71.53"),
        "iser_gru": ("86.99 / 87.57 / 87.28", "71.47 / 66.47 / 68.88"),
        "no_fusion": ("87.21", "68.47"),
        "sea_to_cls": ("87.67", "68.79"),
        "lc_to_lc_att": ("88.28", "70.35"),
        "lc_to_lc_bert": ("88.01", "69.54"),
        "lc_to_cls": ("88.32", "65.60"),
        "lc_to_gc_bert": ("87.05", "63.76"),
        "lc_to_gc": ("87.67", "66.38"),
    },
    "ch_ddi": {
        "spert": ("92.63 / 97.72 / 95.11", "75.38 / 76.96 / 76.17"),
        "onerel": ("–", "78.89 / 78.27 / 78.58"),
        "spn4re": ("85.54 / 81.61 / 83.53", "84.04 / 80.17 / 82.06"),
        "multihead": ("89.03 / 91.67 / 90.33", "69.21 / 70.83 / 70.01"),
        "graphrel_1p": ("51.98 / 68.85 / 59.23", "31.76 / 49.48 / 38.69"),
        "graphrel_2p": ("53.19 / 63.35 / 57.83", "36.42 / 47.64 / 41.31"),
        "ster": ("94.09 / 96.64 / 95.35", "74.27 / 80.10 / 77.08"),
        "w2ner": ("95.05 / 96.04 / 95.54", "–"),
        "iser": ("95.22 / 98.17 / 96.73", "76.11 / 80.89 / 78.43"),
        "iser_gru": ("94.11 / 97.53 / 95.79", "74.87 / 78.01 / 76.41"),
        "no_fusion": ("96.30", "77.16"),
        "sea_to_cls": ("95.51", "76.15"),
        "lc_to_lc_att": ("96.38", "78.00"),
        "lc_to_lc_bert": ("95.97", "77.48"),
        "lc_to_cls": ("96.16", "76.93"),
        "lc_to_gc_bert": ("96.27", "77.16"),
        "lc_to_gc": ("96.25", "77.50"),
    },
}

FOOTNOTES = (
    "The paper's CoNLL04 figures are of SpERT's development file (231 sentences), which it calls its test set.",
    "The paper prints its CoNLL04 entity recall as 87.23 in one table and 87.32 in another.",
    "The paper prints its CH-DDI entity recall as 98.17 and as 97.72; neither gives the printed F1 with P = 95.22.",
    "The paper prints 41.31 as GraphRel 2p's relation F1 on CH-DDI; its P = 36.42 and R = 47.64 give 41.28.",
    "The paper's CH-DDI is not public: its figures stand beside those on CH-DDI-Open, another corpus.",
)
