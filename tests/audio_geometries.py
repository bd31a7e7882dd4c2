"""The two geometries of audio encoders that every model test runs with."""

from __future__ import annotations

GEOMETRIES: dict[str, dict[str, int]] = {
    "qwen3-asr": {},
    # 400 mel frames and 50 audio tokens a second; no clip fills the one chunk of 32 s.
    "small": {"hop_samples": 40, "chunk_frames": 12_800, "window_frames": 12_800},
}
"""Audio geometries that all code must support, as fields of `ArchitectureRecipe`."""
