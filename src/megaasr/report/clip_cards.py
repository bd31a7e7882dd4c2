"""The clips worth hearing: worst, and most changed, each with sound, picture and word diffs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.report import spectrogram
from megaasr.report.embed import data_uri, sound_uri
from megaasr.report.word_diff import word_diff
from megaasr.score.result import OVERALL, Clip, Result

SHOWN = 12
"""Clips in each of the two lists, shared by the test sets of a page: their sound makes it large."""
_FEWEST = 3
_LONGEST_S = 30.0
_LEGEND = (
    "Words that are missing are struck out, words that are wrong or too many are underlined; both "
    "as the normaliser leaves them."
)


class Cards:
    """The cards of one result; a clip that is in both lists has its sound in the first only.

    Args:
        result: where the clips are from.
        normalizer: of the errors and word diffs.
        root: where audio paths start; clips whose sound is not there say so.
        prefix: of the cards' anchors, unique in the page.
        parts: test sets on the page.
    """

    def __init__(
        self, result: Result, normalizer: str, root: Path, prefix: str, parts: int = 1
    ) -> None:
        self._result = result
        self._normalizer = normalizer
        self._root = root
        self._prefix = prefix
        self._shown = max(_FEWEST, SHOWN // parts)
        self._anchors: dict[str, str] = {}
        self._homes: dict[str, str] = {}  # the list that a clip's sound stands in

    def worst(self) -> str:
        """Return the clips on which the best system is worst, by error rate and then errors."""
        clips, best = self._result.clips, self._best()

        def badness(clip: Clip) -> tuple[float, int]:
            errors = clip.hypotheses[best].errors(self._normalizer)
            return errors.rate, errors.errors

        wrong = [clip for clip in clips if badness(clip)[1]]
        how = f"The clips with the highest error rates of {best}, the best system here. {_LEGEND}"
        return self._list(how, sorted(wrong, key=badness, reverse=True), "the worst clips")

    def most_changed(self) -> str:
        """Return the clips on which a system differs most from the baseline, better or worse."""
        base = self._result.baseline

        def change(clip: Clip) -> int:
            errors = {s: h.errors(self._normalizer).errors for s, h in clip.hypotheses.items()}
            return max(abs(one - errors[base]) for one in errors.values())

        changed = [clip for clip in self._result.clips if change(clip)]
        how = f"The clips with the largest difference in errors between {base} and another system."
        return self._list(how, sorted(changed, key=change, reverse=True), "the most changed clips")

    def behind(self, system: str, count: int) -> str:
        """Return the clips on which a system makes more errors than the baseline.

        Args:
            system: of the result, and not the baseline.
            count: most clips; those with the largest difference come first.

        Raises:
            UsageError: there is no such system.
        """
        base = self._result.baseline
        names = [one.name for one in self._result.systems]
        if system not in names or system == base:
            others = ", ".join(name for name in names if name != base)
            raise UsageError(f"no system {system} to compare with {base}; there is {others}")

        def gap(clip: Clip) -> int:
            ours, theirs = (
                clip.hypotheses[name].errors(self._normalizer).errors for name in (system, base)
            )
            return ours - theirs

        clips = sorted((c for c in self._result.clips if gap(c) > 0), key=gap, reverse=True)
        how = (
            f"The clips on which {system} makes more errors than {base}: {len(clips)} of "
            f"{len(self._result.clips)}, the largest difference first. {_LEGEND}"
        )
        return self._list(how, clips, "the clips behind the baseline", count)

    def _best(self) -> str:
        (whole,) = self._result.groups_by(OVERALL)
        names = [system.name for system in self._result.systems]
        return min(names, key=lambda name: whole.rates[name][self._normalizer].rate)

    def _list(self, how: str, clips: Sequence[Clip], home: str, count: int | None = None) -> str:
        if not clips:
            return ""
        cards = "".join(self._card(clip, home) for clip in clips[: count or self._shown])
        return f'<p class="soft">{escape(how)}</p><div class="cards">{cards}</div>'

    def _card(self, clip: Clip, home: str) -> str:
        said = "".join(self._said(clip, system.name) for system in self._result.systems)
        anchor, sound = self._anchors.get(clip.id), ""
        if anchor is not None:
            sound = (
                f'<p><a href="#{anchor}">Sound and picture: among {self._homes[clip.id]}</a></p>'
            )
            place = ""
        else:
            anchor = f"{self._prefix}-clip-{len(self._anchors)}"
            self._anchors[clip.id] = anchor
            self._homes[clip.id] = home
            sound, place = _sound(clip, self._root), f' id="{anchor}"'
        return (
            f'<article{place}><h4>{escape(clip.id)}</h4><p class="soft">{escape(_facts(clip))}</p>'
            f"{sound}<dl><dt>reference</dt><dd{_lang(clip)}>{escape(clip.text)}</dd>{said}</dl>"
            "</article>"
        )

    def _said(self, clip: Clip, system: str) -> str:
        said = clip.hypotheses[system]
        errors = said.errors(self._normalizer)
        facts = [f"{errors.errors} of {errors.reference_length} wrong", *said.failures]
        if said.route is not None:
            facts.append(f"route {said.route}")
        if said.error is not None:
            facts.append(f"failed: {said.error}")
        diff = word_diff(clip.text, said.text, clip.language, self._normalizer)
        return (
            f"<dt>{escape(system)} <small>{escape(', '.join(facts))}</small></dt>"
            f'<dd class="diff"{_lang(clip)}>{diff}</dd>'
        )


def _lang(clip: Clip) -> str:
    return f' lang="{escape(clip.language)}"' if clip.language else ""


def _facts(clip: Clip) -> str:
    facts = [clip.scenario or clip.category or ""]
    if clip.severity is not None:
        facts.append(f"severity {clip.severity:g}")
    if clip.snr_db is not None:
        facts.append(f"SNR {clip.snr_db:.1f} dB")
    facts += [clip.origin or "", f"{clip.duration_s:.1f} s"]
    return ", ".join(one for one in facts if one)


def _sound(clip: Clip, root: Path) -> str:
    try:
        waveform = read_clip(root, clip.audio)
    except (AudioError, UsageError, OSError):
        return '<p class="soft">The sound was not found when this page was made.</p>'
    rate, whole_s = waveform.sample_rate, waveform.duration_s
    waveform = Waveform(waveform.samples[: int(_LONGEST_S * rate)], rate)
    shown_s = waveform.duration_s
    end = f"{shown_s:.1f} s" if shown_s == whole_s else f"{shown_s:.0f} of {whole_s:.0f} s"
    name = escape(clip.id)
    picture = data_uri("image/png", spectrogram.picture(waveform))
    return (
        f'<audio controls preload="metadata" aria-label="{name}" src="{sound_uri(waveform)}">'
        "</audio>"
        f'<img class="spectrogram" src="{picture}" alt="Spectrogram of {name}, 0 to 8 kHz">'
        f'<p class="axis"><span>0 s</span><span>0 to 8 kHz upwards</span><span>{end}</span></p>'
    )
