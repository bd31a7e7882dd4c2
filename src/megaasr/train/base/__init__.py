"""Training from scratch: a small Qwen3-ASR on synthesised speech (`mega-asr train base`)."""
