"""What `mega-asr inspect` names, on clean voices and under the seven conditions.

`python -m benchmarks.diagnosis MANIFEST...`, with manifests of clean speech that name a speaker
(`mega-asr synthesize speech`, `python -m megaasr.corpora.human`). Every clip is measured as it is
and under each condition. Speakers are divided into two halves by a hash, so that a threshold can
be changed by looking at half A and judged by half B. It measures no time and is therefore not among
the benchmarks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from megaasr.audio.diagnosis import diagnose
from megaasr.audio.files import read
from megaasr.audio.quality import measure_quality, scaled_mono
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.simulator import Simulator
from megaasr.transcribe.chunking import SPEECH_THRESHOLD
from megaasr.transcribe.speech_activity import detect_speech

VISIBLE = {
    "clean": frozenset[str](),
    "noise": frozenset({"noise", "hum"}),
    "far_field": frozenset({"reverberation", "muffled"}),
    "obstructed": frozenset({"reverberation", "muffled", "narrow_band"}),
    "echo": frozenset({"reverberation"}),
    "recording": frozenset({"noise", "thin"}),
    "distortion": frozenset({"clipping"}),
    "dropout": frozenset({"dropouts"}),
}
"""What a measure can see of each condition: one of these names is the right diagnosis."""
_NARROW_BAND_SOURCES = ("codec2-examples",)  # recorded at 8 kHz: narrow_band is right
_MIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A clean clip.

    Attributes:
        path: path of the audio.
        id: id in its manifest.
        kind: synthesizer, or `human`.
        half: `A` or `B`, by the speaker, or by the clip where a kind has a single speaker.
        narrow_band: whether it was recorded at 8 kHz.
    """

    path: Path
    id: str
    kind: str
    half: str
    narrow_band: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was named for one clip under one condition."""

    clip: Clip
    condition: str
    names: frozenset[str]

    @property
    def is_right(self) -> bool:
        """Whether the condition was named, or nothing for a clean clip."""
        if self.condition != "clean":
            return bool(self.names & VISIBLE[self.condition])
        return not self.names - ({"narrow_band"} if self.clip.narrow_band else set())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=40, help="clips of each kind of voice")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--severity", type=float, nargs=2, default=(0.5, 0.9))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    clips = choose(list(_clips(options.manifests)), options.clips, options.seed)
    with ProcessPoolExecutor(options.workers) as pool:
        low, high = options.severity
        count = len(clips)
        per_clip = pool.map(
            diagnose_clip, clips, [options.seed] * count, [low] * count, [high] * count
        )
        diagnoses = [diagnosis for results in per_clip for diagnosis in results]
    print(f"read: {', '.join(map(str, options.manifests))}")
    print(f"seed {options.seed}, severities {low:g} to {high:g}")
    print(render(diagnoses))


def _clips(manifests: list[Path]) -> Iterator[Clip]:
    rows = []
    for manifest in manifests:
        for line in manifest.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            path = manifest.parent / row.get("audio", "")
            if row.get("speaker") and row["duration_s"] >= _MIN_S and path.is_file():
                rows.append((path, row))
    kinds = {row["speaker"]: _kind(row["speaker"]) for _, row in rows}
    speakers = Counter(kinds.values())
    for path, row in rows:
        kind = kinds[row["speaker"]]
        key = row["speaker"] if speakers[kind] > 1 else row["id"]
        half = "AB"[hashlib.sha256(key.encode()).digest()[0] % 2]
        narrow = str(row.get("source", "")).startswith(_NARROW_BAND_SOURCES)
        yield Clip(path, row["id"], kind, half, narrow)


def _kind(speaker: str) -> str:
    kind, colon, _ = speaker.partition(":")
    return kind if colon else "human"


def choose(clips: list[Clip], count: int, seed: int) -> list[Clip]:
    """Return as many clips of each kind as wanted, drawn at random from each half alike."""
    chosen = []
    for kind in sorted({clip.kind for clip in clips}):
        for half in "AB":
            members = sorted(
                (clip for clip in clips if (clip.kind, clip.half) == (kind, half)),
                key=lambda clip: (clip.id, str(clip.path)),
            )
            rng = random.Random(f"{seed} {kind} {half}")
            chosen += rng.sample(members, min(len(members), count // 2))
    return chosen


def diagnose_clip(clip: Clip, seed: int, low: float, high: float) -> list[Diagnosis]:
    """Return what is named for a clip as it is, and under each condition.

    Args:
        clip: the clean clip.
        seed: seed of the degradations.
        low, high: range of severities, of which one is drawn for each condition.
    """
    clean = read(clip.path)
    simulator = Simulator()
    results = []
    for condition in VISIBLE:
        samples = clean.samples
        if condition != "clean":
            severity = random.Random(f"{seed} {clip.id} {condition}").uniform(low, high)
            draw = simulator.draw(
                seed=seed, scenario=condition, severity=severity, utterance=clip.id
            )
            samples = simulator.apply(clean, draw).waveform.samples
        results.append(Diagnosis(clip, condition, _names(samples)))
    return results


def _names(samples: Samples) -> frozenset[str]:
    mono = scaled_mono(samples, SAMPLE_RATE)
    is_speech = detect_speech(mono) >= SPEECH_THRESHOLD
    quality = measure_quality(samples, SAMPLE_RATE, mono, is_speech)
    return frozenset(problem.name for problem in diagnose(quality))


def render(diagnoses: list[Diagnosis]) -> str:
    """Return the confusion table of each half, and the accuracy by kind of voice, as Markdown."""
    names = sorted({name for diagnosis in diagnoses for name in diagnosis.names})
    kinds = sorted({diagnosis.clip.kind for diagnosis in diagnoses})
    lines = []
    for half in "AB":
        in_half = [d for d in diagnoses if d.clip.half == half]
        lines += ["", f"Half {half}: clips in which each problem was named, and right diagnoses"]
        lines += ["", f"| condition | clips | {' | '.join(names)} | nothing | right |"]
        lines.append("|---|" + "---:|" * (len(names) + 3))
        for condition in VISIBLE:
            rows = [d for d in in_half if d.condition == condition]
            counts = [sum(name in d.names for d in rows) for name in names]
            cells = [condition, len(rows), *counts, sum(not d.names for d in rows), _share(rows)]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        lines += ["", f"| half {half}: right | {' | '.join(kinds)} | all |"]
        lines.append("|---|" + "---:|" * (len(kinds) + 1))
        for condition in VISIBLE:
            rows = [d for d in in_half if d.condition == condition]
            shares = [_share([d for d in rows if d.clip.kind == kind]) for kind in kinds]
            lines.append(f"| {condition} | {' | '.join([*shares, _share(rows)])} |")
    return "\n".join(lines)


def _share(rows: list[Diagnosis]) -> str:
    return f"{100 * sum(d.is_right for d in rows) / len(rows):.1f} %" if rows else "–"


if __name__ == "__main__":
    main()
