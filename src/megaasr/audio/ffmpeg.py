"""Decode the formats that libsndfile does not support (M4A, MP4, WebM, AMR, AAC, WMA, ...).

The `ffmpeg` program runs as a child process that writes float samples of all channels to a pipe,
in the AU format, whose short header states rate and channels. Down-mixing and resampling are done
here, so that they are the same for every format. A recording is untrusted input: only demuxers of
plain containers are allowed (a playlist, even one named .mp4, would make ffmpeg open other files
and addresses), and only the `file` protocol.

Source: https://ffmpeg.org/ffmpeg-formats.html (format_whitelist, protocol_whitelist).
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from megaasr.audio import mp4
from megaasr.audio.containers import container
from megaasr.audio.downmix import positions_of_layout
from megaasr.audio.pcm import CHUNK_VALUES, Ending, Pcm, chunk_frames, with_holes
from megaasr.audio.scale import FloatLevels
from megaasr.audio.source import OpenSource, temporary_folder
from megaasr.audio.tracks import Probe, Track
from megaasr.errors import (
    AudioEmptyError,
    AudioError,
    AudioFormatError,
    DecoderMissingError,
)

# Not amrnb and amrwb: without the header of AMR, they recognise any other raw data.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,loas,"
    "matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,sds,tak,tta,voc,w64,wav,webm,wv,xwma"
)
_MESSAGE = re.compile(r"(?:\[[^\]]* @ [^\]]*\] )?\[(warning|error|fatal|panic)\] (.*)")
_CONTAINERS_WITH_LENGTH = ("MP4/M4A/MOV", "MOV", "WebM/Matroska", "WMA/ASF", "AVI")
_SINGLE_STREAMS = frozenset(("AAC", "AMR", "AC-3", "DTS", "TTA"))  # without times
_LOW_SCORE = re.compile(r"detected only with low score of (\d+)")
_MIN_PROBE_SCORE = 25  # four MPEG frames in a row; random data has one or two, and scores up to 5
_KEPT_BYTES = 2**16
_LENGTH_TOLERANCE_S = 0.1
SILENCE = 1e-3
"""Peak of a track that holds no sound, -60 dBFS."""
_AU_HEADER = struct.Struct(">4sIIIII")
_AU_FLOAT32 = 6
INSTALL = (
    "install it: `sudo apt install ffmpeg` (Debian, Ubuntu), `brew install ffmpeg` (macOS), "
    "`winget install ffmpeg` (Windows)"
)


def available() -> bool:
    """Return whether the `ffmpeg` program is on the PATH."""
    return shutil.which("ffmpeg") is not None


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """A running decoder of one audio track.

    Attributes:
        pcm: the decoder. The holes in the track's time stamps are silence.
        track: what the container states about the track; None if ffprobe is missing.
        tracks: all audio tracks of the container.
        silent: tracks that come before it in the order of preference and hold no sound.
    """

    pcm: Pcm
    track: Track | None
    tracks: tuple[Track, ...] = ()
    silent: tuple[Track, ...] = ()


@contextmanager
def open_track(
    source: OpenSource, number: int | None, reason: str, *, malformed: bool
) -> Iterator[OpenTrack]:
    """Decode one audio track with ffmpeg.

    Args:
        source: the recording.
        number: place of the track among the audio tracks, from 1 on; None selects the one that
            players choose, and another if that one is silent.
        reason: why libsndfile could not decode it; used in error messages.
        malformed: whether libsndfile knows the format and found the file to be damaged.

    Raises:
        DecoderMissingError: ffmpeg is not on the PATH, and could probably decode the content.
        AudioFormatError: not audio, damaged, or without an audio track.
        AudioEmptyError: the track has no samples; raised by the iteration.
        AudioError: ffmpeg cannot be started, or there is no track of this number.
    """
    container_name = container(source.head(256))
    program = shutil.which("ffmpeg")
    if program is None:
        _refuse_without_ffmpeg(source.label, container_name, reason, malformed=malformed)
    with ExitStack() as stack:
        path = stack.enter_context(source.on_disk())
        plain = _plain_track(source, container_name) if number in (None, 1) else None
        probe = None
        if plain is None:
            probe = stack.enter_context(closing(Probe(path, _only_this_file(path))))
        # Started before the tracks are known, because there is nearly always one.
        guess = number or 1
        child = stack.enter_context(_started(program, path, source.label, guess))
        tracks = probe.tracks() if probe is not None else (plain,) if plain is not None else ()
        track, silent = _chosen(tracks, number, source.label, program, path)
        if track is not None and track.number != guess:
            child = stack.enter_context(_started(program, path, source.label, track.number))
        header = child.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            _refuse(source.label, container_name, reason, child.complaint())
        if child.probe_score() < _MIN_PROBE_SCORE:
            _refuse(source.label, container_name, reason, "only a guess at the format")
        magic, offset, _, encoding, rate, channels = _AU_HEADER.unpack(header)
        child.stdout.read(offset - _AU_HEADER.size)
        if magic != b".snd" or encoding != _AU_FLOAT32 or not channels or not rate:
            raise AudioError(source.label, "ffmpeg answered in a form that was not asked for")
        if plain is not None and channels > 2:  # their positions matter
            tracks = _probed(path)
            track = tracks[0] if tracks else None
        ending = Ending(stated_s=None if track is None else _stated_s(track, container_name))
        chunks = _chunks(child, rate, channels, source.label, ending)
        if track is not None:
            chunks = with_holes(chunks, track.holes, rate, channels)
        positions = positions_of_layout("" if track is None else track.layout, channels)
        levels = None
        if track is not None and track.holds_floats:
            levels = _levels(program, path, source.label, track.number)
        pcm = Pcm(rate, channels, positions, chunks, ending, levels)
        yield OpenTrack(pcm, track, tracks, silent)


def _plain_track(source: OpenSource, container_name: str | None) -> Track | None:
    """Return the only track of a file that needs no ffprobe; None if it does need it."""
    if container_name in _SINGLE_STREAMS:
        return Track(1, "", "", 0, "", "", "", default=True, duration_s=None)
    if container_name == "MP4/M4A/MOV":
        return mp4.plain_track(source.file, source.size)
    return None


def _probed(path: Path) -> tuple[Track, ...]:
    with closing(Probe(path, _only_this_file(path))) as probe:
        return probe.tracks()


def tracks_of(source: OpenSource) -> tuple[Track, ...]:
    """Return the audio tracks that a container states; none if ffprobe is missing or fails."""
    with source.on_disk() as path:
        return _probed(path)


def duration_s(source: OpenSource) -> float | None:
    """Return the length that the container states in seconds, read by `ffprobe`.

    None if it states none (for raw AAC and the like, ffprobe only guesses from the bit rate),
    or if ffprobe is missing, fails, or takes longer than 10 s.
    """
    program = shutil.which("ffprobe")
    if program is None or container(source.head(256)) not in _CONTAINERS_WITH_LENGTH:
        return None
    with source.on_disk() as path:
        query = ["-select_streams", "a:0", "-show_entries", "stream=duration:format=duration"]
        command = [program, "-v", "quiet", *_only_this_file(path), *query, "-of", "csv=p=0"]
        try:
            process = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
    # The stream's length comes first; containers such as Matroska state only that of the file.
    for word in process.stdout.decode("ascii", "replace").split():
        with suppress(ValueError):
            if (seconds := float(word)) > 0:
                return seconds
    return None


def _levels(program: str, path: Path, label: str, number: int) -> FloatLevels:
    """Return the levels of all samples of a track."""
    levels = FloatLevels()
    with _started(program, path, label, number) as child:
        child.stdout.read(_AU_HEADER.size)
        while len(data := child.stdout.read(4 * CHUNK_VALUES)) >= 4:
            levels.add(np.frombuffer(data, ">f4", len(data) // 4))
    return levels


def _stated_s(track: Track, container_name: str | None) -> float | None:
    """Return the length of a track's sound in seconds, if its container states it reliably."""
    if track.duration_s is None or container_name not in ("MP4/M4A/MOV", "MOV"):
        return None
    return track.duration_s - sum(hole.length_s for hole in track.holes if hole.at_s > 0)


