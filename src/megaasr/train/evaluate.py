"""Error rate on a manifest during training from scratch: greedy decoding with current weights."""

from __future__ import annotations

import time
from pathlib import Path

from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr.audio import files
from megaasr.model.interface import Request
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.records import read_manifest
from megaasr.text.error_rate import count_errors, pooled
from megaasr.train.modes import evaluation_mode


def dev_error_rate(
    model: Qwen3ASRForConditionalGeneration,
    processor: Qwen3ASRProcessor,
    manifest: Path,
    clips: int,
    *,
    batch_size: int = 32,
) -> dict[str, float]:
    """Return validation metrics: word error rate on speech, share of other clips with words.

    Args:
        model: native model; it is in its previous mode (training, evaluation) afterwards.
        processor: processor of the model.
        manifest: manifest (JSONL); clips are taken from it at even intervals.
        clips: number of clips.
        batch_size: clips in one batch.
    """
    started = time.monotonic()
    utterances = list(read_manifest(manifest))
    count = min(clips, len(utterances))
    chosen = [utterances[i * len(utterances) // count] for i in range(count)]
    with evaluation_mode(model):
        recognizer = Qwen3ASR("training", model, processor, batch_size)
        requests = [Request(files.read(manifest.parent / u.audio).samples) for u in chosen]
        hypotheses = [recognition.text for recognition in recognizer.recognize(requests)]
    pairs = list(zip(chosen, hypotheses, strict=True))
    counts = pooled(count_errors(u.text, hypothesis) for u, hypothesis in pairs if u.text)
    nonspeech = [hypothesis for u, hypothesis in pairs if not u.text]
    words = max(1, counts.reference_length)
    return {
        "dev_wer": round(counts.rate, 4),
        "dev_deletions": round(counts.deletions / words, 4),
        "dev_insertions": round(counts.insertions / words, 4),
        "dev_words_on_nonspeech": round(sum(map(bool, nonspeech)) / max(1, len(nonspeech)), 4),
        "dev_seconds": round(time.monotonic() - started, 1),
    }
