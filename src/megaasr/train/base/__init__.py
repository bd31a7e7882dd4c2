"""The from-scratch stage: a small Qwen3-ASR trained on synthesised speech."""
