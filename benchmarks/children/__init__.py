"""Programs that benchmarks start in processes of their own; each prints one JSON object.

They keep their imports inside, in the order in which a user's program would have them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from megaasr import strict_json


def peak_mb() -> float:
    """Return the peak resident memory of this process so far, in 10^6 bytes.

    On Linux this is VmHWM: `getrusage` reports the same, except that a process whose parent was
    large when it started gets at least the size of its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def noise() -> Any:
    """Return 30 s of noise at 16 kHz, float32 of shape [time]: the chunk that is decoded."""
    import numpy as np

    return (0.1 * np.random.default_rng(0).standard_normal(30 * 16_000)).astype(np.float32)


def report(**fields: Any) -> None:
    """Print the measurements and the peak memory of this process as a JSON object."""
    print(strict_json.dumps({**fields, "peak_mb": round(peak_mb(), 1)}))