def _chosen(
    tracks: tuple[Track, ...], number: int | None, label: str, program: str, path: Path
) -> tuple[Track | None, tuple[Track, ...]]:
    """Return the track to decode, and the silent ones that would have come before it."""
    if not tracks:
        if number not in (None, 1):
            raise AudioError(label, f"whether it has a track {number} is unknown without ffprobe")
        return None, ()
    if number is not None:
        if not 1 <= number <= len(tracks):
            count = "1 audio track" if len(tracks) == 1 else f"{len(tracks)} audio tracks"
            raise AudioError(label, f"has {count}, there is no track {number}")
        return tracks[number - 1], ()
    preferred = sorted(tracks, key=lambda track: not track.default)
    if len(tracks) == 1:
        return tracks[0], ()
    for index, track in enumerate(preferred):
        if not _is_silent(program, path, label, track.number):
            return track, tuple(preferred[:index])
    return preferred[0], ()


def _is_silent(program: str, path: Path, label: str, number: int) -> bool:
    """Return whether a track never exceeds the level of silence, or cannot be decoded."""
    with _started(program, path, label, number) as child:
        child.stdout.read(_AU_HEADER.size)
        while data := child.stdout.read(4 * CHUNK_VALUES):
            samples = np.frombuffer(data, ">f4", len(data) // 4)
            if samples.size and np.abs(samples).max() > SILENCE:
                return False
    return True


class _Child:
    """A running ffmpeg with its audio on `stdout` and its messages in a temporary file.

    A file rather than a pipe, because it need not be drained, and because the messages that were
    written before a byte of audio can be read as soon as that byte has arrived.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path, subject: str) -> None:
        assert process.stdout is not None  # the process was started with a pipe
        self.process = process
        self.stdout = process.stdout
        self._log = log
        self._subject = subject

    def messages(self) -> list[tuple[str, str]]:
        """Return (level, text) of the first messages, without ffmpeg's own prefixes."""
        # Opened again: the child process writes at the position of the other handle.
        with self._log.open("rb") as log:
            text = log.read(_KEPT_BYTES).decode("utf-8", "replace")
        matches = (_MESSAGE.match(line) for line in text.splitlines())
        return [(match[1], match[2]) for match in matches if match]

    def probe_score(self) -> int:
        """Return ffmpeg's confidence in the format, 0 to 100; it reports low scores only."""
        matches = (_LOW_SCORE.search(text) for _, text in self.messages())
        return next((int(match[1]) for match in matches if match), 100)

    def complaint(self) -> str:
        """Return the first error, or "" if ffmpeg reported none and succeeded."""
        code = self.process.wait()
        for level, text in self.messages():
            if level != "warning" or "corrupt" in text.lower():
                if text.startswith("Format not on whitelist"):
                    return "a playlist or another format that is not allowed"
                return text.removeprefix(f"{self._subject}: ").strip().rstrip(".")
        return f"it ended with status {code}" if code else ""


def _only_this_file(path: Path) -> list[str]:
    """Return the options that keep ffmpeg and ffprobe from opening anything but this file."""
    return ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS, "-i", f"file:{path}"]


