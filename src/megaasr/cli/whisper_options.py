"""Options of whisper's command that `mega-asr transcribe` does not have, each with the reason."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from megaasr.errors import UsageError

_NO_BEAM_SEARCH = (
    "text is decoded greedily, or chosen from several samples with --decode consensus --samples N"
)
_FIXED_TEMPERATURES = (
    "chunks are decoded greedily, and those with unreliable text again with sampling at fixed "
    "temperatures; --no-retry decodes every chunk only once"
)
_SPEECH_DETECTION = (
    "a voice-activity detector finds the audio without speech, which is not decoded; --no-vad "
    "disables it, and --guard speech_not_detected=P sets the probability of speech below which "
    "text is unreliable"
)
_WORDS = "the words in the JSON output always include adjacent punctuation"
WHISPER_ONLY = {
    "append-punctuations": _WORDS,
    "beam-size": _NO_BEAM_SEARCH,
    "best-of": _NO_BEAM_SEARCH,
    "carry-initial-prompt": "every chunk is decoded with the context already",
    "clip-timestamps": "cut the recording first, e.g. with `ffmpeg -ss 60 -to 90 -i FILE cut.wav`",
    "condition-on-previous-text": "chunks do not depend on the text before them",
    "fp16": "the data type follows the device; --dtype float16 sets it",
    "hallucination-silence-threshold": _SPEECH_DETECTION,
    "length-penalty": _NO_BEAM_SEARCH,
    "max-words-per-line": "lines are as long as --max-line-width allows",
    "model-dir": "give a folder to --model, or set HF_HOME to move the cache of downloads",
    "no-speech-threshold": _SPEECH_DETECTION,
    "patience": _NO_BEAM_SEARCH,
    "prepend-punctuations": _WORDS,
    "suppress-tokens": "no tokens are suppressed",
    "temperature": _FIXED_TEMPERATURES,
    "temperature-increment-on-fallback": _FIXED_TEMPERATURES,
}
"""Name of each option, with dashes, and why the command does not have it."""


class WhisperCommand(TyperCommand):
    """A command that explains the options of whisper's command that it does not have."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; for an option of whisper's, raise an error with the reason.

        Raises:
            UsageError: an argument is an option in `WHISPER_ONLY`.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer does not export the class of "no such option", but it names the option.
            option = str(getattr(error, "option_name", "")).lstrip("-").replace("_", "-")
            if option in WHISPER_ONLY:
                raise UsageError(
                    f"--{option} of whisper has no meaning here: {WHISPER_ONLY[option]}; "
                    "leave it out"
                ) from error
            raise
