"""The paper's printed results in percent (its Tables 3 to 6)."""

# Entities and relations: precision / recall / F1 where the paper prints all three, else F1.
# CoNLL04: the paper calls SpERT's development file of 231 sentences its test set.
PAPER = {
    "conll04": {
        "spert": ("86.69 / 86.79 / 86.74", "72.31 / 64.72 / 68.31"),
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
    "The paper's CH-DDI is not public: its figures stand beside those on CH-DDI-Open, another corpus.",
)
