"""The options of whisper's command that have no meaning here, each with the reason."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from megaasr.errors import UsageError

_GREEDY = "decoding is greedy: the same audio always gives the same words"
_NO_WORD_TIMES = "times are those of segments; single words have none"
_NO_THRESHOLD = "the model itself says when there is no speech; there is no threshold to set"
_FIXED_LINES = "subtitles have at most two lines of 42 columns"
_WHISPER_ONLY = {
    "append-punctuations": _NO_WORD_TIMES,
    "beam-size": _GREEDY,
    "best-of": _GREEDY,
    "carry-initial-prompt": "the context is given with every piece already",
    "clip-timestamps": "cut the recording first, e.g. with `ffmpeg -ss 60 -to 90 -i FILE cut.wav`",
    "compression-ratio-threshold": _NO_THRESHOLD,
    "condition-on-previous-text": "pieces do not depend on the text before them",
    "fp16": "the precision follows the device: fp32 on a CPU, bf16 on a GPU that has it",
    "hallucination-silence-threshold": _NO_THRESHOLD,
    "highlight-words": _NO_WORD_TIMES,
    "length-penalty": _GREEDY,
    "logprob-threshold": _NO_THRESHOLD,
    "max-line-count": _FIXED_LINES,
    "max-line-width": _FIXED_LINES,
    "max-words-per-line": _FIXED_LINES,
    "model-dir": "give a folder to --model, or set HF_HOME to move the cache of downloads",
    "no-speech-threshold": _NO_THRESHOLD,
    "patience": _GREEDY,
    "prepend-punctuations": _NO_WORD_TIMES,
    "suppress-tokens": _GREEDY,
    "temperature": _GREEDY,
    "temperature-increment-on-fallback": _GREEDY,
    "word-timestamps": _NO_WORD_TIMES,
}


class WhisperCommand(TyperCommand):
    """A command that explains the options of whisper's that it lacks."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and say more about an unknown option than that it is unknown."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer has no public name for "no such option", but the error names the option.
            option = str(getattr(error, "option_name", "")).lstrip("-").replace("_", "-")
            if option in _WHISPER_ONLY:
                raise UsageError(
                    f"--{option} of whisper has no meaning here: {_WHISPER_ONLY[option]}; "
                    "leave it out"
                ) from error
            raise
