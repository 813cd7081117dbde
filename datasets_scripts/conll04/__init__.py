"""CoNLL04 in SpERT's split."""
