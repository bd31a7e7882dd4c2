"""Decode a recording: choose what to hear of it, decode all of it, and say what is missing.

The data flow: the file is divided into parts; each is decoded by libsndfile, and by ffmpeg where
libsndfile cannot or stops early; samples are repaired, mixed to mono and resampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain

import numpy as np
import soxr

from megaasr.audio import ffmpeg, sndfile
from megaasr.audio.containers import container
from megaasr.audio.division import Part, divide, divide_after_rubbish
from megaasr.audio.downmix import Downmix
from megaasr.audio.notes import AudioNotes
from megaasr.audio.pcm import Ending, Pcm, Repair, recut, skipped
from megaasr.audio.scale import MAX_FLOAT_PEAK, FloatLevels
from megaasr.audio.selection import EVERYTHING, Selection
from megaasr.audio.source import AudioSource, OpenSource, open_source
from megaasr.audio.waveform import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Samples
from megaasr.errors import AudioEmptyError, AudioError, AudioFormatError

_QUALITY = "HQ"
_MIN_MORE_S = 0.05  # that ffmpeg must decode beyond libsndfile's end
_MIN_JUMP_S = 0.5  # of time stamps, to be worth a note


def decode(
    source: AudioSource,
    notes: AudioNotes,
    *,
    sample_rate: int,
    block_size: int,
    selection: Selection = EVERYTHING,
) -> Iterator[Samples]:
    """Decode a recording block by block.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        notes: receives what was unusual; complete once the blocks are exhausted.
        sample_rate: sample rate of the result in Hz, 4000 to 192000.
        block_size: samples of a block; the last may be shorter.
        selection: what is heard of it.

    Yields:
        New float32 arrays of shape [time], never empty.

    Raises:
        AudioError: nothing could be decoded, the file cannot be read, or it has no such track or
            channel.
    """
    with open_source(source) as opened:
        notes.label = opened.label
        streams = _mono_streams(opened, notes, selection)
        with closing(streams):
            resampled = (
                block
                for rate, chunks in streams
                for block in resampled_chunks(chunks, rate, sample_rate)
            )
            yield from recut(resampled, block_size)


def source_format(source: AudioSource, track: int | None = None) -> tuple[int, int]:
    """Return number of channels and sample rate in Hz of a recording; of joined files, the first's.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        track: number of the audio track, from 1 on; None selects as `Selection` does.

    Raises:
        AudioError: the recording cannot be decoded, or has no such track.
    """
    with open_source(source) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when it is decoded
        part = _parts(opened)[0]
        decoders = _decoders(part, AudioNotes(""), Selection(track), 0.0, last=True)
        with closing(decoders):
            pcm, _ = next(decoders)
            return pcm.channels, pcm.rate


def resampled_chunks(chunks: Iterator[Samples], from_rate: int, to_rate: int) -> Iterator[Samples]:
    """Resample consecutive chunks of one sound; at least one sample remains of it."""
    if from_rate == to_rate:
        yield from chunks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=_QUALITY)
    first_sample: Samples | None = None
    emitted = 0
    for chunk in chunks:
        first_sample = chunk[:1] if first_sample is None else first_sample
        resampled = stream.resample_chunk(chunk)
        emitted += resampled.size
        if resampled.size:
            yield resampled
    tail = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if tail.size:
        yield tail
    elif not emitted and first_sample is not None:
        # Shorter than half an output sample; a recording that is not empty keeps one sample.
        yield first_sample.copy()


def _mono_streams(
    source: OpenSource, notes: AudioNotes, selection: Selection
) -> Generator[tuple[int, Iterator[Samples]]]:
    """Yield the sample rate and the mono chunks of consecutive stretches of sound."""
    parts = _parts(source)
    offset_s = 0.0
    valid = 0
    failure: AudioError | None = None
    for index, part in enumerate(parts):
        if part.repaired:
            notes.add("repaired", part.repaired, offset_s)
        last = index == len(parts) - 1
        decoders = _decoders(part, notes, selection, offset_s, last=last)
        try:
            # Closed here: a traceback that is kept would keep the decoder open beyond its file.
            with closing(decoders):
                for pcm, scale in decoders:
                    _require_rate(pcm.rate, source.label)
                    repair = Repair(1 / scale)
                    downmix = Downmix(pcm.channels, pcm.positions, selection.channels, source.label)
                    mono = (downmix(repair(chunk)).astype(np.float32) for chunk in pcm.chunks)
                    yield pcm.rate, mono
                    _note_samples(notes, repair, downmix, pcm, offset_s)
                    valid += repair.frames * pcm.channels - repair.invalid
                    offset_s += repair.frames / pcm.rate
        except AudioError as error:
            if len(parts) == 1:
                raise
            failure = failure or error
            reason = f"a part of the file could not be decoded ({error.reason})"
            notes.add_missing("damaged", reason, decoded_s=offset_s)
    if failure is not None and not offset_s:
        raise failure
    if offset_s and not valid:
        raise AudioFormatError(
            source.label,
            f"none of its samples is a level of sound (NaN, infinite or above {MAX_FLOAT_PEAK:g} "
            "times full scale); the file was written wrongly, export it again",
        )


def _parts(source: OpenSource) -> list[Part]:
    """Return the parts of a recording; rubbish before it is skipped if nothing can read it."""
    parts = divide(source)
    if len(parts) > 1 or container(source.head(256)) or sndfile.can_open(parts[0]):
        return parts
    return divide_after_rubbish(source) or parts


def _decoders(
    part: Part, notes: AudioNotes, selection: Selection, offset_s: float, *, last: bool
) -> Generator[tuple[Pcm, float]]:
    """Yield the decoders that together read a part, and the full scale of their samples."""
    reason, malformed = "several streams in one file", False
    try:
        if part.multiplexed and ffmpeg.available():
            raise sndfile.NotDecodableError(reason, malformed=False)
        with sndfile.open_pcm(part) as pcm:
            if selection.track not in (None, 1):
                label = part.source.label
                raise AudioError(label, f"has 1 audio track, there is no track {selection.track}")
            scale = _note_scale(pcm.float_levels, notes)
            yield pcm, scale
        ending = pcm.ending
    except sndfile.NotDecodableError as error:
        reason, malformed = error.reason, error.malformed
    else:
        rest = _rest_by_ffmpeg(part, pcm) if ending.problem and ending.stopped else None
        if rest is None:
            _require_sound(part.source.label, ending)
            _note_missing(notes, part, ending, offset_s, last=last)
            return
        with rest as more:
            yield more, scale
            if more.ending.problem:
                _note_missing(notes, part, more.ending, offset_s, last=last)
            else:
                where = f"libsndfile stopped at {offset_s + ending.decoded_s:.2f} s"
                why = f"({ending.problem}); ffmpeg decoded the rest"
                notes.add("repaired", f"{where} {why}", offset_s + ending.decoded_s)
        return
    with ffmpeg.open_track(part.source, selection.track, reason, malformed=malformed) as opened:
        _note_track(notes, opened, selection)
        yield opened.pcm, _note_scale(opened.pcm.float_levels, notes)
        _note_missing(notes, part, opened.pcm.ending, offset_s, last=last)


def _rest_by_ffmpeg(part: Part, pcm: Pcm) -> AbstractContextManager[Pcm] | None:
    """Return ffmpeg's sound after the end of libsndfile's; None if it has not more of it."""
    if not ffmpeg.available():
        return None
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(
                ffmpeg.open_track(part.source, None, pcm.ending.problem, malformed=True)
            )
            rate = opened.pcm.rate
            chunks = skipped(opened.pcm.chunks, round(pcm.ending.decoded_s * rate))
            first = next(chunks, None)
        except AudioError:
            return None
        if first is None or len(first) < _MIN_MORE_S * rate:
            return None
        first = first.copy()
        rest = replace(opened.pcm, chunks=chain([first], chunks))
        return _closing_with(stack.pop_all(), rest)


@contextmanager
def _closing_with(stack: ExitStack, pcm: Pcm) -> Iterator[Pcm]:
    with stack:
        yield pcm


def _require_rate(rate: int, label: str) -> None:
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioFormatError(
            label,
            f"its sample rate of {rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz; "
            "resample it first, for example with sox",
        )


def _require_sound(label: str, ending: Ending) -> None:
    """Raise if not a single sample was decoded."""
    if ending.decoded_s:
        return
    if ending.problem or ending.stated_s:
        reason = f"damaged, not a single sample could be decoded ({ending.problem or 'cut off'})"
        raise AudioFormatError(label, f"{reason}; fetch or export it again")
    raise AudioEmptyError(label, "a header without a single sample; record it again")


def _note_scale(levels: FloatLevels | None, notes: AudioNotes) -> float:
    """Return the full scale of float samples with these levels, and note one that is not 1."""
    scale = 1.0 if levels is None else levels.full_scale
    if levels is not None and scale != 1:
        notes.add(
            "rescaled",
            f"its float samples reach {levels.peak:.0f} where ±1 is full scale; they are taken for "
            f"integers and divided by {scale:.0f}",
        )
    return scale


def _note_missing(
    notes: AudioNotes, part: Part, ending: Ending, offset_s: float, *, last: bool
) -> None:
    """Note sound that is missing from a part."""
    problem = part.problem or ending.problem
    if not problem:
        return
    at_s = ending.decoded_s if part.problem_at_s is None else part.problem_at_s
    at_end = last and part.problem_at_s is None and ending.stopped
    stated_s = None if ending.stated_s is None else offset_s + ending.stated_s
    notes.add_missing(
        "truncated" if at_end else "damaged",
        problem,
        decoded_s=offset_s + ending.decoded_s,
        stated_s=stated_s,
        at_s=offset_s + at_s,
    )


def _note_samples(
    notes: AudioNotes, repair: Repair, downmix: Downmix, pcm: Pcm, offset_s: float
) -> None:
    """Note samples that were replaced, and channels that cancel each other."""
    if repair.invalid and repair.invalid < repair.frames * pcm.channels:
        first_s = offset_s + repair.first_invalid / pcm.rate
        count = "1 sample is" if repair.invalid == 1 else f"{repair.invalid} samples are"
        notes.add(
            "damaged",
            f"{count} not a level of sound (NaN, infinite or above {MAX_FLOAT_PEAK:g} "
            f"times full scale), from {first_s:.3f} s on; "
            "silence was put there; the file was written wrongly, export it again",
            first_s,
        )
    if downmix.cancelled:
        notes.add(
            "channels",
            "its channels cancel each other (one is wired with inverted polarity); they were not "
            "added up; a single channel can be selected",
        )


def _note_track(notes: AudioNotes, opened: ffmpeg.OpenTrack, selection: Selection) -> None:
    """Note that there are several tracks, and time stamps that are not followed."""
    track = opened.track
    if track is None:
        return
    if len(opened.tracks) > 1 and selection.track is None:
        names = ", ".join(other.name for other in opened.tracks)
        silent = " and ".join(other.name for other in opened.silent)
        because = f", because track {silent} is silent" if silent else ""
        notes.add(
            "tracks",
            f"has {len(opened.tracks)} audio tracks: {names}; track {track.name} was "
            f"decoded{because}; another can be selected by its number",
        )
    if track.error_s or track.jumps_back_s > _MIN_JUMP_S:
        notes.add(
            "times",
            "its time stamps jump, so that times after the jump are counted from the sound before "
            f"it ({track.error_s:.1f} s forward and {track.jumps_back_s:.1f} s back were not "
            "followed)",
        )
