"""The voices of `tiny`'s corpus, some of which are held out for the test split.

The voices belong to two programs of the Debian archive: `flite` (recorded speakers: the clustergen
voices slt, rms and awb, and the diphone voice kal16) and `espeak-ng` (formant synthesis with
English accents and speaker variants).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megaasr.errors import SynthesisError, UsageError

FLITE_VOICES = ("slt", "rms", "kal16")
HELD_OUT_FLITE_VOICES = ("awb",)
ESPEAK_ACCENTS = (
    "en-us",
    "en-us",
    "en-us-nyc",
    "en-gb",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)
HELD_OUT_ESPEAK_ACCENT = "en-gb-scotland"
ESPEAK_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f4", "max", "klatt", "klatt4"),
    *("Alex", "Andrea", "Annie", "Gene", "Lee", "Michael", "adam", "anika", "aunty", "belinda"),
    *("benjamin", "caleb", "david", "ed", "edward", "grandma", "john", "linda", "paul", "quincy"),
    *("rob", "shelby", "steph", "travis", "victor", "zac"),
)
HELD_OUT_ESPEAK_VARIANTS = ("f5", "m7")
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice and its manner of speaking.

    The factors of flite's kal16 refer to a faster and higher voice than its own: at factors of 1 it
    speaks 1.1 times as fast, and at 105 instead of 95 Hz.

    Attributes:
        engine: `flite`, `espeak-ng`, `kokoro` or `hibari`.
        name: name of the voice: flite's voice, espeak-ng's `accent+variant`, Kokoro's voice or
            mixture (`af_sky*0.60+bm_fable*0.40`), or hibari's voice.
        stretch: factor on the duration of the speech; 2 is twice as long.
        pitch: factor on the fundamental frequency. It has no effect on flite's rms, and is always 1
            for Kokoro.
        scale: factor on the whole spectrum, formants and pitch alike, for the length of the vocal
            tract. The speech is played at `scale` times the rate, with the tempo compensated.
        peak_db: level of the largest sample in dBFS.
    """

    engine: str
    name: str
    stretch: float
    pitch: float
    scale: float
    peak_db: float

    @property
    def speaker(self) -> str:
        """Engine and voice, the value of the column `speaker` in manifests."""
        return f"{self.engine}:{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Return the manner of speaking, the value of the column `voice` in manifests."""
        return {
            "stretch": self.stretch,
            "pitch": self.pitch,
            "scale": self.scale,
            "peak_db": self.peak_db,
        }

    @classmethod
    def from_dict(cls, speaker: str, manner: dict[str, Any]) -> Voice:
        """Return the voice described by the columns `speaker` and `voice` of a manifest.

        Args:
            speaker: value of the column `speaker`, `engine:name`.
            manner: value of the column `voice`.

        Raises:
            UsageError: the speaker is not of the form `engine:name`, or a field of the manner is
                missing or unknown.
        """
        engine, colon, name = speaker.partition(":")
        fields = {"stretch", "pitch", "scale", "peak_db"}
        if not colon or set(manner) != fields:
            raise UsageError(
                f"not a voice: speaker {speaker!r} must be engine:name, and voice must have the "
                f"fields {', '.join(sorted(fields))} (got {', '.join(sorted(manner))})"
            )
        return cls(
            engine,
            name,
            stretch=float(manner["stretch"]),
            pitch=float(manner["pitch"]),
            scale=float(manner["scale"]),
            peak_db=float(manner["peak_db"]),
        )


