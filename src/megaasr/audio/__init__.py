"""Read recordings of any format as mono samples; resample, measure and write them.

Names are imported on first use, so that importing this package does not load the decoders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from megaasr.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from megaasr.audio.files import blocks, duration_s, from_array, read, resample, write
    from megaasr.audio.measure import active_speech_level_dbfs, peak, rms_dbfs
    from megaasr.audio.selection import Selection
    from megaasr.audio.source import AudioSource
    from megaasr.audio.waveform import SAMPLE_RATE, AudioTruncatedWarning, AudioWarning, Waveform

__all__ = [
    "SAMPLE_RATE",
    "AudioSource",
    "AudioTruncatedWarning",
    "AudioWarning",
    "Selection",
    "Waveform",
    "active_speech_level_dbfs",
    "blocks",
    "duration_s",
    "from_array",
    "peak",
    "read",
    "resample",
    "rms_dbfs",
    "write",
]

_MODULES = {
    "SAMPLE_RATE": "waveform",
    "AudioSource": "source",
    "AudioTruncatedWarning": "waveform",
    "AudioWarning": "waveform",
    "Selection": "selection",
    "Waveform": "waveform",
    "active_speech_level_dbfs": "measure",
    "blocks": "files",
    "duration_s": "files",
    "from_array": "files",
    "peak": "measure",
    "read": "files",
    "resample": "files",
    "rms_dbfs": "measure",
    "write": "files",
}

__getattr__ = lazy_exports(globals(), _MODULES)
