"""`mega-asr bench --stream`: live systems on a test set, at a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio.clips import read_clip
from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.records.timed_words import read_timed_words
from megaasr.score.streaming.baselines import LocalAgreement, ReleasedSchedule
from megaasr.score.streaming.metrics import (
    ClipMeasures,
    TimedToken,
    measure_clip,
    summarize,
    timed_tokens,
)
from megaasr.score.streaming.replay import Clock, LiveSession, OurSession, replay
from megaasr.score.streaming.updates import ClipRun, read_log
from megaasr.score.summary import NORMALIZERS
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.stream.options import StreamOptions
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled
from megaasr.text.normalize import tokens
from megaasr.transcribe.recognizer import MegaASR

RESULT_FILE, LOG_FILE = "stream.json", "updates.jsonl"
RESULT_SCHEMA = 1
OURS, RELEASED, AGREEMENT, EVENTS = "megaasr", "released", "agreement2", "events"
_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "commit": str,
    "encoding": str,
    "step": float,
    "end_silence": float,
    "threshold": float,
}
_SECONDS = ("step", "end_silence")  # their fields have the unit in the name


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """A live system as the user specified it.

    Attributes:
        name: name of the system in the result.
        kind: `megaasr`, `released`, `agreement2` or `events`.
        model: name or folder of a model, or the path of an event log.
        options: how a session of ours listens and decodes.
    """

    name: str
    kind: str
    model: str
    options: StreamOptions = field(default_factory=StreamOptions)


@dataclass(frozen=True, slots=True)
class _TimedClip:
    """A clip of the test set, ready to be measured.

    Attributes:
        clip: the clip.
        samples: float32 of shape [time], 16 kHz mono.
        reference: tokens of its reference with times.
    """

    clip: TestClip
    samples: Samples
    reference: tuple[TimedToken, ...]

    @property
    def audio_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def parse_live_systems(texts: Sequence[str]) -> list[LiveSpec]:
    """Parse `[NAME=]MODEL[@OPTION=VALUE,…]`, `[NAME=]released:MODEL`, `[NAME=]agreement2:MODEL`
    and `[NAME=]events:FILE`.

    The options are `commit`, `encoding`, `step`, `end_silence` and `threshold`.

    Raises:
        UsageError: a text or an option cannot be used, or two systems have the same name.
    """
    specs = [_parse(text) for text in texts]
    names = [spec.name for spec in specs]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UsageError(
            f"two systems are called {repeated[0]}; give one another name: --system NAME=…"
        )
    return specs


def _parse(text: str) -> LiveSpec:
    head, equals, rest = text.partition("=")
    has_name = bool(equals) and not set("@:/") & set(head)
    name, source = (head, rest) if has_name else (text, text)
    kind, colon, model = source.partition(":")
    if colon and kind in (RELEASED, AGREEMENT, EVENTS):
        return LiveSpec(name, kind, model)
    model, _, variant = source.partition("@")
    if not model:
        raise UsageError(f"--system {text}: name a model")
    return LiveSpec(name, OURS, model, _parse_options(text, variant))


def _parse_options(text: str, variant: str) -> StreamOptions:
    values: dict[str, Any] = {}
    for part in variant.split(",") if variant else ():
        key, _, value = part.partition("=")
        if key not in _OPTIONS:
            raise UsageError(
                f"--system {text}: {key} is no option of a live system; there are "
                f"{', '.join(_OPTIONS)}"
            )
        field = f"{key}_s" if key in _SECONDS else key
        try:
            values[field] = _OPTIONS[key](value)
        except ValueError as error:
            raise UsageError(f"--system {text}: {key} is no number") from error
    return StreamOptions(**values)


def run_stream_bench(
    specs: Sequence[LiveSpec],
    test_set: TestSetFile,
    output: Path,
    load: Callable[[str], MegaASR],
    *,
    feed_s: float = 0.1,
    clock: Clock = "wall",
    language: str | None = None,
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> dict[str, Any]:
    """Run live systems over a test set, and write `stream.json` and `updates.jsonl`.

    Args:
        specs: the systems; the first one that has a model gives times to words without them.
        test_set: the test set.
        output: folder for the results.
        load: loads a recognizer by the name of its model.
        feed_s: seconds of audio that arrive together, above 0.
        clock: what computing is charged by.
        language: ISO code that ours is forced to; None lets the model identify it.
        on_progress: called after every clip of every system.

    Returns:
        The content of `stream.json`, as JSON values.

    Raises:
        UsageError: the audio is missing, or no system has a model where one is needed.
        RecordError: an event log cannot be read.
        ModelError: a model does not exist or fails.
    """
    if not feed_s > 0:
        raise UsageError(f"feed is {feed_s:g} seconds; it must be above 0")
    test_set.require_audio()
    models: dict[str, MegaASR] = {}
    for spec in specs:
        if spec.kind != EVENTS and spec.model not in models:
            models[spec.model] = load(spec.model)
    output.mkdir(parents=True, exist_ok=True)
    offline = {name: _Offline(asr, language) for name, asr in models.items()}
    timer = next(iter(offline.values()), None)
    clips = [_timed_clip(clip, test_set.audio_root, timer) for clip in test_set.clips]
    total = len(specs) * len(clips)
    systems, log = [], []
    for number, spec in enumerate(specs):
        runs = _runs(spec, clips, models, feed_s, clock, language)
        measures = []
        for index, (timed, run) in enumerate(zip(clips, runs, strict=True)):
            measures.append(_measure(timed, run))
            log += run.to_records(spec.name, timed.clip.id)
            on_progress(number * len(clips) + index + 1, total, spec.name)
        systems.append(_summary(spec, clips, measures, offline.get(spec.model)))
    result = {
        "schema": RESULT_SCHEMA,
        "test_set": {"path": str(test_set.path), "sha256": test_set.sha256},
        "feed_s": feed_s,
        "clock": clock,
        "word_times": "reference" if all(map(_is_timed, test_set.clips)) else "offline",
        "systems": systems,
    }
    lines = "".join(strict_json.dumps(line, ensure_ascii=False) + "\n" for line in log)
    write_atomically(output / LOG_FILE, lines)
    write_atomically(output / RESULT_FILE, strict_json.dumps(result, indent=1) + "\n")
    return result


class _Offline:
    """What a model transcribes offline, once for each clip."""

    def __init__(self, asr: MegaASR, language: str | None) -> None:
        self._asr, self._language = asr, language
        self._transcripts: dict[str, Any] = {}

    def transcript(self, clip: TestClip, samples: Samples) -> Any:
        """Return the transcript of a clip."""
        if clip.id not in self._transcripts:
            self._transcripts[clip.id] = self._asr.transcribe(
                samples, sample_rate=SAMPLE_RATE, language=self._language
            )
        return self._transcripts[clip.id]


def _runs(
    spec: LiveSpec,
    clips: Sequence[_TimedClip],
    models: Mapping[str, MegaASR],
    feed_s: float,
    clock: Clock,
    language: str | None,
) -> Iterable[ClipRun]:
    """Yield what a system did with each clip."""
    if spec.kind == EVENTS:
        log = read_log(Path(spec.model))
        yield from (log.get(timed.clip.id, ClipRun(())) for timed in clips)
        return
    asr = models[spec.model]
    open_session = _opener(spec, asr, language)
    for timed in clips:
        yield replay(open_session, asr, timed.samples, feed_s=feed_s, clock=clock)


def _opener(spec: LiveSpec, asr: MegaASR, language: str | None) -> Callable[[MegaASR], LiveSession]:
    if spec.kind == RELEASED:
        roll_back = getattr(asr.model, "without_last_tokens", None)
        if roll_back is None:
            raise UsageError(f"{spec.model} cannot be rolled back by tokens")
        return lambda counted: ReleasedSchedule(counted, roll_back)
    if spec.kind == AGREEMENT:
        return LocalAgreement
    return lambda counted: OurSession(counted, replace(spec.options, language=language))


def _timed_clip(clip: TestClip, root: Path, offline: _Offline | None) -> _TimedClip:
    waveform = read_clip(root, clip.audio)
    samples = resample(waveform.samples, waveform.sample_rate, SAMPLE_RATE)
    timed = read_timed_words(clip.record or {})
    if timed or not clip.text:
        words = [(text, end) for text, _, end in timed]
    elif offline is None:
        raise UsageError(
            f"clip {clip.id} has no times of words (words: text and end), and no system has a "
            "model that could give them"
        )
    else:
        words = _words_by_offline(clip, samples, offline)
    return _TimedClip(clip, samples, timed_tokens(words, clip.language, NORMALIZERS[0]))


def _words_by_offline(
    clip: TestClip, samples: Samples, offline: _Offline
) -> list[tuple[str, float]]:
    """Return the words of a reference, spread over the speech that offline recognition found."""
    segments = offline.transcript(clip, samples).segments
    ends = [word.end for s in segments for word in s.words if word.end is not None]
    starts = [word.start for s in segments for word in s.words if word.start is not None]
    words = clip.text.split()
    if not words:
        return []
    start, end = (min(starts), max(ends)) if ends else (0.0, len(samples) / SAMPLE_RATE)
    lengths = [len(word) + 1 for word in words]
    share = (end - start) / sum(lengths)
    return [(word, start + share * sum(lengths[: index + 1])) for index, word in enumerate(words)]


def _is_timed(clip: TestClip) -> bool:
    return not clip.text or bool(read_timed_words(clip.record or {}))


def _measure(timed: _TimedClip, run: ClipRun) -> ClipMeasures:
    language = timed.clip.language
    return measure_clip(
        run,
        timed.reference,
        timed.audio_s,
        lambda text: tokens(text, language, NORMALIZERS[0]),
    )


def _summary(
    spec: LiveSpec,
    clips: Sequence[_TimedClip],
    measures: Sequence[ClipMeasures],
    offline: _Offline | None,
) -> dict[str, Any]:
    """Return the measures of a system: of all clips, and of each group of them."""
    groups: dict[str, list[int]] = {}
    for index, timed in enumerate(clips):
        for name in _groups(timed.clip):
            groups.setdefault(name, []).append(index)

    def entry(indices: Sequence[int]) -> dict[str, Any]:
        summary: dict[str, Any] = dict(summarize(measures[i] for i in indices))
        if offline is not None:
            errors = pooled(_offline_errors(clips[i], offline) for i in indices)
            summary["offline_wer"] = errors.rate if errors.reference_length else None
        return summary

    return {
        "name": spec.name,
        "kind": spec.kind,
        "model": spec.model,
        "overall": entry(range(len(clips))),
        "groups": {name: entry(indices) for name, indices in sorted(groups.items())},
    }


def _offline_errors(timed: _TimedClip, offline: _Offline) -> ErrorCounts:
    transcript = offline.transcript(timed.clip, timed.samples)
    return count_errors(timed.clip.text, transcript.text, language=timed.clip.language)


def _groups(clip: TestClip) -> tuple[str, ...]:
    """Return the names of a clip's groups: its scenario and severity, and its severity alone.

    The severity is in steps of a quarter.
    """
    if clip.severity is None:
        return (clip.scenario or clip.category or "clean",)
    low = min(3, int(clip.severity * 4)) / 4
    severity = f"severity {low:g} to {low + 0.25:g}"
    return f"{clip.scenario}, {severity}", severity
