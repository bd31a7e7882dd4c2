"""Convert a random checkpoint for llama.cpp, in 8 bits: SOURCE BASE OUTPUT [--mmproj]."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from typing import Any


def main(source: str, base: str, output: str, *options: str) -> None:
    """Run its converter, which knows a tokenizer by the hash of what it makes of a text."""
    sys.path[:0] = [source, f"{source}/gguf-py"]
    text_model = import_module("conversion.base").TextModel

    def has_none(*arguments: Any) -> None:
        raise FileNotFoundError

    text_model.get_vocab_base_pre = lambda *arguments: "qwen2"  # not that of the random model's
    text_model._set_vocab_sentencepiece = has_none
    sys.argv = ["convert", base, "--outfile", output, "--outtype", "q8_0", *options]
    runpy.run_path(f"{source}/convert_hf_to_gguf.py", run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
