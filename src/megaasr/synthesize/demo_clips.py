"""The clips of `mega-asr demo`: held-out sentences, clean and with simple noise.

    python -m megaasr.synthesize.demo_clips CORPUS OUTPUT     (or: make demo-clips)

Nothing is picked by ear or by result: the first test sentences of each kind of voice whose length
is between 2 and 5 seconds are taken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from megaasr.audio import files
from megaasr.audio.measure import active_speech_level_dbfs, rms_dbfs
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.synthesize import nonspeech
from megaasr.synthesize.plan import random_stream

SEED = 1
SNR_DB = 10.0
_PEAK = 0.5


def select(manifest: Path) -> Iterator[Utterance]:
    """Yield seven test clips: recorded and formant voices, held-out voices, a hand-written one."""
    wanted: list[tuple[str, bool, str, int]] = [
        ("generator", False, "flite", 2),
        ("generator", False, "espeak", 2),
        ("generator", True, "flite", 1),
        ("generator", True, "espeak", 1),
        ("handwritten", False, "flite", 1),
    ]
    test = [u for u in read_manifest(manifest) if u.text and "parts" not in u.extra]
    for source, held_out, engine, count in wanted:
        fitting = [
            u
            for u in test
            if u.extra["source"] == source
            and u.extra["held_out_voice"] is held_out
            and str(u.extra["speaker"]).startswith(engine)
            and 2 <= float(u.extra["duration_s"]) <= 5
        ]
        yield from fitting[:count]


def build(corpus: Path, output: Path) -> list[Utterance]:
    """Write the clips as FLAC with their manifest `clips.jsonl`; returns the manifest."""
    output.mkdir(parents=True, exist_ok=True)
    kinds: list[Callable[[np.random.Generator, int], np.ndarray]]
    kinds = [nonspeech.noise, nonspeech.engine, nonspeech.clicks, nonspeech.music]
    made: list[Utterance] = []
    for number, utterance in enumerate(select(corpus / "test.jsonl")):
        speech = files.read(corpus / utterance.audio).samples
        speech = speech * np.float32(_PEAK / np.abs(speech).max())
        made.append(_write(output, number, "clean", speech, utterance))
        rng = random_stream(SEED, utterance.id)
        kind = kinds[number % len(kinds)]
        noise = kind(rng, speech.size)
        level = active_speech_level_dbfs(speech, SAMPLE_RATE) - SNR_DB - rms_dbfs(noise)
        noisy = np.clip(speech + noise * 10 ** (level / 20), -1, 1).astype(np.float32)
        made.append(_write(output, number, f"{kind.__name__} {SNR_DB:.0f} dB", noisy, utterance))
    write_manifest(output / "clips.jsonl", made)
    return made


def _write(
    output: Path, number: int, condition: str, samples: np.ndarray, utterance: Utterance
) -> Utterance:
    clip_id = f"{number + 1}-{condition.split(maxsplit=1)[0]}"
    files.write(output / f"{clip_id}.flac", Waveform(samples.astype(np.float32), SAMPLE_RATE))
    kept = ("speaker", "source", "held_out_voice")
    extra = {"condition": condition, **{name: utterance.extra[name] for name in kept}}
    return Utterance(clip_id, f"{clip_id}.flac", utterance.text, "en", extra)


if __name__ == "__main__":
    for clip in build(Path(sys.argv[1]), Path(sys.argv[2])):
        print(clip.id, clip.text)