@contextmanager
def _started(program: str, path: Path, label: str, number: int) -> Iterator[_Child]:
    """Start ffmpeg on the audio track of a number, from 1 on."""
    # Frames whose checksum is wrong are reported; without this they are decoded without a word.
    command = [program, "-nostdin", "-hide_banner", "-v", "level+warning"]
    command += ["-err_detect", "crccheck", *_only_this_file(path)]
    command += [
        "-map",
        f"0:a:{number - 1}",
        "-map_metadata",
        "-1",
        "-c:a",
        "pcm_f32be",
        "-f",
        "au",
        "pipe:1",
    ]
    with temporary_folder(label) as folder:
        log = folder / "messages"
        try:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
                )
        except OSError as error:
            reason = f"ffmpeg ({program}) cannot be started: {error.strerror or error}"
            raise AudioError(label, f"{reason}; {INSTALL}") from error
        with process:
            try:
                yield _Child(process, log, f"file:{path}")
            finally:
                process.kill()  # no effect if it has ended; otherwise the caller stopped early


def _chunks(
    child: _Child, rate: int, channels: int, label: str, ending: Ending
) -> Iterator[NDArray[np.float32]]:
    """Yield the decoded chunks; afterwards `ending` says whether they are all."""
    frame_bytes = 4 * channels
    decoded = 0
    while data := child.stdout.read(chunk_frames(channels) * frame_bytes):
        count = len(data) // frame_bytes
        if count:  # a killed process may leave an incomplete frame
            decoded += count
            frames = np.frombuffer(data, ">f4", count * channels).astype(np.float32)
            yield frames.reshape(count, channels)
    complaint = child.complaint()
    ending.decoded_s = decoded / rate
    if decoded and complaint:
        ending.problem = f"ffmpeg reports: {complaint}"
    elif complaint:
        reason = f"damaged, not a single sample could be decoded (ffmpeg: {complaint})"
        raise AudioFormatError(label, f"{reason}; fetch or export it again")
    elif not decoded:
        raise AudioEmptyError(label, "an audio track without a single sample; record it again")
    elif ending.stated_s is not None and ending.stated_s - ending.decoded_s > _LENGTH_TOLERANCE_S:
        ending.problem = "the track ends before the length that the file states"
    if not ending.problem:
        ending.stated_s = None


def _refuse(label: str, container_name: str | None, reason: str, complaint: str) -> NoReturn:
    """Raise the error that best explains why ffmpeg decoded nothing."""
    if "matches no streams" in complaint:
        raise AudioFormatError(
            label,
            "holds no audio track (a video without sound, or a file cut off at its start); name "
            "a file with sound, or fetch it again",
        )
    if container_name is None:
        raise AudioFormatError(
            label,
            f"not an audio file (libsndfile: {reason}; ffmpeg: {complaint or 'no sound'}); a raw "
            "recording without a header must first be converted, for example with sox",
        )
    raise AudioFormatError(
        label,
        f"damaged (as {container_name} it gave no sound; ffmpeg: {complaint or 'no reason'}); "
        "fetch or export it again",
    )


def _refuse_without_ffmpeg(
    label: str, container_name: str | None, reason: str, *, malformed: bool
) -> NoReturn:
    if malformed:
        raise AudioFormatError(label, f"damaged (libsndfile: {reason}); fetch or export it again")
    if container_name is None:
        raise AudioFormatError(
            label,
            f"not an audio file that libsndfile knows ({reason}); if a player does play it, "
            f"the ffmpeg program may read it, {INSTALL}",
        )
    raise DecoderMissingError(
        label,
        f"decoding this {container_name} file needs the ffmpeg program, which is not on the PATH; "
        f"{INSTALL}",
    )
