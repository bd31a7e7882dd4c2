"""The stages that make `small`: stem, encoder frames, language model, decoder."""
