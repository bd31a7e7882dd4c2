"""Low-rank adapters: read in PEFT's layout, run as gated side branches, merged into checkpoints."""
