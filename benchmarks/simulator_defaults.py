"""The simulator's defaults beside those of version 1; the extra conditions; the noise families.

The peer is the simulator itself with what version 1 used: the paper's ranges in compounds, and the
eight fixed noises. The simulator's speed beside other packages is in `benchmarks.simulator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import Runs, in_turn, say

if TYPE_CHECKING:
    from megaasr.audio import Waveform
    from megaasr.simulate.simulator import Simulator

_NOW, _VERSION_1 = "defaults", "version 1"
_SIZES = {
    1: "the 7 of one condition",
    2: "the 18 of two",
    3: "the 13 of three",
    4: "the 13 of four",
    5: "the 3 of five",
}
_FAMILY = "making 20 s of "


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Draw and degrade the same clips with both, in turn; then everything that is new."""
    from benchmarks.clips import RATE, joined
    from megaasr.audio import Waveform
    from megaasr.simulate.codecs import available_codecs
    from megaasr.simulate.noise_pool import NoisePool
    from megaasr.simulate.positions import Compounds
    from megaasr.simulate.scenarios import EXTRA_SCENARIOS, SCENARIOS
    from megaasr.simulate.simulator import Simulator

    clips, repeats = (2, 1) if settings.quick else (12, 5)
    length_s = 2.5 if settings.quick else 12.5
    waveforms = [Waveform(joined(length_s, index + 1)[index], RATE) for index in range(clips)]
    audio_s = sum(len(waveform.samples) for waveform in waveforms) / RATE
    # Which codecs there are depends on ffmpeg; the draws must only have what can be applied.
    now = Simulator(codecs=available_codecs())
    old = Simulator(noise=NoisePool(builtin="fixed"), compounds=Compounds.LITERAL)
    rows: list[Row] = []
    for size, label in _SIZES.items():
        say(f"simulator_defaults: {label}")
        names = [s.name for s in SCENARIOS if len(s.conditions) == size]
        jobs = {
            _NOW: partial(_degrade, now, waveforms, names),
            _VERSION_1: partial(_degrade, old, waveforms, names),
        }
        rows += _rows(label, audio_s * len(names), in_turn(jobs, repeats))
    for scenario in EXTRA_SCENARIOS:
        say(f"simulator_defaults: {scenario.name}")
        job = partial(_degrade, now, waveforms, [scenario.name])
        rows += _rows(scenario.name, audio_s, in_turn({_NOW: job}, repeats))
    rows += _families(repeats)
    return {"clips": clips, "length_s": length_s, "repeats": repeats}, rows


def _degrade(simulator: Simulator, waveforms: Sequence[Waveform], names: Sequence[str]) -> None:
    """Draw and degrade every clip by every scenario; severities are spread evenly."""
    for name in names:
        for index, waveform in enumerate(waveforms):
            severity = (index + 0.5) / len(waveforms)
            draw = simulator.draw(seed=0, scenario=name, severity=severity, utterance=str(index))
            simulator.apply(waveform, draw)


def _families(repeats: int) -> list[Row]:
    """Make one realisation of each family anew; later ones are read from the cache."""
    from megaasr.audio.waveform import SAMPLE_RATE
    from megaasr.simulate.families.registry import CATEGORIES, generate, realisation_names

    rows: list[Row] = []
    say("simulator_defaults: families")
    for category in CATEGORIES:
        (name, *_) = realisation_names(category, "test")
        jobs: dict[str, Callable[[], object]] = {_NOW: partial(generate, name)}
        seconds = len(generate(name)) / SAMPLE_RATE
        rows += _rows(_FAMILY + category, seconds, in_turn(jobs, repeats))
    return rows


def _rows(what: str, audio_s: float, runs: Mapping[str, Runs]) -> list[Row]:
    return [
        {
            "what": what,
            "system": system,
            "audio_s": round(audio_s, 2),
            **own.fields(),
            "rtfx_cpu": round(audio_s / own.cpu, 2),
            "defaults_times_this_cpu": round(own.cpu / runs[_NOW].cpu, 3),
        }
        for system, own in runs.items()
    ]


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each size of compound and each extra condition; the families in the note."""
    used = entry["settings"]
    by: dict[str, dict[str, Row]] = {}
    for row in entry["rows"]:
        by.setdefault(row["what"], {})[row["system"]] = row
    families = {
        what.removeprefix(_FAMILY): systems[_NOW]["cpu_s"]
        for what, systems in by.items()
        if what.startswith(_FAMILY)
    }
    slowest = max(families, key=lambda name: families[name])
    lines = []
    for what, systems in by.items():
        if what.startswith(_FAMILY):
            continue
        old = systems.get(_VERSION_1)
        versus = (
            [f"{old['rtfx_cpu']:.0f}", f"{old['defaults_times_this_cpu']:.2f}"]
            if old
            else ["–", "–"]
        )
        lines.append([what, f"{systems[_NOW]['rtfx_cpu']:.0f}", *versus])
    note = (
        f"Seconds of audio per CPU second of one process, {used['clips']} clips of "
        f"{used['length_s']} s in memory, severities spread evenly, draws included. Version 1 is "
        "the paper's ranges in compounds and eight fixed noises. The codecs run in ffmpeg, whose "
        f"time is not counted. Making one of the {len(families)} families' noises of 20 s takes "
        f"{1000 * sum(families.values()) / len(families):.0f} CPU ms on average, and "
        f"{1000 * families[slowest]:.0f} for {slowest}; later it is read from the cache. Medians "
        f"of {used['repeats']} run(s) after a warm-up."
    )
    head = ("scenarios", "defaults", "version 1", "× version 1")
    return Table("simulator_defaults: today's defaults and version 1", note, head, lines)
