"""The model card of `small`, made from the folder of its recipe and the benchmarks in it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from megaasr.errors import RecordError
from megaasr.hashing import file_sha256
from megaasr.records import read_manifest
from megaasr.report.wording import format_interval
from megaasr.score.result import OVERALL, Result

BENCHES = {
    "bench-human": "people (human test half)",
    "bench-speech": "synthetic speech (test split)",
    "bench-tiny": "tiny's test split",
}
"""Titles of the card's tables, by the benchmark's folder below the recipe's folder."""
_BREAK_DOWNS = (OVERALL, "voice", "duration")

_CARD = """---
license: apache-2.0
language: [en]
pipeline_tag: automatic-speech-recognition
tags: [qwen3_asr, small, whisper-encoder, synthetic-speech]
---

# small: an embedded base for human speech

**Where the encoder is from:** its {encoder_layers} transformer layers are those of OpenAI's
Whisper-base (MIT licence), unchanged. The convolutions below them were fitted here to imitate Whisper's stem; the
projector and the decoder above them were trained here, on synthesised speech only. We trained on no
recording of a human being; Whisper was trained on 680,000 hours of them.

It is for English, on clean to mildly degraded recordings, offline on a laptop. It has {millions:.1f} million
parameters; for real work use the released weights (`zhifeixie/Mega-ASR`, `Qwen/Qwen3-ASR-1.7B`).

## What it is
Qwen3-ASR's classes, prompt and output format in transformers' native layout. Encoder: {encoder_layers} layers
of width {encoder_width}, {tokens_per_s:g} tokens a second, one chunk of {chunk_s:g} s. Decoder: {decoder_layers} layers of
width {decoder_width}, byte-level BPE of {vocabulary} entries. Weights in 16 bit ({size_mb:.1f} MB); every figure
below was measured on the stored weights. SHA-256 of the weights: `{weights_sha256}`.

Plain transformers load it, but their processor pads for Qwen3-ASR's own chunks unless it is told otherwise:

```python
processor = AutoProcessor.from_pretrained(FOLDER)
window = {{"n_window": processor.feature_extractor.n_window}}
inputs = processor.apply_transcription_request(audio=samples, audio_kwargs=window)
```

## Data
Text: {sentences} sentences, {distinct_words} distinct words, from packages of Debian and PyPI and from templates
(`mega-asr text text-small`; SHA-256 `{sentences_sha256}`):
{text_sources}.
Speech: {train_clips} training clips, {train_hours:.1f} hours (`mega-asr synthesize synthesize-small`), by engine:
{speech_engines}. Held-out voices are in the test split only.

## Training
Stem: {stem_steps} steps, R² {stem_r2} on dev. Language model: {lm_steps} steps, {lm_bits} bits per word on dev. Projector:
{ctc_steps} steps of CTC on phonemes. Decoder: {decoder_steps} steps, {heard_hours:.0f} hours of audio in {decoder_hours:.1f} hours on
{cores} CPU cores; a part of the audio is text whose encoder frames are concatenated from words and phonemes of the speech.
{start}The chain of commands is `mega-asr recipe small`. Libraries: {versions}.

## Results
Greedy decoding, with retries where a check fails; no routing. Word error rate in per cent with 95 % bootstrap intervals,
normaliser `{normalizer}`. The judge is Whisper-base itself (`make judge`).

{tables}

## Limits
- English only. Rare words and names are spelled phonetically.
- Information that the encoder loses is lost for the decoder: it is not better than Whisper-base anywhere.
- The decoder was trained on synthetic voices only: hesitations, overlapping speech and strong accents were
  never in its data.
"""

_CONTINUED = """These steps were not the first: projector and decoder started from the weights of earlier runs, which
docs/small.md describes.
"""


def small_facts(run: Path, model: Path) -> dict[str, Any]:
    """Return the facts of the card, from the folder of the recipe.

    Args:
        run: the recipe's folder, with `text/`, `speech/`, `stem/`, `lm/`, `ctc/` and
            `decoder/`.
        model: folder of the published model.

    Raises:
        RecordError: a file is missing.
    """
    config = _read(model / "config.json")
    audio, text = config["audio_config"], config["text_config"]
    extractor = _read(model / "processor_config.json")["feature_extractor"]
    sources = _read(run / "text" / "sources.json")
    weights = model / "model.safetensors"
    frames_per_s = 16_000 / extractor["hop_length"]
    return {
        "encoder_layers": audio["encoder_layers"],
        "encoder_width": audio["d_model"],
        "tokens_per_s": frames_per_s / 8,
        "chunk_s": 2 * audio["n_window"] / frames_per_s,
        "decoder_layers": text["num_hidden_layers"],
        "decoder_width": text["hidden_size"],
        "vocabulary": text["vocab_size"],
        "size_mb": weights.stat().st_size / 1e6,
        "weights_sha256": file_sha256(weights),
        "sentences": sources["sentences"],
        "distinct_words": sources["distinct_words"],
        "sentences_sha256": file_sha256(run / "text" / "sentences.jsonl"),
        "text_sources": ", ".join(
            f"{source['name']} ({source['sentences']}, {source['licence']})"
            for source in sources["sources"]
        ),
        **_speech_facts(run / "speech", run / "decoder"),
        **_training_facts(run),
    }


