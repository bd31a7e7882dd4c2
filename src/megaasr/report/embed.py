"""Audio and pictures as data: URIs, so that a page is a single file."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from megaasr.audio.files import write
from megaasr.audio.waveform import Waveform


def data_uri(mime_type: str, content: bytes) -> str:
    """Return the content of a file as a data: URI.

    Args:
        mime_type: type of the content, such as `image/png`.
        content: the bytes of the file.
    """
    return f"data:{mime_type};base64,{base64.b64encode(content).decode('ascii')}"


def sound_uri(waveform: Waveform) -> str:
    """Return audio as a data: URI of FLAC, which all browsers play, at half the size of WAV."""
    with tempfile.TemporaryDirectory(prefix="mega-asr-") as folder:
        path = Path(folder) / "clip.flac"
        write(path, waveform)
        return data_uri("audio/flac", path.read_bytes())
