"""Cards of clips worth listening to, each with audio, spectrogram and word diffs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.report import spectrogram
from megaasr.report.embed import data_uri, sound_uri
from megaasr.report.sounds import SoundSearch
from megaasr.report.word_diff import html_diff
from megaasr.score.result import Result, ScoredClip

SHOWN = 12
"""Clips in each list, shared by the test sets of a page, since their audio makes it large."""
_MIN_SHOWN = 3
_MAX_AUDIO_S = 30.0
_LEGEND = (
    "Against the reference, missing words are struck out, wrong and added ones underlined, all as "
    "the normaliser leaves them."
)


class Cards:
    """The cards of one result; audio is embedded only in the first of several cards of a clip.

    Args:
        result: the benchmark.
        normalizer: name of the normaliser for errors and word diffs.
        sounds: finds the clips' audio; a card says if its audio is missing.
        prefix: prefix of the cards' anchors, unique on the page.
        parts: number of test sets on the page.
    """

    def __init__(
        self, result: Result, normalizer: str, sounds: SoundSearch, *, prefix: str, parts: int = 1
    ) -> None:
        self._result = result
        self._normalizer = normalizer
        self._sounds = sounds
        self._prefix = prefix
        self._shown = max(_MIN_SHOWN, SHOWN // parts)
        self._anchors: dict[str, str] = {}  # of the card with the audio, by clip
        self._lists: dict[str, str] = {}  # the list of that card, by clip

    def worst(self) -> str:
        """Return the clips with the highest error rates of the system with the lowest one. An
        oracle is no system: it chooses among the others' texts, knowing the references."""
        best = self._best_system()

        def badness(clip: ScoredClip) -> tuple[float, int]:
            counts = clip.hypotheses[best].errors(self._normalizer)
            return counts.rate, counts.errors

        wrong = [clip for clip in self._result.clips if badness(clip)[1]]
        lead = (
            f"The clips with the highest error rates of {best}, the system with the lowest one. "
            f"{_LEGEND}"
        )
        return self._list(lead, sorted(wrong, key=badness, reverse=True), "the worst clips")

    def most_changed(self) -> str:
        """Return the clips with the largest difference in errors from the baseline."""
        baseline = self._result.baseline

        def change(clip: ScoredClip) -> int:
            errors = {s: h.errors(self._normalizer).errors for s, h in clip.hypotheses.items()}
            return max(abs(count - errors[baseline]) for count in errors.values())

        changed = [clip for clip in self._result.clips if change(clip)]
        lead = (
            f"The clips with the largest difference in errors between {baseline} and another "
            "system."
        )
        return self._list(lead, sorted(changed, key=change, reverse=True), "the most changed clips")

    def behind(self, system: str, max_clips: int) -> str:
        """Return the clips on which a system makes more errors than the baseline.

        Args:
            system: name of a system other than the baseline.
            max_clips: number of clips to list at most; the largest differences come first.

        Raises:
            UsageError: there is no such system.
        """
        baseline = self._result.baseline
        names = [summary.name for summary in self._result.systems]
        if system not in names or system == baseline:
            alternatives = ", ".join(name for name in names if name != baseline)
            raise UsageError(
                f"no system {system} to compare with {baseline}; there is {alternatives}"
            )

        def surplus(clip: ScoredClip) -> int:
            system_errors, baseline_errors = (
                clip.hypotheses[name].errors(self._normalizer).errors for name in (system, baseline)
            )
            return system_errors - baseline_errors

        clips = sorted((c for c in self._result.clips if surplus(c) > 0), key=surplus, reverse=True)
        lead = (
            f"The clips on which {system} makes more errors than {baseline}: {len(clips)} of "
            f"{len(self._result.clips)}, the largest difference first. {_LEGEND}"
        )
        return self._list(lead, clips, "the clips behind the baseline", max_clips)

    def _best_system(self) -> str:
        systems = self._result.systems
        names = [system.name for system in systems if system.kind != "oracle"]
        names = names or [system.name for system in systems]
        rates = self._result.overall.rates
        return min(names, key=lambda name: rates[name][self._normalizer].rate)

    def _list(
        self, lead: str, clips: Sequence[ScoredClip], title: str, max_clips: int | None = None
    ) -> str:
        if not clips:
            return ""
        cards = "".join(self._card(clip, title) for clip in clips[: max_clips or self._shown])
        return f'<p class="soft">{escape(lead)}</p><div class="cards">{cards}</div>'

    def _card(self, clip: ScoredClip, list_title: str) -> str:
        texts = "".join(self._hypothesis(clip, system.name) for system in self._result.systems)
        anchor = self._anchors.get(clip.id)
        if anchor is not None:
            audio = (
                f'<p><a href="#{anchor}">Sound and picture: among {self._lists[clip.id]}</a></p>'
            )
            attribute = ""
        else:
            anchor = f"{self._prefix}-clip-{len(self._anchors)}"
            self._anchors[clip.id] = anchor
            self._lists[clip.id] = list_title
            audio, attribute = (
                _audio_and_picture(clip, self._sounds.find(self._result.test_set, clip.audio)),
                f' id="{anchor}"',
            )
        return (
            f"<article{attribute}><h4>{escape(clip.id)}</h4>"
            f'<p class="soft">{escape(_facts(clip))}</p>'
            f"{audio}<dl><dt>reference</dt><dd{_lang(clip)}>{escape(clip.text)}</dd>{texts}</dl>"
            "</article>"
        )

    def _hypothesis(self, clip: ScoredClip, system: str) -> str:
        hypothesis = clip.hypotheses[system]
        counts = hypothesis.errors(self._normalizer)
        facts = [f"{counts.errors} of {counts.reference_length} wrong", *hypothesis.failures]
        if hypothesis.route is not None:
            facts.append(f"route {hypothesis.route}")
        if hypothesis.error is not None:
            facts.append(f"failed: {hypothesis.error}")
        diff = html_diff(clip.text, hypothesis.text, clip.language, self._normalizer)
        return (
            f"<dt>{escape(system)} <small>{escape(', '.join(facts))}</small></dt>"
            f'<dd class="diff"{_lang(clip)}>{diff}</dd>'
        )


