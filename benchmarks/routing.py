"""Base and robust clips in one batch; peers: weights changed in place clip by clip, and grouping.

The model has a medium size and random weights, since speed does not depend on the words.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import BenchmarkError, Row, Settings, Table
from benchmarks.released_loop import ReleasedLoop
from benchmarks.timing import in_turn, say

_OURS, _RELEASED, _GROUPED = "mixed batches", "as released", "grouped by route"
_BATCH = 16


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Transcribe the same clips, half of them degraded, in three ways, in turn."""
    stage = _Stage(
        clips=4 if settings.quick else 32, tokens=4 if settings.quick else 24, settings=settings
    )
    repeats = 1 if settings.quick else 3
    say("routing: the three ways must give the same tokens")
    expected = stage.mixed()
    for name, transcribe in ((_RELEASED, stage.released), (_GROUPED, stage.grouped)):
        same = sum(map(operator.eq, transcribe(), expected))
        # Sums of floats depend on the shape of a batch, which decides near-ties of a random model.
        if same < len(expected) * 3 // 4:
            raise BenchmarkError(
                f"routing: {name}: {same} of {len(expected)} clips have our tokens"
            )
    jobs: dict[str, Callable[[], object]] = {
        _OURS: stage.mixed,
        _RELEASED: stage.released,
        _GROUPED: stage.grouped,
    }
    say("routing: transcribing")
    runs = in_turn(jobs, repeats)
    rows: list[Row] = [
        {
            "what": name,
            **runs[name].fields(),
            "rtfx_wall": round(stage.audio_s / runs[name].wall, 2),
            "ours_times_this": round(runs[name].wall / runs[_OURS].wall, 3),
        }
        for name in jobs
    ]
    say("routing: the router")
    router = in_turn({"router": stage.route}, repeats)["router"]
    rows.append(
        {
            "what": "the router alone, released size",
            **router.fields(),
            "rtfx_wall": round(stage.audio_s / router.wall, 2),
            "share_of_ours": round(router.wall / runs[_OURS].wall, 4),
        }
    )
    used = {
        "clips": len(stage.requests),
        "audio_s": round(stage.audio_s, 1),
        "tokens": stage.tokens,
        "batch": _BATCH,
        "millions": round(stage.millions, 1),
        "rank": stage.rank,
        "repeats": repeats,
    }
    return used, rows


