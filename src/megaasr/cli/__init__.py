"""The `mega-asr` command line: one module per command."""
