"""How much memory training has taken."""

from __future__ import annotations

import sys

import torch


def peak_memory_bytes() -> int:
    """Return the most that this process has held so far: of the GPU if there is one, else in all.

    0 where the system does not tell.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kB
