"""Speed of transcription by batch size and length of clip; peer: native transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import Runs, in_turn, say


@dataclass(frozen=True, slots=True)
class _Sizes:
    lengths_s: Sequence[float] = (2, 5, 15, 30)
    batch_sizes: Sequence[int] = (1, 4, 8, 16)
    clips: int = 16
    repeats: int = 3


_QUICK = _Sizes(lengths_s=(1, 2), batch_sizes=(1, 2), clips=2, repeats=1)
_PEER = "transformers"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Transcribe the same clips with both, in turn."""
    import torch

    from benchmarks.clips import RATE, joined
    from benchmarks.native import Native
    from megaasr import MegaASR
    from megaasr.hub import HubOptions
    from megaasr.model.loading import load_model
    from megaasr.model.prompt import parse_output
    from megaasr.model.request_checks import token_budget

    sizes = _QUICK if settings.quick else _Sizes()
    largest = max(sizes.batch_sizes)
    model = load_model(
        str(settings.folder),
        device=settings.device,
        hub=HubOptions(offline=True),
        batch_size=largest,
    )
    native = Native(model.model, model.processor)  # the very same weights
    rows: list[Row] = []
    for length_s in sizes.lengths_s:
        say(f"transcribe: {sizes.clips} clips of {length_s} s")
        clips = joined(length_s, sizes.clips)
        budget = token_budget(length_s)
        texts: dict[str, list[str]] = {}

        def by_native(clips: Any = clips, budget: int = budget, texts: Any = texts) -> None:
            texts[_PEER] = [native.transcribe([clip], budget)[0] for clip in clips]

        def by_megaasr(batch_size: int, clips: Any = clips, texts: Any = texts) -> None:
            asr = MegaASR(model, batch_size=batch_size)
            transcripts = asr.transcribe(clips, sample_rate=RATE)
            texts[str(batch_size)] = [transcript.text for transcript in transcripts]

        jobs: dict[str, Callable[[], object]] = {_PEER: by_native}
        for size in sizes.batch_sizes:
            jobs[str(size)] = lambda size=size: by_megaasr(size)  # type: ignore[misc]
        runs = in_turn(jobs, sizes.repeats)
        # megaasr returns no text where the model names no language
        outputs = [parse_output(raw) for raw in texts[_PEER]]
        texts[_PEER] = [text if language else "" for text, language in outputs]
        for name in jobs:
            same = sum(a == b for a, b in zip(texts[name], texts[_PEER], strict=True))
            rows.append(_row(name, length_s, sizes.clips, runs, same))
    used = {**asdict(sizes), "device": settings.device, "threads": torch.get_num_threads()}
    return {**used, "dtype": str(model.model.dtype).removeprefix("torch.")}, rows


def _row(name: str, length_s: float, clips: int, runs: Mapping[str, Runs], same: int) -> Row:
    own, peer = runs[name], runs[_PEER]
    audio_s = length_s * clips
    return {
        "system": _PEER if name == _PEER else "megaasr",
        "batch_size": 1 if name == _PEER else int(name),
        "length_s": length_s,
        "audio_s": audio_s,
        **own.fields(),
        "rtfx_wall": round(audio_s / own.wall, 3),
        "rtfx_cpu": round(audio_s / own.cpu, 3),
        "times_peer_wall": round(peer.wall / own.wall, 3),
        "times_peer_cpu": round(peer.cpu / own.cpu, 3),
        "same_text": same,
    }


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each length and batch size, after that of the peer."""
    used = entry["settings"]
    lines = [
        [
            f"{row['length_s']} s, {row['system']}, batch {row['batch_size']}",
            f"{row['rtfx_wall']:.3g}",
            f"{row['rtfx_cpu']:.3g}",
            f"{row['times_peer_wall']:.2f}",
            f"{row['times_peer_cpu']:.2f}",
            f"{min(row['wall_s_runs']):.2f}–{max(row['wall_s_runs']):.2f}",
            f"{row['same_text']} of {used['clips']}",
        ]
        for row in entry["rows"]
    ]
    note = (
        f"{used['clips']} clips of each length on {used['device']} ({used['dtype']}, "
        f"{used['threads']} CPU threads); RTFx: seconds of audio per second; × peer: how many "
        "times as fast as transformers' native classes, one clip at a time, with the same weights "
        f"on the same clips; medians of {used['repeats']} run(s) after a warm-up."
    )
    head = ("clips", "RTFx", "RTFx per CPU s", "× peer", "× peer, CPU", "s, all runs", "same text")
    return Table("transcribe: speed", note, head, lines)
