"""Low-rank adapters: PEFT's layout, side branches gated for each clip, merging into weights."""