def small_results(run: Path) -> dict[str, Any]:
    """Return the rates of every benchmark in the recipe's folder, by the table's title.

    Raises:
        RecordError: there is no benchmark.
    """
    results: dict[str, Any] = {}
    for folder, title in BENCHES.items():
        path = run / folder / "result.json"
        if path.is_file():
            results[title] = _extract_rates(Result.read(path))
    if not results:
        raise RecordError(f"{run} holds no result of mega-asr bench ({', '.join(BENCHES)})")
    return results


def small_card(facts: dict[str, Any], results: dict[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        facts: the facts that `small_facts` returns, and `millions` of parameters.
        results: the rates that `small_results` returns.
    """
    normalizer = next(iter(results.values()))["normalizer"]
    tables = "\n\n".join(_table(title, rates) for title, rates in results.items())
    return _CARD.format(**facts, normalizer=normalizer, tables=tables)


def _extract_rates(result: Result) -> dict[str, Any]:
    normalizer = result.headline_normalizer
    rows = [
        {
            "group": "all" if group.by == OVERALL else f"{group.by} {group.name}",
            "system": system,
            "clips": rate.clips,
            "words": sum(rate.counts[:3]),
            "rate": round(rate.rate, 5),
            "interval": rate.interval and [round(value, 5) for value in rate.interval],
        }
        for by in _BREAK_DOWNS
        for group in result.groups_by(by)
        for system, rates in group.rates.items()
        for rate in (rates[normalizer],)
    ]
    silent = [clip for clip in result.clips if not clip.text]
    words_on_silence = {
        system.name: sum(bool(clip.hypotheses[system.name].text) for clip in silent)
        for system in result.systems
    }
    return {
        "command": result.command,
        "normalizer": normalizer,
        "rows": rows,
        "nonspeech_clips": len(silent),
        "nonspeech_with_words": words_on_silence,
    }


def _table(title: str, rates: dict[str, Any]) -> str:
    lines = [
        f"**{title}** (`{rates['command']}`)",
        "",
        "| clips | system | clips | words | WER % | 95 % interval |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rates["rows"]:
        lines.append(
            f"| {row['group']} | {row['system']} | {row['clips']} | {row['words']} "
            f"| {100 * row['rate']:.1f} | {format_interval(row['interval'])} |"
        )
    if rates["nonspeech_clips"]:
        counts = ", ".join(f"{n} {name}" for name, n in rates["nonspeech_with_words"].items())
        lines += ["", f"Words on clips without speech, of {rates['nonspeech_clips']}: {counts}."]
    return "\n".join(lines)


def _speech_facts(speech: Path, decoder: Path) -> dict[str, Any]:
    """Return clips and hours of the manifests that the decoder was trained on, by engine."""
    phases = _read(decoder / "recipe.json")["phases"]
    names = dict.fromkeys(name for phase in phases for name in phase["manifests"])
    hours: dict[str, float] = defaultdict(float)
    clips = 0
    for name in names:
        for utterance in read_manifest(speech / name):
            engine = str(utterance.extra.get("speaker", "no speech")).split(":")[0]
            hours[engine] += float(utterance.extra["duration_s"]) / 3600
            clips += 1
    return {
        "train_clips": clips,
        "train_hours": sum(hours.values()),
        "speech_engines": ", ".join(f"{name} {h:.1f} h" for name, h in sorted(hours.items())),
    }


def _training_facts(run: Path) -> dict[str, Any]:
    versions = _read(run / "decoder" / "versions.json")
    continued = _read(run / "ctc" / "recipe.json").get("model") is not None
    decoder = _metrics(run / "decoder")
    steps = {row["step"]: row for row in decoder if "audio_s_per_s" in row}
    seconds = sum(row["seconds"] for row in decoder if "audio_s_per_s" in row)
    audio_s = sum(row["audio_s_per_s"] * row["seconds"] for row in steps.values())
    stem, lm = _metrics(run / "stem"), _metrics(run / "lm")
    return {
        "stem_steps": stem[-1]["step"],
        "stem_r2": _last(stem, "dev_r2"),
        "lm_steps": lm[-1]["step"],
        "lm_bits": _last(lm, "dev_bits_per_word"),
        "ctc_steps": _metrics(run / "ctc")[-1]["step"],
        "decoder_steps": decoder[-1]["step"],
        "heard_hours": audio_s / 3600,
        "decoder_hours": seconds / 3600,
        "cores": versions["cores"],
        "start": _CONTINUED if continued else "",
        "versions": ", ".join(
            f"{name} {version}" for name, version in versions.items() if name != "cores"
        ),
    }


def _last(rows: list[dict[str, Any]], metric: str) -> float:
    return next(float(row[metric]) for row in reversed(rows) if metric in row)


def _metrics(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecordError(f"there is no {path}, which the model card needs") from error
    return [json.loads(line) for line in lines]


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"there is no {path}, which the model card needs") from error
    return values
