"""How much memory a model may use: sizes as users write them, and what is free on a device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from megaasr.errors import UsageError

if TYPE_CHECKING:
    import torch

DEFAULT_BATCH_SIZE = 8
"""Largest number of chunks that are decoded at once, unless memory is short."""
AUTO = "auto"
"""The memory that is free on the device when the model is loaded."""
_SIZE = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<prefix>[kmgt])(?P<binary>i?)b?", re.IGNORECASE | re.ASCII
)
_MAX_DIGITS = 20
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def parse_memory(text: str) -> int | None:
    """Return a size in bytes, at least 1; None for `auto`.

    Args:
        text: `auto`, or a number with a unit: `8GB` and `8G` are 8 times 10⁹ bytes, `7.5GiB` and
            `7.5Gi` are 7.5 times 2³⁰. The prefixes are K, M, G and T, in either case.

    Raises:
        UsageError: the text is none of these.
    """
    if text == AUTO:
        return None
    match = _SIZE.fullmatch(str(text))  # Python's users may write a number
    if match is None or len(match["number"]) > _MAX_DIGITS:
        raise UsageError(
            f"memory {text!r}: write a number and its unit, such as 8GB or 7.5GiB, or {AUTO}"
        )
    base = 1024 if match["binary"] else 1000
    size = int(float(match["number"]) * base ** _POWERS[match["prefix"].upper()])
    if size < 1:
        raise UsageError(f"memory {text!r}: it must be more than nothing")
    return size


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on a device.

    It is what CUDA states for its devices; on Linux CPUs the memory that the kernel calls
    available, or what a container's limit leaves if that is less.

    Raises:
        UsageError: this cannot be known for the device or system.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and (available := _available(_MEMINFO)) is not None:
        left = _left_in_container(_CONTROL_GROUP)
        return available if left is None else min(available, left)
    raise UsageError(
        f"memory {AUTO}: how much is free is known on Linux and CUDA only, not for {device} here; "
        "state a size, such as 8GB"
    )


def _available(meminfo: Path) -> int | None:
    """Return the bytes that Linux calls available; None on other systems."""
    try:
        match = re.search(r"^MemAvailable: +(\d+) kB$", meminfo.read_text("utf-8"), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1024


def _left_in_container(group: Path) -> int | None:
    """Return the bytes that the limit of a control group (version 2) leaves; None without one.

    Cached files count as free, since the kernel drops them when memory is needed.
    """
    try:
        limit = int((group / "memory.max").read_text("utf-8"))
        used = int((group / "memory.current").read_text("utf-8"))
        match = re.search(
            r"^inactive_file (\d+)$", (group / "memory.stat").read_text("utf-8"), re.MULTILINE
        )
    except (OSError, ValueError):  # no such group, or the limit is the word "max"
        return None
    return max(0, limit - used + (0 if match is None else int(match[1])))
