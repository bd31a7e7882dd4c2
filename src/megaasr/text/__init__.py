"""Text: normalisation, and the one scorer of word errors."""
