"""Measuring a model on a manifest: error counts, groups of clips, confidence intervals."""
