"""Mega-ASR: speech recognition for bad recordings.

    from megaasr import MegaASR

    transcript = MegaASR.load("tiny").transcribe("talk.wav")
    print(transcript.text)

The public names are imported when they are first used, so that `import megaasr` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from megaasr.errors import (
        AudioEmptyError,
        AudioError,
        AudioFormatError,
        AudioNotFoundError,
        CheckpointError,
        CorpusError,
        DecoderMissingError,
        HubUnreachableError,
        MegaASRError,
        ModelError,
        ModelNotFoundError,
        PackageError,
        RecordError,
        SynthesisError,
        TrainingError,
        UsageError,
    )
    from megaasr.records import Segment, Transcript
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.session import Outcome

    __version__: str

__all__ = [
    "AudioEmptyError",
    "AudioError",
    "AudioFormatError",
    "AudioNotFoundError",
    "CheckpointError",
    "CorpusError",
    "DecoderMissingError",
    "HubUnreachableError",
    "MegaASR",
    "MegaASRError",
    "ModelError",
    "ModelNotFoundError",
    "Outcome",
    "PackageError",
    "RecordError",
    "Segment",
    "SynthesisError",
    "TrainingError",
    "Transcript",
    "UsageError",
    "__version__",
]

_ELSEWHERE = {
    "MegaASR": "megaasr.transcribe.recognizer",
    "Outcome": "megaasr.transcribe.session",
    "Segment": "megaasr.records",
    "Transcript": "megaasr.records",
}  # every other name is an error


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from megaasr.versions import UNKNOWN, package_version

        value: Any = package_version("megaasr")
        if value == UNKNOWN:  # run from a checkout that was never installed
            value = "0+unknown"
    elif name in __all__:
        from importlib import import_module

        value = getattr(import_module(_ELSEWHERE.get(name, "megaasr.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
