"""`mega-asr calibrate`: fit the router's threshold on one's own labelled clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.score.calibration import Calibration, RoutedClip
    from megaasr.score.test_set import TestClip, TestSetFile

app = typer.Typer(add_completion=False)

CLIPS_FILE, PROFILE_FILE, PAGE_FILE = "clips.jsonl", "profile.json", "calibration.html"
_CHUNK = 64


@app.command()
def calibrate(  # noqa: PLR0913, PLR0917 (options)
    data: Annotated[
        Path, typer.Option(help="Clips with their words: JSONL, CSV, a data set.", exists=True)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    model: Annotated[str, typer.Option(help="A model with adapter and router.")] = "tiny",
    blocks: Annotated[
        str | None,
        typer.Option(help="Field whose clips stay together (speaker, recording) [default: clips]."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and draws.")] = 1,
    limit: Annotated[int | None, typer.Option(min=2, help="Only the first clips.")] = None,
    language: Annotated[str | None, typer.Option(help="ISO code to force.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pieces heard at once.", min=1)] = 16,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Find out whether routing helps on your audio, and with which threshold.

    Both branches hear every clip; the threshold is fitted by the error rate that routing gives, and
    judged by cross-validation. Written are profile.json (for mega-asr transcribe --profile and
    MegaASR.load), calibration.html (the sweep) and clips.jsonl; a killed run goes on.
    """
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import part_hashes
    from megaasr.report.calibration_page import calibration_page
    from megaasr.route.decision import THRESHOLD
    from megaasr.route.profile import RoutingProfile
    from megaasr.score.calibration import calibrate as fit
    from megaasr.score.test_set import read_test_set

    test_set = read_test_set(data, limit=limit)
    hashes = part_hashes(find_model_parts(model, HubOptions(offline)))
    router = hashes.get("router_sha256")
    if router is None:
        raise UsageError(f"{model} has no router; there is no threshold to fit")
    together = [_block(clip, blocks) for clip in test_set.clips]
    test_set.require_audio()
    settings = {"model": model, **hashes, "language": language, "data": test_set.sha256}
    output.mkdir(parents=True, exist_ok=True)
    hearing = _Hearing(test_set, output / CLIPS_FILE, settings)
    hearing.hear(model, language, batch_size, device, offline=offline)
    clips = hearing.clips(together)
    for name, reason in hearing.failed.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    try:
        found = fit(clips, default=THRESHOLD, folds=folds, seed=seed)
    except ValueError as error:
        raise UsageError(f"{data}: {error}") from error
    measured: dict[str, Any] = {
        "data": str(data),
        "clips": found.clips,
        "words": found.words,
        "rates": {name: round(rate, 5) for name, rate in found.rates.items()},
        "threshold_interval": list(found.threshold_interval),
        "comparisons": {name: asdict(one) for name, one in found.comparisons.items()},
        "advice": found.advice,
    }
    profile = RoutingProfile(found.route, found.threshold, model, router, measured)
    profile.write(output / PROFILE_FILE)
    page = calibration_page(found, model, data.name, THRESHOLD)
    write_atomically(output / PAGE_FILE, page)
    _show(found, THRESHOLD)
    typer.echo(f"{output / PROFILE_FILE}: mega-asr transcribe --profile; {output / PAGE_FILE}")
    if hearing.failed:
        count = len(hearing.failed)
        typer.echo(f"{count} clip{'s' if count > 1 else ''} could not be heard", err=True)


_RATES = {
    "routed": "each clip with the threshold that other clips chose",
    "fitted": "with the threshold that these very clips chose: too good",
    "default": "with the threshold in use now",
    "oracle": "with the better branch for each clip",
}


def _show(found: Calibration, default: float) -> None:
    low, high = found.threshold_interval
    for name, rate in found.rates.items():
        ends = found.intervals[name]
        about = f"; {_RATES[name]}" if name in _RATES else ""
        typer.echo(
            f"{name}: {100 * rate:.2f} % (95 % {100 * ends[0]:.1f} to {100 * ends[1]:.1f}{about})"
        )
    typer.echo(f"threshold: {found.threshold:.3f} (95 % {low:.3f} to {high:.3f}), now {default:g}")
    typer.echo(found.advice)


