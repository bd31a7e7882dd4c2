"""Text: languages, normalisation, alignment and error counts, failures, repetition loops."""
