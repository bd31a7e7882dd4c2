"""llama.cpp beside our int8: it converts the same checkpoint to 8 bits, and decodes the same chunk.

It has to be built first; `FOLDER` is its source:

    cmake -S FOLDER -B FOLDER/build -DCMAKE_BUILD_TYPE=Release
    cmake --build FOLDER/build --target llama-mtmd-cli
    MEGAASR_LLAMA_CPP=FOLDER python -m benchmarks released_size
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.processes import child, run_process

VARIABLE = "MEGAASR_LLAMA_CPP"
"""Environment variable that names the folder of its source."""


def folder() -> Path | None:
    """Return the folder of its source; None if the variable is not set."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


def measure(source: Path, base: Path, output: Path, *, tokens: int) -> dict[str, Any]:
    """Convert a checkpoint to 8 bits, and let a fresh process load it and decode one chunk.

    Args:
        source: folder of its source.
        base: checkpoint in the original layout.
        output: folder for the converted files.
        tokens: number of tokens to generate.

    Returns:
        What `children/llama_cpp.py` reports.

    Raises:
        BenchmarkError: it is not built, or fails.
    """
    program = source / "build" / "bin" / "llama-mtmd-cli"
    if not program.is_file():
        raise BenchmarkError(f"{program} is missing; benchmarks/llama_cpp.py says how it is built")
    model, encoder = output / "model.gguf", output / "encoder.gguf"
    run_process(child("llama_cpp_files", source, base, model))
    run_process(child("llama_cpp_files", source, base, encoder, "--mmproj"))
    return run_process(child("llama_cpp", program, model, encoder, tokens)).report()
