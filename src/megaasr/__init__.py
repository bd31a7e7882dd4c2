"""Mega-ASR: speech recognition for bad recordings.

    from megaasr import MegaASR

    asr = MegaASR.from_pretrained()
    print(asr.transcribe("talk.wav").text)

Public are the names in `__all__` of `megaasr`, `megaasr.audio`, `megaasr.simulate` and
`megaasr.scoring`; everything else may change in any version. Names are imported when they are first
used, so that `import megaasr` costs nothing. Messages go to the logger `megaasr`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.errors import (
        AudioEmptyError,
        AudioError,
        AudioFormatError,
        AudioNotFoundError,
        CheckpointError,
        CodecError,
        CorpusError,
        DecoderMissingError,
        HubUnreachableError,
        MegaASRError,
        ModelBusyError,
        ModelError,
        ModelNotFoundError,
        PackageError,
        RecordError,
        SynthesisError,
        TrainingError,
        UsageError,
    )
    from megaasr.records import Check, Segment, Transcript, Word
    from megaasr.stream.options import StreamOptions
    from megaasr.stream.session import StreamSession, open_stream
    from megaasr.transcribe.checks import CheckThresholds
    from megaasr.transcribe.options import ReliabilityOptions
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.search import SearchOptions
    from megaasr.transcribe.session import Outcome

    __version__: str

__all__ = [
    "AudioEmptyError",
    "AudioError",
    "AudioFormatError",
    "AudioNotFoundError",
    "Check",
    "CheckThresholds",
    "CheckpointError",
    "CodecError",
    "CorpusError",
    "DecoderMissingError",
    "HubUnreachableError",
    "MegaASR",
    "MegaASRError",
    "ModelBusyError",
    "ModelError",
    "ModelNotFoundError",
    "Outcome",
    "PackageError",
    "RecordError",
    "ReliabilityOptions",
    "SearchOptions",
    "Segment",
    "StreamOptions",
    "StreamSession",
    "SynthesisError",
    "TrainingError",
    "Transcript",
    "UsageError",
    "Waveform",
    "Word",
    "__version__",
    "open_stream",
]

_MODULES = {
    "Check": "megaasr.records",
    "CheckThresholds": "megaasr.transcribe.checks",
    "MegaASR": "megaasr.transcribe.recognizer",
    "Outcome": "megaasr.transcribe.session",
    "ReliabilityOptions": "megaasr.transcribe.options",
    "SearchOptions": "megaasr.transcribe.search",
    "Segment": "megaasr.records",
    "StreamOptions": "megaasr.stream.options",
    "StreamSession": "megaasr.stream.session",
    "Transcript": "megaasr.records",
    "Waveform": "megaasr.audio.waveform",
    "Word": "megaasr.records",
    "open_stream": "megaasr.stream.session",
}  # every other name is an error

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from megaasr.versions import UNKNOWN, package_version

        value: Any = package_version("megaasr")
        if value == UNKNOWN:  # run from a checkout that was never installed
            value = "0+unknown"
    elif name in __all__:
        from importlib import import_module

        value = getattr(import_module(_MODULES.get(name, "megaasr.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
