"""The codecs that can be drawn: a catalogue with their encoders, and a ladder from easy to hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from megaasr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from megaasr.simulate.g711 import Law


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec at a bit rate.

    Attributes:
        name: public name, with the bit rate in kbit/s or, for codec2, in bit/s.
        sample_rate: sample rate that the encoder is given, in Hz.
        delay_ms: time by which encoder and decoder delay the sound, in ms.
        law: companding law of G.711; None for the codecs of ffmpeg.
        encoder: name of ffmpeg's encoder; empty for G.711.
        container: ffmpeg's format for the encoded clip.
        encoder_options: options of the encoder.
        decoder_options: options that tell the decoder what the container does not.
    """

    name: str
    sample_rate: int
    delay_ms: float = 0.0
    law: Law | None = None
    encoder: str = ""
    container: str = ""
    encoder_options: tuple[str, ...] = ()
    decoder_options: tuple[str, ...] = ()


def _opus(kbit_s: int) -> Codec:
    options = ("-b:a", f"{kbit_s}k", "-application", "voip")
    return Codec(f"opus-{kbit_s}", 16_000, 0.0, None, "libopus", "ogg", options)


def _mp3(kbit_s: int, sample_rate: int) -> Codec:
    # Without the header that states the delay, which cannot be written to a pipe: decoders then
    # leave the whole delay in, 1105 samples (LAME's 576 and the decoder's 529).
    options = ("-b:a", f"{kbit_s}k", "-write_xing", "0", "-id3v2_version", "0")
    delay_ms = 1000 * 1105 / sample_rate
    return Codec(f"mp3-{kbit_s}", sample_rate, delay_ms, None, "libmp3lame", "mp3", options)


def _g726(bits: int) -> Codec:
    size = ("-code_size", str(bits))
    decoder = (*size, "-sample_rate", "8000")
    return Codec(f"g726-{8 * bits}", 8000, 0.0, None, "g726", "g726", size, decoder)


def _speex(kbit_s: int, bit_s: int) -> Codec:
    options = ("-b:a", str(bit_s))
    return Codec(f"speex-{kbit_s}", 8000, 10.5, None, "libspeex", "ogg", options)


def _codec2(mode: str, delay_ms: float) -> Codec:
    options = ("-mode", mode)
    name = f"codec2-{mode.lower()}"
    return Codec(name, 8000, delay_ms, None, "libcodec2", "codec2", options)


# The delays of Speex and codec2 are measured on speech, as the lag at which the band levels of
# input and output agree best (Debian's ffmpeg 5.1, libspeex 1.2.1, libcodec2 1.0.5).
CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("g711-mu-law", 8000, law="mu"),
        Codec("g711-a-law", 8000, law="a"),
        _opus(24),
        _opus(16),
        _opus(12),
        _opus(6),
        _mp3(32, 16_000),
        _mp3(16, 16_000),
        _mp3(8, 8000),
        Codec("gsm-fr", 8000, 0.0, None, "libgsm", "gsm"),
        _g726(4),
        _g726(3),
        _g726(2),
        _speex(11, 11_000),
        _speex(6, 5950),
        _speex(4, 3950),
        _codec2("3200", 20.0),
        _codec2("2400", 20.0),
        _codec2("1400", 19.5),
        _codec2("1300", 19.5),
        _codec2("1200", 20.0),
        _codec2("700C", 30.0),
    )
}
"""The codecs by name."""

LADDER: tuple[tuple[str, ...], ...] = (
    ("opus-24", "mp3-32"),
    ("opus-16", "g711-mu-law", "g711-a-law", "g726-32"),
    ("opus-12", "gsm-fr", "g726-24"),
    ("opus-6", "speex-11", "mp3-16"),
    ("speex-6", "g726-16", "mp3-8"),
    ("speex-4", "codec2-3200", "codec2-2400"),
    ("codec2-1400", "codec2-1300", "codec2-1200"),
    ("codec2-700c",),
)
"""Rungs of codecs that are similarly hard, from easy to hard."""


def choose_codec(rung: int, rng: np.random.Generator, allowed: Sequence[str] | None = None) -> str:
    """Draw the name of a codec from a rung of the ladder; all of the rung are equally likely.

    The result does not depend on what is installed, so that a seed means the same everywhere.

    Args:
        rung: number of the rung, 0 (easy) to 7 (hard).
        rng: random stream.
        allowed: names of the codecs to draw from, such as `codecs.available_codecs()`; a rung
            without any of them is replaced by the nearest with one, the easier of two. None allows
            all.

    Raises:
        UsageError: an allowed codec is unknown, or none is allowed.
    """
    if allowed is None:
        names = LADDER[rung]
    else:
        for name in allowed:
            find_codec(name)
        rungs = [[name for name in names if name in allowed] for names in LADDER]
        near = sorted(range(len(rungs)), key=lambda other: (abs(other - rung), other))
        names = tuple(next((rungs[other] for other in near if rungs[other]), ()))
        if not names:
            raise UsageError("no codec is allowed; name one at least, or None for all of them")
    return names[int(rng.integers(len(names)))]


def find_codec(name: str) -> Codec:
    """Return a codec by name.

    Raises:
        UsageError: no codec has this name.
    """
    if name not in CODECS:
        raise UsageError(f"no codec is called {name}; there are {', '.join(CODECS)}")
    return CODECS[name]
