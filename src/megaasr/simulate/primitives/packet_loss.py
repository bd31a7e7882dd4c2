"""Lost packets in bursts, concealed by the receiver or silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources
from megaasr.simulate.streams import stream

_MS = SAMPLE_RATE // 1000
_MIN_PERIOD, _MAX_PERIOD = 5 * _MS, 15 * _MS  # 200 to 67 Hz; higher voices repeat two periods
_TEMPLATE = 20 * _MS
_UNFADED, _FADED = 10 * _MS, 60 * _MS
_MAX_PERIODS = 3
_MAX_OVERLAP = 10 * _MS


class PacketLoss(Primitive):
    """Loses packets by the model of Gilbert and Elliott, and conceals them at the same length.

    Two states alternate: in the good state every packet arrives, in the bad state each is lost with
    probability `loss_in_bad`. The bad state lasts `mean_bad` packets on average, and its share is
    such that `loss_share` of all packets are lost.

    With concealment by `repetition`, the last pitch periods before a loss are repeated, faded out
    linearly between 10 and 60 ms after its start, and cross-faded into the next packet; all in the
    spirit of ITU-T G.711 Appendix I, at 16 kHz. `silence` inserts zeros. A remainder shorter than a
    packet always arrives.

    Source: Gilbert 1960, "Capacity of a burst-noise channel"; Elliott 1963, "Estimates of error
    rates for codes on burst-noise channels", both in the Bell System Technical Journal.

    Attributes:
        packet_ms: length of a packet in milliseconds; 20 to 60 ms are usual.
        loss_share: expected share of packets that are lost, 0 to 0.9.
        mean_bad: mean length of the bad state in packets, at least 1.
        loss_in_bad: probability that a packet is lost in the bad state, above 0 to 1.
        concealment: what is played instead of a lost packet, `repetition` or `silence`.
        key: key of the random stream that the losses are drawn from.
    """

    primitive: Literal["packet_loss"] = "packet_loss"
    packet_ms: float = Field(ge=5, le=200)
    loss_share: float = Field(ge=0, le=0.9)
    mean_bad: float = Field(ge=1, le=1000)
    loss_in_bad: float = Field(1.0, gt=0, le=1)
    concealment: Literal["repetition", "silence"]
    key: str

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        packet = round(self.packet_ms * _MS)
        packets = len(x) // packet
        if packets < 2:
            return {"skipped": "shorter than two packets"}
        lost = self.losses(packets)
        gaps = 0
        for first, end in _runs(lost):
            gaps += 1
            if self.concealment == "silence":
                x[first * packet : end * packet] = 0.0
            else:
                _conceal(x, first * packet, end * packet)
        return {
            "losses": gaps,
            "lost_packets": int(lost.sum()),
            "packets": packets,
            "lost_share": round(float(lost.mean()), 4),
        }

    def losses(self, packets: int) -> NDArray[np.bool_]:
        """Return which packets are lost, bool array [packets]; the first never is."""
        share_bad = min(self.loss_share / self.loss_in_bad, 0.999)
        leave_bad = 1 / self.mean_bad
        enter_bad = min(1.0, leave_bad * share_bad / (1 - share_bad))
        changes, losses = stream(self.key).random((2, packets))
        bad = np.zeros(packets, np.bool_)
        state = bool(changes[0] < share_bad)
        for number, change in enumerate(changes.tolist()):
            if number:
                state = change >= leave_bad if state else change < enter_bad
            bad[number] = state
        lost: NDArray[np.bool_] = bad & (losses < self.loss_in_bad)
        lost[0] = False  # there is nothing to repeat yet
        return lost


def _runs(lost: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first packet of every run of lost packets, and the packet after it."""
    edges = np.flatnonzero(np.diff(lost.astype(np.int8), prepend=0, append=0))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _conceal(x: Samples, start: int, end: int) -> None:
    """Replace x[start:end] by repeated pitch periods, with overlaps into both neighbours."""
    if start < _MAX_PERIOD + _TEMPLATE:
        x[start:end] = 0.0
        return
    period = _pitch_period(x[start - _MAX_PERIOD - _TEMPLATE : start])
    quarter = period // 4
    # Longer losses repeat more periods, because a single one would buzz.
    periods = min(_MAX_PERIODS, 1 + (end - start - 1) // _UNFADED)
    periods = max(1, min(periods, (start - quarter) // period))
    length = periods * period
    rise = np.linspace(0, 1, quarter, dtype=np.float32)
    # The end of the cycle fades into what precedes its beginning, so that it repeats smoothly.
    before = x[start - length - quarter : start - length].copy()
    x[start - quarter : start] += rise * (before - x[start - quarter : start])
    cycle = x[start - length : start].copy()
    overlap = min(_MAX_OVERLAP, 4 * _MS * (1 + (end - start) // _UNFADED), len(x) - end)
    time = np.arange(end - start + overlap)
    fade = np.interp(time, (_UNFADED, _FADED), (1, 0)).astype(np.float32)
    repeated = np.resize(cycle, time.size) * fade
    x[start:end] = repeated[: end - start]
    if overlap:
        following = np.linspace(0, 1, overlap, dtype=np.float32)
        x[end : end + overlap] *= following
        x[end : end + overlap] += (1 - following) * repeated[end - start :]


def _pitch_period(history: Samples) -> int:
    """Return the lag, 5 to 15 ms in samples, at which the last 20 ms resemble what precedes them.

    Args:
        history: the last 35 ms, float32 array [time].
    """
    recent = history[-_TEMPLATE:].astype(np.float64)
    earlier = history[:-_MIN_PERIOD].astype(np.float64)
    products = np.correlate(earlier, recent)  # from the longest lag to the shortest
    sums = np.concatenate([[0.0], np.cumsum(np.square(earlier))])
    energies = sums[_TEMPLATE:] - sums[:-_TEMPLATE]
    similarity = products / np.sqrt(np.maximum(energies, 1e-12))
    return _MAX_PERIOD - int(np.argmax(similarity))