class _Stage:
    """The model with its side branches, the same with dense deltas, and the clips."""

    rank = 16

    def __init__(self, clips: int, tokens: int, settings: Settings) -> None:
        import numpy as np
        import torch

        from megaasr.adapter.gated import attach
        from megaasr.adapter.peft_layout import Adapter, LowRank
        from megaasr.model.interface import Request
        from megaasr.model.qwen3_asr import Qwen3ASR
        from megaasr.route.classifier import AudioQualityClassifier, RouterSizes
        from megaasr.route.router import Router

        model, processor = build(settings.quick)
        self.tokens = tokens
        rng = torch.Generator().manual_seed(1)
        layers = {
            name: LowRank(
                torch.randn(self.rank, module.in_features, generator=rng) / module.in_features**0.5,
                0.02 * torch.randn(module.out_features, self.rank, generator=rng),
            )
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        }
        attach(model, Adapter("random", layers, ""))
        self._asr = Qwen3ASR("random", model, processor, _BATCH)
        self._loop = ReleasedLoop(model, layers)
        self.millions = sum(p.numel() for p in model.parameters()) / 1e6
        lengths = np.random.default_rng(0).uniform(2, 10, clips)
        self.audio_s = float(lengths.sum())
        self.requests = [
            Request(
                (0.1 * np.random.default_rng(n).standard_normal(int(16_000 * s))).astype(
                    np.float32
                ),
                route="robust" if n % 2 else "base",
            )
            for n, s in enumerate(lengths)
        ]
        self._router = Router(AudioQualityClassifier(RouterSizes()).eval())

    def mixed(self) -> list[list[int]]:
        """Our way: batches by length, with mixed routes."""
        return self._in_batches(range(len(self.requests)))

    def grouped(self) -> list[list[int]]:
        """Batches by length, each with a single route."""
        robust = [n for n, request in enumerate(self.requests) if request.route == "robust"]
        base = [n for n, request in enumerate(self.requests) if request.route == "base"]
        outputs = dict(zip(base, self._in_batches(base), strict=True))
        outputs |= zip(robust, self._in_batches(robust), strict=True)
        return [outputs[n] for n in range(len(self.requests))]

    def released(self) -> list[list[int]]:
        """One clip at a time, sorted by route, so that the weights change only once and back."""
        routes = [request.route for request in self.requests]
        return self._loop.run(routes, lambda n: self._generate([n], with_branches=False)[0])

    def route(self) -> None:
        """Route every clip."""
        for request in self.requests:
            self._router.decide(request.samples)

    def _in_batches(self, numbers: Sequence[int]) -> list[list[int]]:
        order = sorted(numbers, key=lambda n: len(self.requests[n].samples))
        outputs: dict[int, list[int]] = {}
        for start in range(0, len(order), _BATCH):
            # As in Qwen3ASR.recognize: by length, then clips of the same route side by side.
            batch = sorted(order[start : start + _BATCH], key=lambda n: self.requests[n].route)
            outputs |= zip(batch, self._generate(batch, with_branches=True), strict=True)
        return [outputs[n] for n in numbers]

    def _generate(self, numbers: Sequence[int], *, with_branches: bool) -> list[list[int]]:
        import torch

        batch = [self.requests[n] for n in numbers]
        inputs = self._asr.inputs(batch)
        model: Any = self._asr.model
        if not with_branches:
            batch = [replace(request, route="base") for request in batch]
        with torch.inference_mode(), self._asr.routed(batch, inputs):
            out = model.generate(
                **inputs,
                do_sample=False,
                min_new_tokens=self.tokens,
                max_new_tokens=self.tokens,
                pad_token_id=0,
            )
        rows: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return rows


def build(quick: bool) -> tuple[Any, Any]:
    """Return a native model of medium size with random weights, and its processor."""
    from megaasr.train.base.architecture import build_model
    from megaasr.train.base.recipe import ArchitectureRecipe
    from megaasr.train.processor import build_processor
    from megaasr.train.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["The quick brown fox jumps over the lazy dog."], 340)
    # In the proportions of the 1.7B: the encoder is half as wide as the decoder, 6 layers to 7.
    width = 64 if quick else 512
    sizes = ArchitectureRecipe(
        vocabulary_size=340,
        encoder_layers=2 if quick else 6,
        encoder_width=width // 2,
        encoder_heads=4,
        encoder_ffn=2 * width,
        conv_channels=16 if quick else 120,
        decoder_layers=2 if quick else 7,
        decoder_width=width,
        decoder_heads=4,
        decoder_kv_heads=2,
        decoder_head_size=width // 4,
        decoder_ffn=3 * width,
    )
    model: Any = build_model(sizes, tokenizer, seed=1)
    return model.eval(), build_processor(sizes.geometry, tokenizer)


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each way."""
    used = entry["settings"]
    lines = []
    for row in entry["rows"]:
        ratio = row.get("ours_times_this")
        last = f"{ratio:.2f}" if ratio else f"{100 * row['share_of_ours']:.1f} % of the time"
        lines.append([row["what"], f"{row['wall_s']:.2f}", f"{row['rtfx_wall']:.1f}", last])
    note = (
        f"{used['clips']} clips of 2 to 10 s ({used['audio_s']} s), every second one on the robust "
        f"route, {used['tokens']} tokens each; a random model of {used['millions']} million "
        f"parameters with an adapter of rank {used['rank']} on all of its layers; batches of "
        f"{used['batch']}. As released: dense deltas added to the weights and subtracted again, "
        "one clip at a time, clips sorted by route so that this happens once. × peer: its wall "
        f"time over ours. Medians of {used['repeats']} run(s) after a warm-up."
    )
    return Table("routing", note, ("way", "wall s", "RTFx", "× peer"), lines)