class _Hearing:
    """Both branches' errors on every clip, kept in a file as they come.

    Args:
        test_set: the clips.
        path: of the file; taken up again if it is there.
        settings: what the errors follow from; a file of other settings is refused.

    Attributes:
        failed: why clips could not be heard, by name. A later run tries them again.
    """

    def __init__(self, test_set: TestSetFile, path: Path, settings: dict[str, Any]) -> None:
        from megaasr.score.predictions import read_log

        self._test_set, self._path = test_set, path
        self._known: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        head = json.dumps({"settings": settings}) + "\n"
        if not path.is_file():
            write_atomically(path, head)
            return
        with path.open("rb") as lines:  # before anything is cut off what may be another's file
            ours = lines.readline() == head.encode()
        if not ours:
            raise UsageError(
                f"{path.parent} holds a calibration of other clips or another model; choose "
                "another folder"
            )
        self._known = {str(row["id"]): row for row in read_log(path) if "id" in row}

    def clips(self, blocks: list[str | None]) -> list[RoutedClip]:
        """Return what was heard, in the test set's order.

        Args:
            blocks: what each clip of the test set is kept together with.
        """
        from megaasr.score.calibration import RoutedClip

        return [
            RoutedClip(
                clip.id, tuple(row["probabilities"]), tuple(row["errors"]), row["words"], block
            )
            for clip, block in zip(self._test_set.clips, blocks, strict=True)
            if (row := self._known.get(clip.id)) is not None
        ]

    def hear(
        self,
        model: str,
        language: str | None,
        batch_size: int,
        device: str | None,
        *,
        offline: bool,
    ) -> None:
        """Let both branches hear what is missing."""
        missing = [clip for clip in self._test_set.clips if clip.id not in self._known]
        if not missing:
            return
        from megaasr.cli.progress import progress_bar
        from megaasr.transcribe.options import ReliabilityOptions
        from megaasr.transcribe.recognizer import MegaASR

        asr = MegaASR.load(
            model,
            device=device,
            offline=offline,
            batch_size=batch_size,
            route="both",
            reliability=ReliabilityOptions(retry=False),
        )
        with (
            progress_bar("clips") as advance,
            self._path.open("a", encoding="utf-8") as lines,
        ):
            for at in range(0, len(missing), _CHUNK):
                for row in self._rows(asr, missing[at : at + _CHUNK], language):
                    self._known[row["id"]] = row
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                lines.flush()
                advance(
                    len(self._known) + len(self.failed),
                    len(self._test_set.clips),
                    f"{len(self.failed)} failed" if self.failed else "",
                )

    def _rows(
        self, asr: Any, clips: list[TestClip], language: str | None
    ) -> Iterator[dict[str, Any]]:
        from megaasr.audio.clips import read_clip
        from megaasr.errors import AudioError
        from megaasr.score.branches import compared
        from megaasr.score.calibration import routed_clip

        heard: list[tuple[TestClip, Waveform]] = []
        for clip in clips:
            try:
                heard.append((clip, read_clip(self._test_set.audio_root, clip.audio)))
            except AudioError as error:
                self.failed[clip.audio] = error.reason
        outcomes = asr.transcribe_many([one for _, one in heard], language=language)
        for (clip, _), outcome in zip(heard, outcomes, strict=True):
            if outcome.error is not None:
                self.failed[clip.audio] = outcome.error.reason
                continue
            row = asdict(routed_clip(clip.id, compared(outcome.unwrap(), clip.audio, clip)))
            del row["block"]  # may be asked for otherwise next time
            yield row


def _block(clip: TestClip, field: str | None) -> str | None:
    if field is None:
        return None
    value = (clip.record or {}).get(field)
    if value is None:
        raise UsageError(f"clip {clip.id} has no field {field}, which --blocks asks for")
    return str(value)