def draw_voice(rng: np.random.Generator, *, held_out: bool, flite_share: float = 0.5) -> Voice:
    """Draw a voice of flite or espeak-ng, with its manner of speaking.

    Args:
        rng: random generator of every choice.
        held_out: True to draw from the held-out voices, False to draw from the training voices.
        flite_share: probability of a flite voice.
    """
    flite = rng.random() < flite_share
    if flite:
        names = HELD_OUT_FLITE_VOICES if held_out else FLITE_VOICES
        name = names[int(rng.integers(len(names)))]
    elif held_out:
        name = _held_out_espeak(rng)
    else:
        accent = ESPEAK_ACCENTS[int(rng.integers(len(ESPEAK_ACCENTS)))]
        name = f"{accent}+{ESPEAK_VARIANTS[int(rng.integers(len(ESPEAK_VARIANTS)))]}"
    return Voice(
        engine="flite" if flite else "espeak-ng",
        name=name,
        stretch=round(float(rng.uniform(0.85, 1.25)), 3),
        pitch=round(float(np.exp(rng.normal(0.0, 0.12))), 3),
        # Held-out voices keep their vocal tract, since it distinguishes them from training voices.
        scale=1.0 if held_out else round(float(np.exp(rng.uniform(-0.14, 0.14))), 3),
        peak_db=round(float(rng.uniform(-24.0, -1.0)), 2),
    )


def _held_out_espeak(rng: np.random.Generator) -> str:
    """Draw a held-out accent with a training variant, or the reverse."""
    kind = int(rng.integers(3))
    if kind == 0:
        variant = ESPEAK_VARIANTS[int(rng.integers(len(ESPEAK_VARIANTS)))]
        return f"{HELD_OUT_ESPEAK_ACCENT}+{variant}"
    accent = ESPEAK_ACCENTS[int(rng.integers(len(ESPEAK_ACCENTS)))]
    return f"{accent}+{HELD_OUT_ESPEAK_VARIANTS[kind - 1]}"


def speak(text: str, voice: Voice, scratch: Path) -> tuple[np.ndarray, int]:
    """Synthesise a sentence with flite or espeak-ng.

    Args:
        text: plain words and punctuation.
        voice: the voice and its manner of speaking.
        scratch: path of a temporary WAV file, which no other call may use.

    Returns:
        float32 array [time] in -1..1, and the sample rate in Hz at which it must be played. The
        rate includes `voice.scale`, so the caller resamples from it to 16 kHz.

    Raises:
        SynthesisError: the program is missing or failed; the message includes its own.
    """
    import soundfile

    command = _command(text, voice, scratch)
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise SynthesisError(
            f"{voice.engine} is not installed; on Debian or Ubuntu: apt-get install flite espeak-ng"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(
            f"{voice.speaker} took more than {_TIMEOUT_S:g} s for {text!r}"
        ) from error
    if process.returncode != 0 or not scratch.is_file():
        raise SynthesisError(f"{voice.speaker} failed on {text!r}: {process.stderr.strip()}")
    samples, rate = soundfile.read(scratch, dtype="float32")
    scratch.unlink()
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        raise SynthesisError(f"{voice.speaker} gave silence for {text!r}")
    return samples * np.float32(10 ** (voice.peak_db / 20) / peak), round(rate * voice.scale)


def _command(text: str, voice: Voice, scratch: Path) -> list[str]:
    # Playing at `scale` times the rate shortens the speech, so it is stretched to keep the tempo.
    duration_stretch = voice.stretch * voice.scale
    if voice.engine == "flite":
        command = [
            "flite",
            "-voice",
            voice.name,
            "--setf",
            f"duration_stretch={duration_stretch:.4f}",
        ]
        if voice.name == "kal16":
            command += ["--setf", f"int_f0_target_mean={105 * voice.pitch:.1f}"]
        else:
            command += ["--setf", f"f0_shift={voice.pitch:.3f}"]
        return [*command, "-t", text, str(scratch)]
    words_per_minute = min(450, max(80, round(175 / duration_stretch)))
    pitch = min(99, max(0, round(50 + 50 * float(np.log2(voice.pitch)) * 1.5)))
    options = ["-v", voice.name, "-s", str(words_per_minute), "-p", str(pitch), "-w", str(scratch)]
    return ["espeak-ng", *options, "--", text]
