"""Signatures of the callbacks that long work reports its progress to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with the number of finished items and the total number."""

OnAudioProgress: TypeAlias = Callable[[int, int, float], None]
"""Called with the number of finished clips, the total number, and the seconds of audio so far."""

OnRemarkedProgress: TypeAlias = Callable[[int, int, str], None]
"""Called with the number of finished items, the total number, and a remark such as the speed."""
