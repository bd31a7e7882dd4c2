"""Cost of sampled transcripts by their number; peer: one decoding per sample.

The peer runs the encoder and the prompt once for every sample, as a loop over `recognize` does. The
package runs them once for all samples of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import in_turn, say

_TEMPERATURE = 0.5


@dataclass(frozen=True, slots=True)
class _Sizes:
    samples: Sequence[int] = (4, 12)
    length_s: float = 8.0
    clips: int = 8
    batch_size: int = 8
    repeats: int = 2


_QUICK = _Sizes(samples=(2,), length_s=2.0, clips=2, batch_size=2, repeats=1)


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Decode the same clips greedily, and sample their transcripts in both ways, in turn."""
    import torch

    from benchmarks.clips import joined
    from megaasr.hub import HubOptions
    from megaasr.model.interface import Request, SamplingSettings
    from megaasr.model.loading import load_model

    sizes = _QUICK if settings.quick else _Sizes()
    model = load_model(
        str(settings.folder),
        device=settings.device,
        hub=HubOptions(offline=True),
        batch_size=sizes.batch_size,
    )
    requests = [Request(clip) for clip in joined(sizes.length_s, sizes.clips)]

    def sample(number: int) -> None:
        model.sample(requests, SamplingSettings(number, _TEMPERATURE))

    def decode_each(number: int) -> None:
        for seed in range(number):
            model.recognize([replace(r, temperature=_TEMPERATURE, seed=seed) for r in requests])

    jobs: dict[str, Callable[[], object]] = {"greedy": lambda: model.recognize(requests)}
    for number in sizes.samples:
        jobs[f"{number} samples"] = lambda number=number: sample(number)  # type: ignore[misc]
        jobs[f"{number} decodings"] = lambda number=number: decode_each(number)  # type: ignore[misc]
    say(f"consensus: {sizes.clips} clips of {sizes.length_s} s")
    runs = in_turn(jobs, sizes.repeats)
    rows: list[Row] = [
        {
            "job": name,
            **own.fields(),
            "times_greedy_cpu": round(own.cpu / runs["greedy"].cpu, 3),
        }
        for name, own in runs.items()
    ]
    for row in rows:
        number, _, way = row["job"].partition(" ")
        peer = runs[f"{number} decodings"].cpu if way == "samples" else None
        row["times_peer_cpu"] = None if peer is None else round(peer / row["cpu_s"], 3)
    return {
        **asdict(sizes),
        "device": settings.device,
        "threads": torch.get_num_threads(),
        "dtype": str(model.model.dtype).removeprefix("torch."),
    }, rows


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each number of samples, and for the same number of decodings."""
    used = entry["settings"]
    lines = [
        [
            row["job"],
            f"{row['wall_s']:.2f}",
            f"{row['cpu_s']:.2f}",
            f"{row['times_greedy_cpu']:.2f}",
            "" if row["times_peer_cpu"] is None else f"{row['times_peer_cpu']:.2f}",
        ]
        for row in entry["rows"]
    ]
    note = (
        f"{used['clips']} clips of {used['length_s']} s in batches of {used['batch_size']}, on "
        f"{used['device']} ({used['dtype']}, {used['threads']} CPU threads); × greedy: CPU time "
        "over that of the greedy texts (in one batch); × peer: CPU time of as many decodings, "
        "which draw the text of each clip by itself, over the own; medians of "
        f"{used['repeats']} run(s) after a warm-up. `--decode consensus` costs the samples and the "
        "greedy texts."
    )
    return Table(
        "consensus: cost of samples", note, ("job", "s", "CPU s", "× greedy", "× peer"), lines
    )
