"""Bands of the error rate of a base model: the stages of the curriculum of fine-tuning."""

from __future__ import annotations

BOUNDS = (0.3, 0.5, 0.7)
"""Exclusive upper bounds of the error rates of the bands, which are the stages of A2S-SFT; clips
above the last one are too hard to learn from."""
BANDS = (*(f"below_{100 * bound:.0f}" for bound in BOUNDS), "above")
"""Names of the bands, from easy to hard."""


def band_of(error_rate: float) -> str:
    """Return the band of an error rate: the first one whose bound is above the rate."""
    return next((b for b, bound in zip(BANDS, BOUNDS, strict=False) if error_rate < bound), "above")
