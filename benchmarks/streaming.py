"""Live transcription: the cost of a recording; peers: the released schedule and LocalAgreement-2.

The model has a medium size and random weights, and writes as many tokens as speech has words, since
speed does not depend on which they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import say

if TYPE_CHECKING:
    from megaasr.audio.waveform import Samples
    from megaasr.model.interface import Recognition, Request, SamplingSettings
    from megaasr.transcribe.recognizer import MegaASR

_WORDS_PER_S = 2.5
_FEED_S = 0.5
_SESSIONS = 8
_RELEASED_RESET_S = 120.0


class _Model:
    """A random model whose text is a part of an endless list of words.

    What it costs is what the tokens of that text cost: the encoder, the prompt, and one step of the
    decoder for each token after the prefix.
    """

    name = "random"
    has_robust_route = False

    def __init__(self, *, quick: bool) -> None:
        import numpy as np

        from benchmarks.routing import build
        from megaasr.model.incremental import IncrementalDecoder
        from megaasr.model.inputs import InputBuilder

        model, self._processor = build(quick)
        model.generation_config.eos_token_id = None  # random weights would end at any time
        self.millions = sum(p.numel() for p in model.parameters()) / 1e6
        builder = InputBuilder.for_model(model, self._processor)
        self._decoder = IncrementalDecoder(model, self._processor, builder)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        rng = np.random.default_rng(1)
        self._words = ["".join(rng.choice(letters, 5)) for _ in range(400)]

    def without_last_tokens(self, text: str, count: int) -> str:
        """Return a text without its last words; here a word stands for a token."""
        return " ".join(text.split()[:-count])

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Decode as many tokens as each text has words; unlike a real model, of any length."""
        from megaasr.model.interface import Recognition

        texts = [self._text(request) for request in requests]
        budgets = [
            len(self._processor.tokenizer(request.prefix)["input_ids"])
            + max(1, len(text.split()) - len(request.prefix.split()))
            for request, text in zip(requests, texts, strict=True)
        ]
        self._decoder.decode(requests, budgets)
        return [
            Recognition(text, "en", len(text.split()), False, text, mean_logprob=-0.1)
            for text in texts
        ]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Not used."""
        raise NotImplementedError

    def _text(self, request: Request) -> str:
        count = max(1, round(_WORDS_PER_S * len(request.samples) / 16_000))
        return " ".join(self._words[:count])


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Stream one recording in several ways, and as many sessions at once."""
    from benchmarks.clips import joined
    from megaasr.score.streaming.baselines import LocalAgreement, ReleasedSchedule
    from megaasr.score.streaming.replay import LiveSession, OurSession
    from megaasr.stream.options import StreamOptions

    audio_s = 20.0 if settings.quick else 2 * _RELEASED_RESET_S
    (samples,) = joined(audio_s, 1)
    model = _Model(quick=settings.quick)
    roll_back = model.without_last_tokens
    asr, long_asr = _recognizer(model), _recognizer(model, _RELEASED_RESET_S)
    ours = StreamOptions()
    ways: dict[str, tuple[MegaASR, Callable[[MegaASR], LiveSession]]] = {
        "ours": (asr, lambda asr: OurSession(asr, ours)),
        "ours, step 2 s": (asr, lambda asr: OurSession(asr, replace(ours, step_s=2.0))),
        "ours, global": (asr, lambda asr: OurSession(asr, replace(ours, encoding="global"))),
        "ours, without partial texts": (
            asr,
            lambda asr: OurSession(asr, replace(ours, partials=False)),
        ),
        "released, reset at 120 s": (long_asr, lambda asr: ReleasedSchedule(asr, roll_back)),
        "released, reset at 30 s": (asr, lambda asr: ReleasedSchedule(asr, roll_back)),
        "LocalAgreement-2": (asr, LocalAgreement),
    }
    rows = []
    for name, (recognizer, open_session) in ways.items():
        say(f"streaming: {name}")
        rows.append({"what": name, **_cost(recognizer, open_session, samples)})
    for row in rows:
        row["ours_times_this"] = round(row["cpu_s"] / rows[0]["cpu_s"], 3)
    part = samples[: len(samples) // (2 if settings.quick else 10)]
    for count in (1, _SESSIONS):
        say(f"streaming: {count} sessions")
        rows.append(_throughput(asr, part, count))
    rows[-1]["times_one_session"] = round(rows[-1]["rtfx_wall"] / rows[-2]["rtfx_wall"], 3)
    used = {
        "audio_s": audio_s,
        "feed_s": _FEED_S,
        "words_per_s": _WORDS_PER_S,
        "millions": round(model.millions, 1),
        "sessions": _SESSIONS,
    }
    return used, rows


def _recognizer(model: _Model, max_chunk_s: float = 30.0) -> MegaASR:
    from megaasr.transcribe.options import ReliabilityOptions
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.speech_activity import detect_speech

    # What retries cost depends on the text, which is not a model's here.
    return MegaASR(
        model,
        detector=detect_speech,
        reliability=ReliabilityOptions(retry=False),
        max_chunk_s=lambda: max_chunk_s,
    )


def _cost(asr: MegaASR, open_session: Callable[[MegaASR], Any], samples: Samples) -> Row:
    """Return time, steps and latency of one recording."""
    from megaasr.score.streaming.replay import replay

    start, cpu = time.perf_counter(), time.process_time()
    run = replay(open_session, asr, samples, feed_s=_FEED_S, clock="cpu")
    return {
        "wall_s": round(time.perf_counter() - start, 3),
        "cpu_s": round(time.process_time() - cpu, 3),
        "steps": run.steps,
        "updates": len(run.updates),
        "real_time_factor": round((run.compute_s or 0.0) / (len(samples) / 16_000), 4),
    }


def _throughput(asr: MegaASR, samples: Samples, count: int) -> Row:
    """Return how fast so many sessions at once are transcribed, fed as fast as they take it."""
    from megaasr.stream.scheduler import StreamScheduler

    size = round(_FEED_S * 16_000)
    finals = [0] * count

    def transcribe(number: int) -> None:
        with scheduler.open() as stream:
            feeding = Thread(target=feed, args=[stream])
            feeding.start()
            finals[number] = sum(event.type == "final" for event in stream.events())
            feeding.join()

    def feed(stream: Any) -> None:
        for start in range(0, len(samples), size):
            stream.feed(samples[start : start + size])
        stream.finish()

    with StreamScheduler(asr) as scheduler:
        start = time.perf_counter()
        threads = [Thread(target=transcribe, args=[number]) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall_s = time.perf_counter() - start
        use = scheduler.use()
    return {
        "what": f"{count} session{'s' if count > 1 else ''}",
        "wall_s": round(wall_s, 3),
        "rtfx_wall": round(count * len(samples) / 16_000 / wall_s, 3),
        "requests_per_batch": round(use.requests / max(1, use.batches), 2),
        "finals": sum(finals),
    }


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each way, and for each number of sessions."""
    used = entry["settings"]
    lines = []
    for row in entry["rows"]:
        if "steps" in row:
            lines.append(
                [
                    row["what"],
                    f"{row['cpu_s']:.1f}",
                    f"{row['real_time_factor']:.3f}",
                    str(row["steps"]),
                    f"{row['ours_times_this']:.2f}",
                ]
            )
        else:
            times = row.get("times_one_session")
            lines.append(
                [
                    row["what"],
                    "–",
                    f"{1 / row['rtfx_wall']:.3f}",
                    f"{row['requests_per_batch']:.2f} a batch",
                    f"{times:.2f} × the throughput of one" if times else "–",
                ]
            )
    note = (
        f"{used['audio_s']:g} s of speech with pauses, in blocks of {used['feed_s']:g} s; a random "
        f"model of {used['millions']} million parameters that writes {used['words_per_s']:g} "
        "tokens for each second of audio. × ours: CPU time over that of the first line. Sessions: "
        "a tenth of the recording in each, at once."
    )
    return Table(
        "streaming",
        note,
        ("way", "CPU s", "seconds per second of audio", "requests", "× ours"),
        lines,
    )
