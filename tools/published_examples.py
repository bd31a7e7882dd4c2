"""Compare the four published example clips with ours of the same kind, by measures and by a judge.

python tools/published_examples.py EXAMPLES CLEAN [--system faster-whisper-greedy:DIR] [--literal]
    EXAMPLES: folder of the published examples (examples.jsonl)
    CLEAN:    manifest of clean speech, such as corpus/human/test.jsonl
    DIR:      the judge, corpus/judge/whisper-base (make judge)

Prints a table in Markdown: each published clip, and below it ten clips of ours of the same kind at
severities from 0.1 to 0.9, with median and range, or the mean error rate. The measures know
nothing of how a clip was made, so that they mean the same for both.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import read
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.records import read_manifest
from megaasr.score.systems import InferenceOptions, load_system, parse_systems
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives.loudness import lufs_or_none
from megaasr.simulate.scenarios import find_scenario
from megaasr.simulate.simulator import Simulator
from megaasr.text.error_rate import count_errors

SEVERITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9)
KINDS = {"noise": "noise", "echo": "echo", "dropout": "dropout", "mixed": "dropout+noise"}

Judge = Callable[[Samples, str], float]
Row = dict[str, float]

_FRAME = SAMPLE_RATE // 50  # 20 ms
_HOP = SAMPLE_RATE // 100
_WINDOW = 512
_ACTIVE = 10 ** (-30 / 10)
"""Power of a frame of speech relative to the 95th-percentile frame."""
_LOUD = 10 ** (-10 / 10)
"""The same for the frames between which speech is certain."""
_SILENT = 10 ** (-80 / 20)


def measure(x: Samples) -> Row:
    """Return the measures of a clip at 16 kHz mono of at least a second.

    `LUFS`: integrated loudness. `roll-off`: frequency in Hz below which 95 % of the power of the
    active frames lies. `floor`: mean power of the active frames above the quietest tenth of the
    frames from the first to the last loud one (silent frames aside), in dB. `falls`: how many times
    a second the level falls by at least 12 dB without a rise, which tails and noise prevent.
    `gaps`: silence that begins or ends within speech, in per cent of the clip. `longest`: its
    longest run in ms. `repeated`: per cent of the active frames that repeat the 20 ms before them.
    """
    power = _frame_powers(x, _FRAME)
    is_active = power >= _ACTIVE * np.percentile(power, 95)
    first, last = np.flatnonzero(power >= _LOUD * np.percentile(power, 95))[[0, -1]]
    spoken = power[first : last + 1]
    quietest = np.percentile(spoken[spoken > _SILENT**2], 10)
    gaps = _gaps(x, is_active)
    return {
        "LUFS": lufs_or_none(x) or float("nan"),
        "roll-off": _roll_off_hz(x, is_active),
        "floor": float(10 * np.log10(power[is_active].mean() / quietest)),
        "falls": _falls_per_s(x),
        "gaps": 100 * sum(gaps) / len(x),
        "longest": 1000 * max(gaps, default=0) / SAMPLE_RATE,
        "repeated": _repeated_percent(x),
    }


def _frame_powers(x: Samples, hop: int) -> NDArray[np.float64]:
    starts = np.arange(0, len(x) - _FRAME + 1, hop)
    frames = x[starts[:, np.newaxis] + np.arange(_FRAME)]
    return np.square(frames, dtype=np.float64).mean(axis=1)


def _roll_off_hz(x: Samples, is_active: NDArray[np.bool_]) -> float:
    starts = np.flatnonzero(is_active) * _FRAME
    starts = starts[starts + _WINDOW <= len(x)]
    frames = x[starts[:, np.newaxis] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    spectrum = np.cumsum(np.square(np.abs(np.fft.rfft(frames))).mean(axis=0))
    return float(np.searchsorted(spectrum, 0.95 * spectrum[-1]) * SAMPLE_RATE / _WINDOW)


def _gaps(x: Samples, is_active: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of silent runs of at least 10 ms beside an active frame, in samples."""
    is_silent = np.concatenate([[False], np.abs(x) < _SILENT, [False]])
    starts, ends = np.flatnonzero(np.diff(is_silent.astype(np.int8))).reshape(-1, 2).T
    last = len(is_active) - 1
    return [
        int(end - start)
        for start, end in zip(starts, ends, strict=True)
        if end - start >= _HOP
        and (
            is_active[min(last, max(0, start - _FRAME // 2) // _FRAME)]
            or is_active[min(last, (end + _FRAME // 2) // _FRAME)]
        )
    ]


def _repeated_percent(x: Samples) -> float:
    """Return the share of the active frames that equal the 20 ms before them but for rounding."""
    power = _frame_powers(x, _HOP // 2)
    loud = np.flatnonzero(power >= _ACTIVE * np.percentile(power, 95)) * (_HOP // 2)
    loud = loud[loud >= _FRAME]
    now = x[loud[:, np.newaxis] + np.arange(_FRAME)].astype(np.float64)
    before = x[loud[:, np.newaxis] - _FRAME + np.arange(_FRAME)].astype(np.float64)
    scale = np.sqrt((now**2).sum(axis=1) * (before**2).sum(axis=1))
    likeness = (now * before).sum(axis=1) / np.maximum(scale, 1e-12)
    return float(100 * np.mean(likeness > 0.999))


def _falls_per_s(x: Samples) -> float:
    level = 10 * np.log10(_frame_powers(x, _HOP) + _SILENT**2)
    level = np.convolve(level, np.ones(3) / 3, "valid")
    falls = np.concatenate([[False], np.diff(level) < 0, [False]]).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(falls)).reshape(-1, 2).T
    return float(np.sum(level[starts] - level[ends] >= 12) * SAMPLE_RATE / len(x))


def _judge(system: str) -> Judge:
    (spec,) = parse_systems([system])
    loaded = load_system(spec, InferenceOptions(language="en"))

    def rate(x: Samples, text: str) -> float:
        (prediction,) = loaded.predict([Waveform(x, SAMPLE_RATE)])
        counts = count_errors(text, prediction.text, language="en", normalizer="bench")
        return 100 * min(1.0, counts.rate)  # a loop on one clip would outweigh all others

    return rate


def _line(name: str, rows: Sequence[Row]) -> str:
    cells = [name]
    for key in rows[0]:
        values = sorted(row[key] for row in rows)
        digits = 1 if key == "falls" else 0
        middle = statistics.mean(values) if key == "WER" else statistics.median(values)
        shown, low, high = (f"{value:.{digits}f}" for value in (middle, values[0], values[-1]))
        cells.append(shown if low == high else f"{shown} ({low} to {high})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--system")
    parser.add_argument("--literal", action="store_true", help="also --compounds literal")
    options = parser.parse_args()
    judge = None if options.system is None else _judge(options.system)

    def row(x: Samples, text: str) -> Row:
        return measure(x) | ({} if judge is None else {"WER": judge(x, text)})

    names = ["clip", "LUFS", "roll-off, Hz", "above floor, dB", "falls/s", "gaps, %"]
    names += ["longest gap, ms", "repeated, %", *([] if judge is None else ["WER, %"])]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)
    clips = [u for u in read_manifest(options.clean) if len(u.text.split()) > 6][: len(SEVERITIES)]
    sources = [read(options.clean.parent / clip.audio) for clip in clips]
    ours = [row(source.samples, u.text) for source, u in zip(sources, clips, strict=True)]
    print(_line("ours: clean", ours), flush=True)
    for line in (options.examples / "examples.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        path = options.examples / record["audio_path"]
        published = row(read(path).samples, record["answer"])
        print(_line(f"**published {path.stem}**", [published]), flush=True)
        scenario = find_scenario(KINDS[path.stem])
        for compounds in Compounds if options.literal else [Compounds.CALIBRATED]:
            simulator, rows = Simulator(compounds=compounds), []
            for clip, source, severity in zip(clips, sources, SEVERITIES, strict=True):
                draw = simulator.draw(
                    seed=1, scenario=scenario, severity=severity, utterance=clip.id
                )
                rows.append(row(simulator.apply(source, draw).waveform.samples, clip.text))
            literal = ", literal" if compounds is Compounds.LITERAL else ""
            print(_line(f"ours: {scenario.name}{literal}", rows), flush=True)


if __name__ == "__main__":
    main()
