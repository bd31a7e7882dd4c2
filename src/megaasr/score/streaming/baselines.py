"""Other ways to transcribe live, on the same model: the schedules that ours is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import Recognition, RecognizedWord, Request, Route
from megaasr.score.streaming.replay import ShownText
from megaasr.transcribe.recognizer import MegaASR
from megaasr.transcribe.word_times import estimate_times

RollBack = Callable[[str, int], str]
"""Returns a text without its last tokens."""

_CHUNK_S = 2.0
_UNFIXED_CHUNKS = 2
_ROLLED_BACK_TOKENS = 5
_RESET_S = 120.0
_OVERLAP_S = 2.0
_CONTEXT_CHARACTERS = 240

_STEP_S = 1.0
_TRIM_S = 15.0
_PROMPT_CHARACTERS = 200


class ReleasedSchedule:
    """The schedule of the released `infer_vllm_streaming.py`.

    Every 2 s all audio since the last reset is decoded again. After two such chunks, the text
    without its last five tokens is given as the beginning. At 120 s, or what the model takes, the
    state is reset, with 2 s of audio and the last 240 characters as context. The adapter is always
    used, and nothing detects speech. Not modelled: its limit of 32 new tokens in a step.

    Args:
        asr: the recognizer.
        roll_back: removes the last tokens of a text.
    """

    def __init__(self, asr: MegaASR, roll_back: RollBack) -> None:
        self._asr, self._roll_back = asr, roll_back
        self._route: Route = "robust" if asr.model.has_robust_route else "base"
        self._limit = round(min(_RESET_S, asr.max_chunk_s) * SAMPLE_RATE)
        self._pending = self._audio = np.zeros(0, dtype=np.float32)
        self._chunks = 0
        self._before = self._text = ""
        self._language: str | None = None

    def feed(self, samples: Samples) -> Iterator[ShownText]:
        """Take the next samples, and yield what is shown."""
        self._pending = np.concatenate([self._pending, samples])
        size = round(_CHUNK_S * SAMPLE_RATE)
        while len(self._pending) >= size:
            block, self._pending = np.split(self._pending, [size])
            yield self._step(block)

    def finish(self) -> Iterator[ShownText]:
        """End the recording, and yield what is shown."""
        if len(self._pending):
            self._step(self._pending)
        text = join_overlapping(self._before, self._text)
        yield ShownText(text, text)

    def _step(self, block: Samples) -> ShownText:
        if len(self._audio) + len(block) > self._limit:
            self._reset()
        self._audio = np.concatenate([self._audio, block])
        self._chunks += 1
        prefix = self._fixed() if self._chunks > _UNFIXED_CHUNKS else ""
        context = self._before[-_CONTEXT_CHARACTERS:]
        request = Request(
            self._audio,
            language=self._language if prefix else None,
            context=f"Previous transcript context: {context}" if context else "",
            route=self._route,
            prefix=prefix,
        )
        (recognition,) = self._asr.model.recognize([request])
        self._text, self._language = recognition.text, recognition.language
        fixed = self._fixed() if self._chunks >= _UNFIXED_CHUNKS else ""
        return ShownText(
            join_overlapping(self._before, fixed), join_overlapping(self._before, self._text)
        )

    def _fixed(self) -> str:
        return self._roll_back(self._text, _ROLLED_BACK_TOKENS) if self._language else ""

    def _reset(self) -> None:
        self._before = join_overlapping(self._before, self._text)
        self._audio = self._audio[-round(_OVERLAP_S * SAMPLE_RATE) :]
        self._text, self._language, self._chunks = "", None, 0


class LocalAgreement:
    """LocalAgreement-2 (Liu et al. 2020) as whisper_streaming schedules it (Macháček et al. 2023).

    Every second the buffer is decoded again, with the last 200 characters before it as context.
    Words that two hypotheses in a row agree about are confirmed. A buffer of more than 15 s is cut
    after the last confirmed word. Nothing detects speech.

    Args:
        asr: the recognizer.
    """

    def __init__(self, asr: MegaASR) -> None:
        self._asr = asr
        self._trim_s = min(_TRIM_S, asr.max_chunk_s / 2)
        self._limit = round(asr.max_chunk_s * SAMPLE_RATE)
        self._pending = self._audio = np.zeros(0, dtype=np.float32)
        self._before: list[str] = []  # confirmed words before the buffer
        self._inside: list[str] = []  # confirmed words in the buffer
        self._previous: list[str] = []

    def feed(self, samples: Samples) -> Iterator[ShownText]:
        """Take the next samples, and yield what is shown."""
        self._pending = np.concatenate([self._pending, samples])
        size = round(_STEP_S * SAMPLE_RATE)
        while len(self._pending) >= size:
            block, self._pending = np.split(self._pending, [size])
            yield self._step(block)

    def finish(self) -> Iterator[ShownText]:
        """End the recording, and yield what is shown."""
        if len(self._pending):
            self._step(self._pending)
        text = " ".join([*self._before, *self._inside, *self._previous[len(self._inside) :]])
        yield ShownText(text, text)

    def _step(self, block: Samples) -> ShownText:
        self._audio = np.concatenate([self._audio, block])[-self._limit :]
        context = " ".join(self._before)[-_PROMPT_CHARACTERS:]
        decision = self._asr.decide(self._audio)
        request = Request(self._audio, context=context, route=decision.route)
        (recognition,) = self._asr.model.recognize([request])
        words = [] if recognition.language is None else recognition.text.split()
        done = len(self._inside)
        agreed = 0
        for ours, theirs in zip(self._previous[done:], words[done:], strict=False):
            if ours != theirs:
                break
            agreed += 1
        self._inside += words[done : done + agreed]
        self._previous = words
        confirmed = " ".join([*self._before, *self._inside])
        rest = " ".join(words[len(self._inside) :])
        shown = f"{confirmed} {rest}".strip()
        if len(self._audio) > self._trim_s * SAMPLE_RATE:
            self._trim(recognition)
        return ShownText(confirmed, shown)

    def _trim(self, recognition: Recognition) -> None:
        """Cut the buffer after the last confirmed word, or keep its end if nothing is."""
        count = len(self._inside)
        if count and count <= len(recognition.words):
            cut_s = self._end_s(recognition.words, count - 1)
        elif len(self._audio) < self._limit - _STEP_S * SAMPLE_RATE:
            return
        else:
            cut_s = len(self._audio) / SAMPLE_RATE / 2
        self._audio = self._audio[round(cut_s * SAMPLE_RATE) :]
        self._before += self._inside
        self._previous = self._previous[count:]
        self._inside = []

    def _end_s(self, words: tuple[RecognizedWord, ...], index: int) -> float:
        end_s = words[index].end_s
        if end_s is not None:
            return end_s
        chunk = self._asr.make_chunk(self._audio)
        return estimate_times([word.text for word in words], chunk)[index][1]


def join_overlapping(first: str, second: str) -> str:
    """Return two texts joined by the longest end of the first that the second begins with."""
    for length in range(min(len(first), len(second)), 0, -1):
        if first.endswith(second[:length]):
            return first + second[length:]
    return f"{first} {second}".strip()
