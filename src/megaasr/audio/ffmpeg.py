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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.pcm import Pcm, chunk_frames, warn_truncated
from megaasr.audio.source import OpenSource, temporary_folder
from megaasr.errors import AudioEmptyError, AudioError, AudioFormatError, DecoderMissingError

_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,loas,"
    "matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,tak,tta,voc,w64,wav,webm,wv,xwma"
)
_CONTAINERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4/M4A/MOV"),
    (4, b"moov", "MOV"),
    (4, b"mdat", "MOV"),
    (4, b"wide", "MOV"),
    (0, b"\x1aE\xdf\xa3", "WebM/Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf0", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf8", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA/ASF"),
    (8, b"AVI ", "AVI"),
    (8, b"WAVE", "WAV"),
    (0, b"OggS", "Ogg"),
    (0, b"caff", "CAF"),
    (0, b"FORM", "AIFF"),
    (0, b"FLV\x01", "FLV"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "TTA"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"tBaK", "TAK"),
    (0, b"DSD ", "DSF"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream"),
    (0, b"ID3", "MP3 or AAC"),
)
_TS_PACKET = 188
_MESSAGE = re.compile(r"(?:\[[^\]]* @ [^\]]*\] )?\[(warning|error|fatal|panic)\] (.*)")
_CONTAINERS_WITH_LENGTH = ("MP4/M4A/MOV", "MOV", "WebM/Matroska", "WMA/ASF", "AVI")
_LOW_SCORE = re.compile(r"detected only with low score of (\d+)")
_MIN_PROBE_SCORE = 25  # four MPEG frames in a row; random data has one or two, and scores up to 5
_KEPT_BYTES = 2**16
_AU_HEADER = struct.Struct(">4sIIIII")
_AU_FLOAT32 = 6
_INSTALL = (
    "install it: `sudo apt install ffmpeg` (Debian, Ubuntu), `brew install ffmpeg` (macOS), "
    "`winget install ffmpeg` (Windows)"
)


def available() -> bool:
    """Return whether the `ffmpeg` program is on the PATH."""
    return shutil.which("ffmpeg") is not None


def container(head: bytes) -> str | None:
    """Return the name of the container that starts with `head`, or None if it is unknown.

    Args:
        head: first bytes of the file; 256 are enough.
    """
    for offset, magic, name in _CONTAINERS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head[:1] == b"\x47" and head[_TS_PACKET : _TS_PACKET + 1] == b"\x47":
        return "MPEG transport stream"
    return None


@contextmanager
def open_pcm(source: OpenSource, reason: str, *, malformed: bool) -> Iterator[Pcm]:
    """Decode the first audio track with ffmpeg.

    Args:
        source: the recording.
        reason: why libsndfile could not decode it; used in error messages.
        malformed: whether libsndfile knows the format and found the file to be damaged.

    Yields:
        The running decoder. If ffmpeg reports damage, an `AudioTruncatedWarning` follows the last
        chunk; if nothing was decoded, iteration raises AudioEmptyError or AudioFormatError.

    Raises:
        DecoderMissingError: ffmpeg is not on the PATH, and could probably decode the content.
        AudioFormatError: not audio, damaged, or without an audio track.
        AudioError: ffmpeg cannot be started.
    """
    container_name = container(source.head(256))
    program = shutil.which("ffmpeg")
    if program is None:
        _refuse_without_ffmpeg(source.label, container_name, reason, malformed=malformed)
    with source.on_disk() as path, _started(program, path, source.label) as child:
        header = child.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            _refuse(source.label, container_name, reason, child.complaint())
        if child.probe_score() < _MIN_PROBE_SCORE:
            _refuse(source.label, container_name, reason, "only a guess at the format")
        magic, offset, _, encoding, rate, channels = _AU_HEADER.unpack(header)
        child.stdout.read(offset - _AU_HEADER.size)
        if magic != b".snd" or encoding != _AU_FLOAT32 or not channels or not rate:
            raise AudioError(source.label, "ffmpeg answered in a form that was not asked for")
        yield Pcm(rate, channels, _chunks(child, rate, channels, source.label))


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
    return ["-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS, "-i", f"file:{path}"]


@contextmanager
def _started(program: str, path: Path, label: str) -> Iterator[_Child]:
    command = [program, "-nostdin", "-hide_banner", "-v", "level+warning", *_only_this_file(path)]
    command += ["-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with temporary_folder(label) as folder:
        log = folder / "messages"
        try:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
                )
        except OSError as error:
            reason = f"ffmpeg ({program}) cannot be started: {error.strerror or error}"
            raise AudioError(label, f"{reason}; {_INSTALL}") from error
        with process:
            try:
                yield _Child(process, log, f"file:{path}")
            finally:
                process.kill()  # no effect if it has ended; otherwise the caller stopped early


def _chunks(child: _Child, rate: int, channels: int, label: str) -> Iterator[NDArray[np.float32]]:
    frame_bytes = 4 * channels
    decoded = 0
    while data := child.stdout.read(chunk_frames(channels) * frame_bytes):
        count = len(data) // frame_bytes
        if count:  # a killed process may leave an incomplete frame
            decoded += count
            frames = np.frombuffer(data, ">f4", count * channels).astype(np.float32)
            yield frames.reshape(count, channels)
    complaint = child.complaint()
    if decoded and complaint:
        warn_truncated(label, decoded / rate, None, f"ffmpeg reports: {complaint}")
    elif complaint:
        reason = f"damaged, not a single sample could be decoded (ffmpeg: {complaint})"
        raise AudioFormatError(label, f"{reason}; fetch or export it again")
    elif not decoded:
        raise AudioEmptyError(label, "an audio track without a single sample; record it again")


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
            f"the ffmpeg program may read it, {_INSTALL}",
        )
    raise DecoderMissingError(
        label,
        f"decoding this {container_name} file needs the ffmpeg program, which is not on the PATH; "
        f"{_INSTALL}",
    )
