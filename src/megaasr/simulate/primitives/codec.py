"""Coding for transmission or storage."""

from __future__ import annotations

from typing import Literal

from megaasr.audio.waveform import Samples
from megaasr.simulate.codec_ladder import CODECS, find_codec
from megaasr.simulate.codecs import encode_and_decode, ffmpeg_version
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class SpeechCodec(Primitive):
    """y = decoded(encoded(x)), without the delay of the codec and at the length of x.

    Codecs for 8 kHz remove everything above 4 kHz. What exceeds ±1 is clipped before encoding.

    Attributes:
        codec: name of the codec and its bit rate, see `codec_ladder.CODECS`.
    """

    primitive: Literal["codec"] = "codec"
    codec: str

    @property
    def uses_ffmpeg(self) -> bool:
        """Whether ffmpeg codes the clip; False for an unknown codec."""
        codec = CODECS.get(self.codec)
        return codec is not None and bool(codec.encoder)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`; the version of ffmpeg is measured, because it decides the bytes.

        Silence stays: codec2 decodes it to a noise, which the next loudness would raise to the
        level of speech.

        Raises:
            UsageError: no codec has this name.
            CodecError: ffmpeg or its encoder is missing, or it failed.
        """
        codec = find_codec(self.codec)
        if not x.any():
            return {"skipped": "silence: there is nothing to code"}
        x[:] = encode_and_decode(codec, x)
        return {"ffmpeg": ffmpeg_version()} if self.uses_ffmpeg else {}
