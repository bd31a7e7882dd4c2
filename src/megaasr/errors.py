"""All exceptions that users of `megaasr` may want to catch, as one class tree.

MegaASRError
├── UsageError            an argument, option or recipe field cannot be used
├── AudioError            a recording cannot be used; `path` and `reason` say which and why
│   ├── AudioNotFoundError   there is no such file
│   ├── AudioEmptyError      the file contains no samples
│   ├── AudioFormatError     the file is not audio, is damaged, or contains non-finite values
│   └── DecoderMissingError  the format requires ffmpeg, which is not installed
├── CodecError            a speech codec of the simulator is not installed, or failed
├── PackageError          a package cannot be downloaded or read
├── RecordError           a line of a manifest is invalid
├── ModelError            a model cannot be found, loaded or run
│   ├── ModelNotFoundError   there is no such model
│   ├── ModelBusyError       too many requests wait for a shared model
│   ├── HubUnreachableError  the Hugging Face hub does not answer
│   └── CheckpointError      the folder is not a supported checkpoint
├── SynthesisError        a text-to-speech program is missing or failed
├── CorpusError           a data set cannot be completed (full disk, another build, a lost process)
└── TrainingError         a training run cannot start or continue
"""

from __future__ import annotations

from pathlib import Path


class MegaASRError(Exception):
    """Base class of all errors. The message says what is wrong, where, and how to fix it."""


class UsageError(MegaASRError, ValueError):
    """An argument, option or recipe field has a value that cannot be used."""


class AudioError(MegaASRError):
    """A recording cannot be used.

    Attributes:
        path: path as the caller wrote it, or `<bytes>`, `<stream>`, `<array>`.
        reason: explanation of the error, without the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        # By default pickle passes the message alone to the constructor, which takes two arguments.
        return type(self), (self.path, self.reason)


class AudioNotFoundError(AudioError, FileNotFoundError):
    """There is no file with this path."""


class AudioEmptyError(AudioError):
    """The recording exists but contains no samples."""


class AudioFormatError(AudioError):
    """The recording is not audio, is damaged, or contains values that are not finite."""


class DecoderMissingError(AudioError):
    """The format requires the program `ffmpeg`, which is not on the PATH."""


class CodecError(MegaASRError):
    """A speech codec of the simulator is not installed on this machine, or failed."""


class PackageError(MegaASRError):
    """A package (Debian, PyPI, npm) cannot be downloaded, or its content is not as expected."""


class RecordError(MegaASRError):
    """A line of a manifest is invalid; the message names the file and the line."""


class ModelError(MegaASRError):
    """A model cannot be found, loaded or run."""


class ModelNotFoundError(ModelError):
    """There is no shipped model, folder or model on the hub with this name."""


class ModelBusyError(ModelError):
    """Too many requests wait for a model that several clients share; try again later."""


class HubUnreachableError(ModelError):
    """The Hugging Face hub did not answer, or was not contacted because of offline use."""


class CheckpointError(ModelError):
    """A folder exists but is not a checkpoint that this version supports."""


class SynthesisError(MegaASRError):
    """A text-to-speech program is missing, or failed on a sentence."""


class CorpusError(MegaASRError):
    """A data set cannot be completed; finished parts are kept, and the next run continues."""


class TrainingError(MegaASRError):
    """A training run cannot start or continue; the message names the file or field to correct."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
