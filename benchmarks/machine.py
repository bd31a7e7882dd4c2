"""The machine and the versions that a result was measured with."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("megaasr", "torch", "transformers", "numpy", "scipy", "soundfile", "soxr", "librosa"),
    *("pedalboard", "pyloudnorm", "audiomentations"),
)


def machine() -> dict[str, Any]:
    """Describe this machine and how busy it is; call it while nothing is measured."""
    busy = _busy_cores()
    return {
        "cpu": _cpu_name(),
        "cores": _cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "busy_cores": None if busy is None else round(busy, 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are measured."""
    import soundfile

    from megaasr.versions import installed_versions

    return {
        "python": platform.python_version(),
        "libsndfile": soundfile.__libsndfile_version__,
        **installed_versions(_PACKAGES),
    }


def model(name: str, folder: Path) -> dict[str, Any]:
    """Describe a model by its name, and by size and hash of its weights."""
    digest, size = hashlib.sha256(), 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
        size += file.stat().st_size
    return {"name": name, "weights_mb": round(size / 1e6, 2), "weights": digest.hexdigest()[:16]}


def accelerator(device: str) -> str | None:
    """Return the name of a GPU, or None for a CPU."""
    if not device.startswith("cuda"):
        return None if device == "cpu" else device
    import torch

    return str(torch.cuda.get_device_name(device))


def _busy_cores() -> float | None:
    """Return how many cores other work keeps busy in this second; None if unknown."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    before = _ticks(stat)
    time.sleep(1)
    after = _ticks(stat)
    return (after - before) / os.sysconf("SC_CLK_TCK")


def _ticks(stat: Path) -> int:
    """Return the clock ticks of all cores, without idle time and waiting for disks."""
    user, nice, system, _, _, irq, soft_irq, steal = map(int, stat.read_text().split()[1:9])
    return user + nice + system + irq + soft_irq + steal


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
