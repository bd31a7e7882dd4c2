"""Every exception that users of `megaasr` may want to catch, as one tree.

MegaASRError
├── UsageError            wrong arguments to a function, command or recipe
├── AudioError            one recording cannot be used; carries the path and the mend
│   ├── AudioNotFoundError
│   ├── AudioEmptyError      a file without a single sample
│   ├── AudioFormatError     not audio, damaged, or with values that are not numbers
│   └── DecoderMissingError  readable with ffmpeg, which is not installed
├── PackageError          a package cannot be fetched from its registry, or not be read
├── RecordError           a manifest line that breaks the record format
├── ModelError            a model cannot be found or loaded
│   ├── ModelNotFoundError
│   ├── HubUnreachableError
│   └── CheckpointError      the folder is no checkpoint that we can load
├── SynthesisError        a text-to-speech program is missing or failed
├── CorpusError           a data set cannot be built on (full disk, another build, a lost process)
└── TrainingError         a run folder or recipe that does not allow training to go on
"""

from __future__ import annotations

from pathlib import Path


class MegaASRError(Exception):
    """Root of the tree. The message says what is wrong, where, and how to mend it."""


class UsageError(MegaASRError, ValueError):
    """An argument, option or recipe field has a value that cannot be used."""


class AudioError(MegaASRError):
    """A recording cannot be used.

    Attributes:
        path: the file as the caller named it (or `<stdin>`, `<array>`).
        reason: what is wrong, without the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        # By default pickle passes on the message alone, and a pool of processes would break.
        return type(self), (self.path, self.reason)


class AudioNotFoundError(AudioError, FileNotFoundError):
    """No file has this path."""


class AudioEmptyError(AudioError):
    """The file exists but holds not a single sample."""


class AudioFormatError(AudioError):
    """The file is not audio, is damaged, or holds values that are not finite numbers."""


class DecoderMissingError(AudioError):
    """The format needs the `ffmpeg` program, which is not on the PATH."""


class PackageError(MegaASRError):
    """A package of a registry (Debian, PyPI, npm) cannot be fetched, or is not as expected."""


class RecordError(MegaASRError):
    """A line of a manifest breaks the record format; the message names file and line."""


class ModelError(MegaASRError):
    """A model cannot be found, loaded or run."""


class ModelNotFoundError(ModelError):
    """The name is neither a shipped model, nor a folder, nor a model on the hub."""


class HubUnreachableError(ModelError):
    """The Hugging Face hub did not answer, or offline use was asked for."""


class CheckpointError(ModelError):
    """A folder exists but is not a checkpoint that this version can load."""


class SynthesisError(MegaASRError):
    """A text-to-speech program is missing, or failed on a sentence."""


class CorpusError(MegaASRError):
    """A data set cannot be built to its end; what is done stays, and the next run continues."""


class TrainingError(MegaASRError):
    """A training run cannot start or go on; the message says which file or field to mend."""
