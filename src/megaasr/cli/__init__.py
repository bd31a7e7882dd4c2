"""The `mega-asr` command line, one module a command."""