def _lang(clip: ScoredClip) -> str:
    return f' lang="{escape(clip.language)}"' if clip.language else ""


def _facts(clip: ScoredClip) -> str:
    facts = [clip.scenario or clip.category or ""]
    if clip.severity is not None:
        facts.append(f"severity {clip.severity:g}")
    if clip.snr_db is not None:
        facts.append(f"SNR {clip.snr_db:.1f} dB")
    facts += [clip.origin or "", f"{clip.duration_s:.1f} s"]
    return ", ".join(fact for fact in facts if fact)


def _audio_and_picture(clip: ScoredClip, waveform: Waveform | None) -> str:
    if waveform is None:
        return '<p class="soft">The sound was not found when this page was made.</p>'
    rate, total_s = waveform.sample_rate, waveform.duration_s
    waveform = Waveform(waveform.samples[: int(_MAX_AUDIO_S * rate)], rate)
    shown_s = waveform.duration_s
    end = f"{shown_s:.1f} s" if shown_s == total_s else f"{shown_s:.0f} of {total_s:.0f} s"
    name = escape(clip.id)
    picture = data_uri("image/png", spectrogram.picture(waveform))
    return (
        f'<audio controls preload="metadata" aria-label="{name}" src="{sound_uri(waveform)}">'
        "</audio>"
        f'<img class="spectrogram" src="{picture}" alt="Spectrogram of {name}, 0 to 8 kHz">'
        f'<p class="axis"><span>0 s</span><span>0 to 8 kHz upwards</span><span>{end}</span></p>'
    )
