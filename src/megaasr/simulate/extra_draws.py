"""How the steps of the extra conditions are drawn; applying them involves no random choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megaasr.simulate.codec_ladder import choose_codec
from megaasr.simulate.image_sources import Point
from megaasr.simulate.primitives import (
    AnyPrimitive,
    BandLimit,
    CompetingTalker,
    GainControl,
    NoiseGate,
    PacketLoss,
    PlaybackSpeed,
    ShoeboxRoom,
    SpeechCodec,
    WowFlutter,
)
from megaasr.simulate.streams import stream
from megaasr.simulate.talkers import TalkerPool

_WALL_M = 0.4  # least distance of speaker and microphone from every wall
_TRIES = 100


@dataclass(frozen=True, slots=True)
class StepDraw:
    """What the draw of a step depends on.

    Attributes:
        condition: name of the condition.
        values: values of the swept and constant parameters by name.
        key: key of the random stream of this step.
        utterance: id of the clip.
        talkers: pool of other people's speech.
        codecs: names of the codecs to draw from; None for all.
    """

    condition: str
    values: dict[str, Any]
    key: str
    utterance: str
    talkers: TalkerPool
    codecs: Sequence[str] | None = None


def draw_extra_step(kind: str, step: StepDraw) -> AnyPrimitive:
    """Draw a step of an extra condition.

    Args:
        kind: one of `EXTRA_KINDS`.
        step: what the draw depends on.
    """
    return _DRAWS[kind](step)


def _codec(step: StepDraw) -> AnyPrimitive:
    name = choose_codec(step.values["rung"], stream(step.key), step.codecs)
    return SpeechCodec(condition=step.condition, codec=name)


def _packet_loss(step: StepDraw) -> AnyPrimitive:
    # The stream of the losses is that of the key; this choice has a stream of its own.
    repeats = stream(step.key[::-1]).random() < step.values["repetition_prob"]
    values = {name: value for name, value in step.values.items() if name != "repetition_prob"}
    return PacketLoss(
        condition=step.condition,
        concealment="repetition" if repeats else "silence",
        key=step.key,
        **values,
    )


def _competing_talker(step: StepDraw) -> AnyPrimitive:
    rng = stream(step.key)
    source = step.talkers.choose(rng, step.utterance)
    offset = int(rng.integers(len(step.talkers.samples(source))))
    offset = step.talkers.sounding_offset(source, offset, rng)
    return CompetingTalker(
        condition=step.condition, source=source, offset_samples=offset, **step.values
    )


def _room(step: StepDraw) -> AnyPrimitive:
    """Draw a room whose size suits its reverberation time, and a distance that suits the ratio."""
    rng = stream(step.key)
    rt60_s, drr_db = step.values["rt60_s"], step.values["drr_db"]
    volume = (20 + 160 * rt60_s) * 2 ** rng.uniform(-0.5, 0.5)
    height = 2.4 + 0.3 * (volume / 20) ** (1 / 3) * rng.random()
    aspect = rng.uniform(1.05, 1.6)
    width = math.sqrt(volume / height / aspect)
    room: Point = (round(width * aspect, 3), round(width, 3), round(height, 3))
    # The reverberant field of a room of this absorption is as strong as the direct sound at the
    # critical distance, 0.057 sqrt(V / RT60) for a source without directivity.
    distance = 0.057 * math.sqrt(volume / rt60_s) * 10 ** (-drr_db / 20)
    source, microphone = _positions(room, min(max(distance, 0.1), 0.55 * width), rng)
    return ShoeboxRoom(
        condition=step.condition,
        room_m=room,
        source_m=source,
        microphone_m=microphone,
        **step.values,
    )


def _positions(room: Point, distance: float, rng: np.random.Generator) -> tuple[Point, Point]:
    """Draw the positions of speaker and microphone at a distance and at the height of a mouth."""
    length, width, height = room
    for _ in range(_TRIES):
        x, y = (_WALL_M + (side - 2 * _WALL_M) * rng.random() for side in (length, width))
        angle = 2 * math.pi * rng.random()
        other_x, other_y = x + distance * math.cos(angle), y + distance * math.sin(angle)
        source_z, microphone_z = 1.2 + 0.4 * rng.random(), 1.2 + 0.4 * rng.random()
        inside_x = _WALL_M <= other_x <= length - _WALL_M
        if inside_x and _WALL_M <= other_y <= width - _WALL_M:
            source_z = microphone_z + (source_z - microphone_z) * min(1.0, distance / 2)
            return _rounded((x, y, source_z)), _rounded((other_x, other_y, microphone_z))
    half = distance / 2
    centre_x, centre_y, z = length / 2, width / 2, min(1.4, height / 2)
    return _rounded((centre_x - half, centre_y, z)), _rounded((centre_x + half, centre_y, z))


def _rounded(point: Point) -> Point:
    x, y, z = (round(value, 3) for value in point)
    return x, y, z


def _playback_speed(step: StepDraw) -> AnyPrimitive:
    change = 1 + step.values["change"]
    faster = stream(step.key).random() < 0.5
    return PlaybackSpeed(condition=step.condition, speed=change if faster else 1 / change)


def _wow_flutter(step: StepDraw) -> AnyPrimitive:
    wow_hz, flutter_hz, wow_phase, flutter_phase = stream(step.key).random(4).tolist()
    return WowFlutter(
        condition=step.condition,
        wow_hz=0.5 * 4**wow_hz,  # 0.5 to 2 Hz: half a turn of a record, and a few of a reel
        flutter_hz=8 * 3**flutter_hz,  # 8 to 24 Hz: capstan and pinch roller
        wow_phase=wow_phase,
        flutter_phase=flutter_phase,
        **step.values,
    )


def _fixed(primitive: type[Any]) -> Callable[[StepDraw], AnyPrimitive]:
    """Return the draw of a primitive without random choices."""

    def draw(step: StepDraw) -> AnyPrimitive:
        drawn_step: AnyPrimitive = primitive(condition=step.condition, **step.values)
        return drawn_step

    return draw


_DRAWS: dict[str, Callable[[StepDraw], AnyPrimitive]] = {
    "codec": _codec,
    "packet_loss": _packet_loss,
    "competing_talker": _competing_talker,
    "room": _room,
    "gain_control": _fixed(GainControl),
    "noise_gate": _fixed(NoiseGate),
    "band_limit": _fixed(BandLimit),
    "playback_speed": _playback_speed,
    "wow_flutter": _wow_flutter,
}
EXTRA_KINDS = frozenset(_DRAWS)
"""Kinds of steps that only the extra conditions have."""
