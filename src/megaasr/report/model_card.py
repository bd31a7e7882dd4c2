"""The model card of a base model that was trained here, made from the files of run and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from megaasr.report.parts_card import parts_section
from megaasr.score.intervals import TOO_FEW

PARTS_FILE, RESULTS_FILE = "parts.json", "results.json"
_CARD = """---
license: apache-2.0
language: [en]
pipeline_tag: automatic-speech-recognition
tags: [qwen3_asr, demonstration, synthetic-speech]
---

# {name}: a demonstration and test model

**{name} is a toy.** It has {millions:.1f} million parameters (Qwen3-ASR-1.7B has four hundred times
as many), was trained from scratch on synthesised English speech of a generated vocabulary, and
was never trained on human speech. Do not use it to transcribe real recordings: it will write wrong
words. It exists so that every part of Mega-ASR can be run, tested and shown offline on a laptop.

## What it is
Qwen3-ASR's architecture, prompt and output format at toy size, in transformers' native layout:
encoder {encoder}, decoder {decoder}, byte-level BPE of {vocabulary} entries. Weights are stored in
16 bit ({size_mb:.1f} MB); every figure below was measured on the stored weights.
SHA-256 of the weights: `{weights_sha256}`.

## Data
{train_clips} training clips, {train_hours:.1f} hours, made by `mega-asr synthesize {corpus_recipe}`
(seed {corpus_seed}): sentences of a generator, spoken by flite (slt, rms, kal16) and
espeak-ng (English accents and speaker variants) at varied tempo, pitch and level. No sentence is
in two splits. Held out for the test: flite awb; espeak-ng's Scottish accent and the variants f5
and m7. {nonspeech} of the training clips hold no speech. SHA-256 of the test split's manifest:
`{test_sha256}`.

## Training
`mega-asr train base {recipe}` (seed {seed}): {steps} steps, the last
{decay_steps} with decaying learning rate; {heard_hours:.0f} hours of audio seen in {train_time_hours:.1f} hours on
{hardware}. Cross-entropy on the transcript plus an auxiliary
CTC loss on phonemes (its head is dropped), SpecAugment, mild stationary noise, joined clips of up
to 30 s, clips with context text, clips without speech. Libraries: {versions}.

## Results
Greedy decoding; case and punctuation ignored (normaliser `bench`); word error rate in per cent
with the 95 % bootstrap interval over clips. Made by `mega-asr publish RUN --corpus CORPUS --output {name}`.

{table}

The rows overlap. Those by length split the generator's sentences in trained voices and the utterances
joined from them (up to 30 s, in no other row); those by voice split the second row.

{nonspeech_sentence}
{budget_sentence}

## Limits
- English only; its training speech has about {words} distinct words. Other words are spelled
  phonetically, mostly wrongly (see the hand-written sentences, which it was not made for).
- Synthetic voices only. It is worse on held-out voices, and unusable on people.
- It is much worse on degraded audio. That is intended: it is the frozen base against which the
  robust adapter and the routing of Mega-ASR are measured.
"""


def model_card(
    facts: dict[str, Any], results: dict[str, Any], parts: dict[str, Any] | None = None
) -> str:
    """Return the card as Markdown.

    Args:
        facts: a value for every field of the template that is not made from the results, see
            `megaasr.publish.base_model`.
        results: summary of the measurement, see `megaasr.score.corpus_summary.summarize`.
        parts: facts about adapter and router, see `parts_card`; None without them.
    """
    card = _CARD.format(
        **facts,
        table=results_table(results),
        nonspeech_sentence=_nonspeech_sentence(results["nonspeech"]),
        budget_sentence=(
            f"The token budget ended the text of {results['token_budget_hits']} clips."
        ),
    )
    return card if parts is None else card + parts_section(parts)


def results_table(results: dict[str, Any]) -> str:
    """Return the error rates as a Markdown table with one row per group of clips."""
    rows = [
        "| test clips | clips | words | WER % | 95 % interval | sub | del | ins |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in results["word_error_rate"].items():
        rows.append(
            f"| {name} | {group['clips']} | {group['words']} | {_percent(group['rate'])} "
            f"| {_interval(group)} | {group['substitutions']} | {group['deletions']} "
            f"| {group['insertions']} |"
        )
    return "\n".join(rows)


def results_section(results: dict[str, Any]) -> str:
    """Return the table, and a sentence about clips without speech, for the README."""
    return f"{results_table(results)}\n\n{_nonspeech_sentence(results['nonspeech'])}"


def _nonspeech_sentence(silent: dict[str, Any] | None) -> str:
    if silent is None:
        return "No test clip was without speech."
    return (
        f"Words on {silent['with_words']} of {silent['clips']} clips without speech "
        f"({_percent(silent['rate'])} %, interval {_interval(silent)})."
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with a JSON object."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _interval(group: dict[str, Any]) -> str:
    if group["interval"] is None:
        return TOO_FEW
    low, high = group["interval"]
    return f"{_percent(low)} to {_percent(high)}"
