"""What a container states about its audio tracks: layout, language, start, holes in time.

`ffprobe`, which comes with ffmpeg, reads it; the sound is not decoded.

Source: https://ffmpeg.org/ffprobe.html (the writer `compact`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MAX_HOLE_S = 3600.0
"""A longer hole in the time stamps, or a later start, is an error of the file."""
MIN_HOLE_S = 0.05
"""Shorter jumps in time stamps are rounding."""

_ENTRIES = (
    "stream=index,codec_name,sample_fmt,channels,channel_layout,start_time,duration"
    ":stream_disposition=default:stream_tags=language,title"
    ":format=format_name,start_time,duration"
    ":packet=stream_index,pts_time,duration_time"
)
_TIMEOUT_S = 120
_PACKET = re.compile(
    r"packet\|stream_index=(\d+)\|pts_time=(-?[0-9.]+|N/A)\|duration_time=([0-9.]+|N/A)"
)
# Times from the beginning of the film; those of broadcasts count from when the sender was started.
_ABSOLUTE_TIMES = frozenset(("mov", "mp4", "matroska", "webm"))
_FIXED_FRAMES = frozenset(("aac", "mp3", "ac3", "eac3", "amr_nb", "amr_wb", "alac"))
_NO_TIMES = frozenset(("aac", "ac3", "eac3", "dts", "mp3", "amr", "wav", "loas", "flac", "wv"))


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of time for which a track has no sound.

    Attributes:
        at_s: how much sound of the track comes before it, in seconds.
        length_s: length in seconds, above 0.
    """

    at_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Track:
    """An audio track of a container.

    Attributes:
        number: place among the audio tracks, from 1 on.
        codec: ffmpeg's name of the codec.
        sample_format: ffmpeg's name of the sample format, such as `fltp`.
        channels: number of channels.
        layout: ffmpeg's name of the channel layout, such as `5.1(side)`; "" if unknown.
        language: ISO 639-2 code that the container states; "" if none.
        title: name that the container states; "" if none.
        default: whether players choose it.
        duration_s: length of the sound in seconds that the container states; None if it does not.
        holes: where the track has no sound, first of all before it starts.
        jumps_back_s: how far its time stamps go back in total, in seconds; this is not followed.
        error_s: length of holes that are too long to be true, which are not followed.
    """

    number: int
    codec: str
    sample_format: str
    channels: int
    layout: str
    language: str
    title: str
    default: bool
    duration_s: float | None
    holes: tuple[Hole, ...] = ()
    jumps_back_s: float = 0.0
    error_s: float = 0.0

    @property
    def holds_floats(self) -> bool:
        """Whether floats are stored, rather than a codec's output."""
        lossless_floats = self.codec == "wavpack" and self.sample_format.startswith("flt")
        return self.codec.startswith("pcm_f") or lossless_floats

    @property
    def name(self) -> str:
        """Number, language and title, for messages."""
        details = ", ".join(filter(None, (self.language, self.title)))
        return f"{self.number} ({details})" if details else str(self.number)


class Probe:
    """A running ffprobe.

    Args:
        path: file to examine.
        options: options of ffmpeg that open this file and nothing else.
    """

    def __init__(self, path: Path, options: Sequence[str]) -> None:
        program = shutil.which("ffprobe")
        self._process: subprocess.Popen[bytes] | None = None
        if program is None:
            return
        command = [program, "-v", "quiet", *options, "-select_streams", "a"]
        command += ["-show_entries", _ENTRIES, "-of", "compact=p=1:nk=0"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:
            return

    def tracks(self) -> tuple[Track, ...]:
        """Wait for ffprobe and return the audio tracks; none if it is missing or fails."""
        if self._process is None:
            return ()
        try:
            output, _ = self._process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.close()
            return ()
        return parse(output.decode("utf-8", "replace"))

    def close(self) -> None:
        """End ffprobe."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def parse(output: str) -> tuple[Track, ...]:
    """Return the tracks that the output of ffprobe describes."""
    streams: list[dict[str, str]] = []
    container: dict[str, str] = {}
    packets: dict[str, list[tuple[float, float]]] = {}
    for line in output.splitlines():
        packet = _PACKET.match(line)
        if packet is not None:
            if "N/A" not in packet.groups():
                times = (float(packet[2]), float(packet[3]))
                packets.setdefault(packet[1], []).append(times)
            continue
        kind, *fields = line.split("|")
        values = dict(field.split("=", 1) for field in fields if "=" in field)
        if kind == "stream":
            streams.append(values)
        elif kind == "format":
            container = values
    formats = set(container.get("format_name", "").split(","))
    origin_s = 0.0 if formats & _ABSOLUTE_TIMES else _number(container.get("start_time")) or 0.0
    return tuple(
        _track(
            number,
            values,
            origin_s,
            [] if formats & _NO_TIMES else packets.get(values.get("index", ""), []),
        )
        for number, values in enumerate(streams, 1)
    )


def _track(
    number: int, values: dict[str, str], origin_s: float, packets: list[tuple[float, float]]
) -> Track:
    start_s = _number(values.get("start_time"))
    holes: list[Hole] = []
    back_s = error_s = 0.0
    if packets:
        first_s = packets[0][0] if start_s is None else start_s
        if values.get("codec_name") in _FIXED_FRAMES:
            packets = _without_holes_inside(packets)
        for at_s, length_s in _jumps(packets, origin_s, first_s):
            if length_s < 0:
                back_s -= length_s
            elif length_s > MAX_HOLE_S:
                error_s += length_s
            else:
                holes.append(Hole(at_s, length_s))
    return Track(
        number=number,
        codec=values.get("codec_name", ""),
        sample_format=values.get("sample_fmt", ""),
        channels=int(values.get("channels", "0") or 0),
        layout=values.get("channel_layout", "").replace("unknown", ""),
        language=values.get("tag:language", "").replace("und", ""),
        title=values.get("tag:title", ""),
        default=values.get("disposition:default") == "1",
        duration_s=_number(values.get("duration")),
        holes=tuple(holes),
        jumps_back_s=back_s,
        error_s=error_s,
    )


def _without_holes_inside(packets: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return start and length of packets whose frames are equally long.

    MP4 states how long it is to the next packet, so that a hole makes the packet before it longer.
    """
    usual_s = median(duration_s for _, duration_s in packets)
    return [(start_s, min(duration_s, usual_s)) for start_s, duration_s in packets]


def _jumps(
    packets: list[tuple[float, float]], origin_s: float, first_s: float
) -> Iterator[tuple[float, float]]:
    """Yield the sound before each jump of the time stamps and the jump's length, in seconds.

    The first jump is from `origin_s` to the first sound, at `first_s`.
    """
    sound_s = 0.0
    if first_s - origin_s > MIN_HOLE_S:
        yield 0.0, first_s - origin_s
    end_s = first_s
    for start_s, duration_s in packets:
        stop_s = start_s + duration_s
        if stop_s <= first_s:
            continue  # the encoder's padding before the first sound
        jump_s = start_s - end_s
        if abs(jump_s) > MIN_HOLE_S and end_s > first_s:
            yield sound_s, jump_s
            end_s = start_s
        sound_s += stop_s - end_s
        end_s = stop_s


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
