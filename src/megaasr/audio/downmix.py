"""Mix the channels of a recording to one, so that speech is kept.

Stereo is averaged. Surround sound is mixed by the channels' positions, in the proportions of the
mix to 1/0 of ITU-R BS.775: dialogue stands in the centre and has the largest weight; the channel
for low-frequency effects has none. Channels that cancel each other (one is wired with inverted
polarity) are detected while the recording is read, and are not added up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.selection import ChannelChoice
from megaasr.errors import AudioError

_WEIGHTS = {
    **dict.fromkeys(("FC",), 0.7071),
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR"), 0.5),
    **dict.fromkeys(("BL", "BR", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR"), 0.3536),
    **dict.fromkeys(("TBL", "TBC", "TBR"), 0.3536),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
# Order of the bits of dwChannelMask (WAVEFORMATEXTENSIBLE), which ffmpeg's order follows.
_MASK_NAMES = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
_LAYOUTS = {
    "mono": ("FC",),
    "stereo": ("FL", "FR"),
    "2.1": ("FL", "FR", "LFE"),
    "3.0": ("FL", "FR", "FC"),
    "3.0(back)": ("FL", "FR", "BC"),
    "3.1": ("FL", "FR", "FC", "LFE"),
    "4.0": ("FL", "FR", "FC", "BC"),
    "4.1": ("FL", "FR", "FC", "LFE", "BC"),
    "quad": ("FL", "FR", "BL", "BR"),
    "quad(side)": ("FL", "FR", "SL", "SR"),
    "5.0": ("FL", "FR", "FC", "BL", "BR"),
    "5.0(side)": ("FL", "FR", "FC", "SL", "SR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "5.1(side)": ("FL", "FR", "FC", "LFE", "SL", "SR"),
    "6.0": ("FL", "FR", "FC", "BC", "SL", "SR"),
    "6.1": ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    "6.1(back)": ("FL", "FR", "FC", "LFE", "BL", "BR", "BC"),
    "7.0": ("FL", "FR", "FC", "BL", "BR", "SL", "SR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
    "7.1(wide)": ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC"),
    "7.1(wide-side)": ("FL", "FR", "FC", "LFE", "FLC", "FRC", "SL", "SR"),
}
_USUAL_LAYOUTS = {6: "5.1", 8: "7.1"}
_FLAC_LAYOUTS = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # RFC 9639, 9.1.3
_VORBIS_LAYOUTS = {  # also of Opus; Vorbis I specification, section 4.3.9
    3: ("FL", "FC", "FR"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FC", "FR", "BL", "BR"),
    6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
    7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
    8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
}
# Power of the mix against that of a channel: -10 dB. Of two unrelated channels it is -3 dB, of six
# -8 dB.
_CANCEL_RATIO = 0.1
_STRIDE = 13  # every thirteenth frame is enough to compare powers
_MIN_FRAMES = 1024  # a few samples may cancel by chance


def positions_of_mask(mask: int, channels: int) -> tuple[str, ...]:
    """Return the positions of the channels by a channel mask; () for a mask that names none."""
    names = tuple(name for bit, name in enumerate(_MASK_NAMES) if mask >> bit & 1)
    return names if len(names) == channels else ()


def positions_of_layout(name: str, channels: int) -> tuple[str, ...]:
    """Return the positions of the channels by ffmpeg's name of a layout, or the usual ones."""
    return _LAYOUTS.get(name) or _LAYOUTS.get(_USUAL_LAYOUTS.get(channels, ""), ())


def positions_of_format(file_format: str, channels: int) -> tuple[str, ...]:
    """Return the usual positions of the channels in a format of libsndfile."""
    if file_format == "OGG":
        return _VORBIS_LAYOUTS.get(channels, ())
    if file_format == "FLAC":
        return positions_of_layout(_FLAC_LAYOUTS.get(channels, ""), channels)
    return positions_of_layout("", channels)


class Downmix:
    """Mixes the chunks of one recording to mono.

    Args:
        channels: number of channels, at least 1.
        positions: positions of the channels, such as `FL`; () if they are unknown, which gives the
            mean.
        choice: what to use of several channels.
        label: name of the recording in errors.

    Attributes:
        cancelled: whether channels cancelled each other somewhere, and the mix was not used there.

    Raises:
        AudioError: the recording has no such channel.
    """

    def __init__(
        self, channels: int, positions: Sequence[str], choice: ChannelChoice, label: str
    ) -> None:
        self.cancelled = False
        index = {"left": 0, "right": 1}.get(str(choice), -1)
        if isinstance(choice, int):
            index = choice - 1
        if choice != "mix" and not 0 <= index < channels:
            count = "1 channel" if channels == 1 else f"{channels} channels"
            raise AudioError(label, f"has {count}, there is no channel {choice!r}")
        self._single = 0 if channels == 1 else index
        self._mixes = [_mix_weights(channels, positions)] if self._single < 0 else []
        if self._mixes and channels == 2:
            self._mixes.append(np.array([0.5, -0.5]))
        elif self._mixes:
            self._mixes += list(np.eye(channels))
        self._current = 0

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mix frames of shape [frames, channels] to [frames]."""
        if self._single >= 0:
            return frames[:, self._single].astype(np.float64)
        # In float64, so that the mean of equal channels is exactly that channel, and no sum of
        # finite samples overflows.
        mixed = _weighted(frames, self._mixes[self._current])
        power = _power(mixed)
        if len(frames) >= _MIN_FRAMES and power < _CANCEL_RATIO * _total_power(frames):
            others = [_weighted(frames, weights) for weights in self._mixes]
            powers = [_power(other) for other in others]
            best = int(np.argmax(powers))
            if power < _CANCEL_RATIO * powers[best]:
                self._current, mixed = best, others[best]
        self.cancelled |= self._current != 0
        return mixed


def _mix_weights(channels: int, positions: Sequence[str]) -> NDArray[np.float64]:
    if channels > 2 and len(positions) == channels:
        return np.array([_WEIGHTS.get(position, 0.3536) for position in positions])
    return np.full(channels, 1 / channels)


def _weighted(frames: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.all(weights == weights[0]):
        mixed = frames[:, 0].astype(np.float64)
        for channel in range(1, len(weights)):
            mixed += frames[:, channel]
        mixed /= len(weights)
        return mixed
    mixed = np.zeros(len(frames))
    for channel in map(int, np.flatnonzero(weights)):
        mixed += frames[:, channel] * weights[channel]
    return mixed


def _power(samples: NDArray[np.float64]) -> float:
    probe = samples[::_STRIDE]
    return float(np.mean(probe * probe))


def _total_power(frames: NDArray[np.float32]) -> float:
    """Return the mean power of all channels together, which bounds that of the loudest."""
    probe = frames[::_STRIDE].astype(np.float64)
    return float(np.mean((probe * probe).sum(axis=1)))
