"""DG-WGPO: reinforcement learning of the robust adapter with a word-error-rate reward."""
