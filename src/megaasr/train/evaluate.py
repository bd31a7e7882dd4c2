"""Error rate on a manifest during training: greedy decoding with the weights as they are."""

from __future__ import annotations

import time
from pathlib import Path

from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr.audio import files
from megaasr.model.interface import Request
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.records import read_manifest
from megaasr.text.error_rate import count_errors, pooled


def dev_error_rate(
    model: Qwen3ASRForConditionalGeneration,
    processor: Qwen3ASRProcessor,
    manifest: Path,
    clips: int,
    *,
    batch_size: int = 32,
) -> dict[str, float]:
    """Return the pooled word error rate on speech, and the share of other clips with words.

    Args:
        model: the native model; left in training mode afterwards if it was.
        processor: its processor.
        manifest: JSONL; clips are taken evenly from its whole length.
        clips: how many.
    """
    started = time.monotonic()
    utterances = list(read_manifest(manifest))
    count = min(clips, len(utterances))
    chosen = [utterances[i * len(utterances) // count] for i in range(count)]
    was_training = model.training
    model.train(False)
    recognizer = Qwen3ASR("training", model, processor, batch_size)
    requests = [Request(files.read(manifest.parent / u.audio).samples) for u in chosen]
    texts = [found.text for found in recognizer.recognize(requests)]
    model.train(was_training)
    pairs = list(zip(chosen, texts, strict=True))
    counts = pooled(count_errors(u.text, text) for u, text in pairs if u.text)
    silent = [text for u, text in pairs if not u.text]
    return {
        "dev_wer": round(counts.rate, 4),
        "dev_deletions": round(counts.deletions / max(1, counts.reference_length), 4),
        "dev_insertions": round(counts.insertions / max(1, counts.reference_length), 4),
        "dev_words_on_nonspeech": round(sum(map(bool, silent)) / max(1, len(silent)), 4),
        "dev_seconds": round(time.monotonic() - started, 1),
    }
