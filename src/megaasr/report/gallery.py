"""The gallery: one page to listen to every condition, and see it, at several severities.

The page is one file. Audio and pictures are embedded as data: URIs, because files beside a page are
lost when it is sent to somebody, and phones cannot open them from disk at all. Audio is FLAC, which
all browsers play and which takes about half the space of WAV.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from megaasr import __version__, strict_json
from megaasr.audio.waveform import Waveform
from megaasr.report import spectrogram
from megaasr.report.embed import data_uri, sound_uri
from megaasr.report.tables import breakable
from megaasr.simulate.describe import describe_condition, describe_steps
from megaasr.simulate.draw import Draw
from megaasr.simulate.provenance import Level
from megaasr.simulate.scenarios import SCENARIOS, Scenario
from megaasr.simulate.simulator import Simulator

SEVERITIES = (0.1, 0.5, 0.9)
# One compound of each size, so that the page shows how effects add up.
COMPOUNDS = (
    "far_field+noise",
    "echo+recording+dropout",
    "recording+distortion+dropout+noise",
    "obstructed+recording+distortion+dropout+noise",
)
_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_MAX_TICKS = 8


@dataclass(frozen=True, slots=True)
class GalleryClip:
    """One clip of the page.

    Attributes:
        title: heading of the clip, such as `severity 0.5`.
        description: description of the clip for screen readers.
        waveform: the audio, 16 kHz mono.
        level: level and loudness of the audio.
        steps: the processing steps, one phrase each; empty for the clean clip.
        clipped_samples: number of samples limited to full scale; None for the clean clip.
        draw: all parameters of the simulation; None for the clean clip.
        text: what a recogniser makes of the clip; None without one.
    """

    title: str
    description: str
    waveform: Waveform
    level: Level
    steps: Sequence[str] = ()
    clipped_samples: int | None = None
    draw: Draw | None = None
    text: str | None = None


def default_scenarios() -> list[str]:
    """Return the names of the default scenarios: the seven conditions and some compounds."""
    conditions = [scenario.name for scenario in SCENARIOS if len(scenario.conditions) == 1]
    return [*conditions, *COMPOUNDS]


@dataclass(frozen=True)
class Gallery:
    """The content of a gallery page; the same gallery gives the same page.

    Attributes:
        waveform: clean speech, 16 kHz mono.
        name: name of the clean file, which also keys the random choices.
        simulator: the simulator that degrades the speech.
        scenarios: the scenarios, one row each.
        severities: the severities of each scenario, 0..1.
        seed: seed of all random choices.
        transcribe: returns the text of a clip, which stands below it; None for no texts.
    """

    waveform: Waveform
    name: str
    simulator: Simulator
    scenarios: Sequence[Scenario]
    severities: Sequence[float] = SEVERITIES
    seed: int = 0
    transcribe: Callable[[Waveform], str] | None = None

    def page(self) -> str:
        """Return the page as HTML.

        Raises:
            UsageError: a severity is not in 0..1.
        """
        level = Level.of(self.waveform.samples)
        text = self._text(self.waveform)
        rows = [[GalleryClip("clean", f"{self.name}, clean", self.waveform, level, text=text)]]
        rows += [self._row(scenario) for scenario in self.scenarios]
        heads = [("clean", "The recording as it came in.")]
        heads += [(scenario.name, _summary(scenario)) for scenario in self.scenarios]
        sections = (_section(*head, row) for head, row in zip(heads, rows, strict=True))
        names = (name for name, _ in heads)
        template = resources.files("megaasr.report").joinpath("gallery.html")
        return Template(template.read_text(encoding="utf-8")).substitute(
            name=escape(self.name),
            introduction=self._introduction(),
            loudness_range=_loudness_range(rows),
            links="".join(f'<li><a href="#{_anchor(n)}">{breakable(n)}</a></li>' for n in names),
            colour_bar=data_uri("image/png", spectrogram.colour_bar()),
            quietest=f"{spectrogram.QUIETEST_DB:.0f}",
            loudest=f"{spectrogram.LOUDEST_DB:.0f}",
            rows="\n".join(sections),
            version=escape(__version__),
            seed=self.seed,
        )

    def _row(self, scenario: Scenario) -> list[GalleryClip]:
        return [self._clip(scenario, severity) for severity in self.severities]

    def _clip(self, scenario: Scenario, severity: float) -> GalleryClip:
        draw = self.simulator.draw(
            seed=self.seed, scenario=scenario, severity=severity, utterance=self.name
        )
        simulated = self.simulator.apply(self.waveform, draw)
        return GalleryClip(
            title=f"severity {severity:g}",
            description=f"{scenario.name} at severity {severity:g}",
            waveform=simulated.waveform,
            level=Level.of(simulated.waveform.samples),
            steps=describe_steps(draw, simulated.measurements),
            clipped_samples=simulated.clipped_samples,
            draw=draw,
            text=self._text(simulated.waveform),
        )

    def _text(self, waveform: Waveform) -> str | None:
        return None if self.transcribe is None else self.transcribe(waveform)

    def _introduction(self) -> str:
        listed = ", ".join(f"{severity:g}" for severity in self.severities)
        return (
            f"{self.waveform.duration_s:.1f} s of speech, degraded in {len(self.scenarios)} ways, "
            f"each at the severities {listed} (0 is easy, 1 is hard). The same severity sets "
            "every parameter of a clip. Under each clip stands what was done, in order, and in "
            "brackets what was measured on the way."
        )


def _loudness_range(rows: Sequence[Sequence[GalleryClip]]) -> str:
    lufs = [clip.level.lufs for row in rows for clip in row if clip.level.lufs is not None]
    return f"{max(lufs) - min(lufs):.0f} LU" if lufs else "nothing"


def _anchor(scenario_name: str) -> str:
    return scenario_name.replace("+", "-")


def _summary(scenario: Scenario) -> str:
    return " ".join(describe_condition(condition.name) for condition in scenario.conditions)


def _section(heading: str, summary: str, clips: Sequence[GalleryClip]) -> str:
    anchor = _anchor(heading)
    return (
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{breakable(heading)}</h2>'
        f'<p class="soft">{escape(summary)}</p>'
        f'<div class="row">{"".join(_article(clip) for clip in clips)}</div></section>'
    )


def _article(clip: GalleryClip) -> str:
    audio = sound_uri(clip.waveform)
    steps = "".join(f"<li>{escape(step)}</li>" for step in clip.steps)
    return (
        f"<article><h3>{escape(clip.title)}</h3>"
        f'<audio controls preload="metadata" aria-label="{escape(clip.description)}" '
        f'src="{audio}"></audio>'
        f"{_figure(clip)}{_recognised(clip)}{f'<ol>{steps}</ol>' if steps else ''}"
        f"{_measured(clip)}{_details(clip)}"
        "</article>"
    )


def _recognised(clip: GalleryClip) -> str:
    if clip.text is None:
        return ""
    text = f"“{escape(clip.text)}”" if clip.text.strip() else "nothing"
    return f'<p class="recognised"><span class="soft">Recognised:</span> {text}</p>'


def _figure(clip: GalleryClip) -> str:
    loudness = "" if clip.level.lufs is None else f", {clip.level.lufs:.1f} LUFS"
    alternative = f"Spectrogram of {clip.description}, 0 to 8 kHz{loudness}"
    image = data_uri("image/png", spectrogram.picture(clip.waveform))
    hertz = "".join(f"<span>{kilohertz}</span>" for kilohertz in ("8 kHz", 6, 4, 2, 0))
    return (
        f'<figure><div class="hertz" aria-hidden="true">{hertz}</div>'
        f'<div class="picture"><img src="{image}" alt="{escape(alternative)}"></div>'
        f'<div class="seconds" aria-hidden="true">{_time_axis(clip.waveform.duration_s)}</div>'
        "</figure>"
    )


def _time_axis(duration_s: float) -> str:
    """Return the time axis: ticks at round times, the last one with the unit."""
    step_s = next((s for s in _TICKS_S if duration_s / s <= _MAX_TICKS), _TICKS_S[-1])
    marks = []
    for number in range(int(duration_s / step_s + 1e-9) + 1):
        share = 100 * number * step_s / duration_s
        attribute = ' class="last"' if share > 97 else ""
        marks.append(f'<span{attribute} style="left:{share:.2f}%">{number * step_s:g}</span>')
    marks[-1] = marks[-1].replace("</span>", " s</span>")
    return "".join(marks)


def _measured(clip: GalleryClip) -> str:
    level = clip.level
    values = {
        "loudness": "none to be measured" if level.lufs is None else f"{level.lufs:.1f} LUFS",
        "active level": (
            "silent" if level.active_dbfs is None else f"{level.active_dbfs:.1f} dBFS"
        ),
        "peak": f"{level.peak:.3f} of full scale",
    }
    if clip.clipped_samples is not None:
        share = 100 * clip.clipped_samples / len(clip.waveform.samples)
        values["clipped"] = f"{clip.clipped_samples} samples ({share:.2g} %)"
    return f"<dl>{''.join(f'<dt>{key}</dt><dd>{value}</dd>' for key, value in values.items())}</dl>"


def _details(clip: GalleryClip) -> str:
    if clip.draw is None:
        return ""
    parameters = strict_json.dumps(clip.draw.model_dump(mode="json"), indent=1, ensure_ascii=False)
    return f"<details><summary>every parameter</summary><pre>{escape(parameters)}</pre></details>"
