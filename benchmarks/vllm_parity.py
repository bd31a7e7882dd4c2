"""Whether the engine vllm generates the tokens of the transformers path.

`python -m benchmarks.vllm_parity CLIPS`, in an environment with vLLM (`make vllm-test` builds one).
Half of the clips take the base branch, half the robust one, in the same batches. For each clip
whose tokens differ, the transformers path scores both next tokens after what they have in common:
a small margin means that rounding decided. It measures no time and is therefore not among the
benchmarks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from megaasr import strict_json
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import MAX_CHUNK_S, Recognition, Request
from megaasr.model.prompt import TURN_END, token_id
from megaasr.score.test_set import read_test_set

NEAR_TIE = 1e-3
"""Differences of log-probabilities, in nats, up to which rounding may decide."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A clip whose tokens differ.

    Attributes:
        clip: id of the clip.
        route: branch that decoded it.
        texts: outputs of the transformers path and of vLLM.
        margin: by how much the transformers path prefers its next token to vLLM's, in nats.
    """

    clip: str
    route: str
    texts: tuple[str, str]
    margin: float


def main() -> None:
    """Print the share of equal clips and every difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="test set, as for mega-asr bench")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=300, help="number of clips")
    parser.add_argument("--batch-size", type=int, default=32, help="clips in a batch")
    parser.add_argument("--output", type=Path, help="JSON file of the result")
    arguments = parser.parse_args()
    names, requests = read_requests(arguments.clips, arguments.limit)

    from megaasr.model.engines import load_speech_model

    # In this order: vLLM takes hold of torch's threads when it starts.
    reference = load_speech_model(arguments.model, batch_size=arguments.batch_size)
    expected = recognize(reference, requests, arguments.batch_size)
    engine = load_speech_model(arguments.model, engine="vllm", batch_size=arguments.batch_size)
    results = recognize(engine, requests, arguments.batch_size)
    report = compare(reference, names, requests, expected, results)
    print(strict_json.dumps(report, indent=1, ensure_ascii=False))
    if arguments.output is not None:
        arguments.output.write_text(strict_json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read_requests(path: Path, limit: int) -> tuple[list[str], list[Request]]:
    """Return the ids of clips and their requests, alternately for the base and the robust branch.

    Clips that no chunk holds are left out.

    Raises:
        BenchmarkError: there are fewer clips than `limit`.
    """
    clips = read_test_set(path)
    names: list[str] = []
    requests: list[Request] = []
    for clip in clips.clips:
        samples = read_clip(clips.audio_root, clip.audio).samples
        if samples.size > MAX_CHUNK_S * SAMPLE_RATE:
            continue
        names.append(clip.id)
        requests.append(Request(samples, route="robust" if len(requests) % 2 else "base"))
        if len(requests) == limit:
            return names, requests
    raise BenchmarkError(f"{path} has {len(requests)} clips of at most {MAX_CHUNK_S:g} s")


def recognize(model: Any, requests: Sequence[Request], size: int) -> list[Recognition]:
    """Return the recognitions of requests, in batches of `size`."""
    batches = (requests[start : start + size] for start in range(0, len(requests), size))
    return [result for batch in batches for result in model.recognize(batch)]


def compare(
    reference: Any,
    names: Sequence[str],
    requests: Sequence[Request],
    expected: Sequence[Recognition],
    results: Sequence[Recognition],
) -> dict[str, Any]:
    """Return the share of equal clips, and the clips that differ.

    Args:
        reference: the model of the transformers path.
        names: ids of the clips.
        requests: their requests.
        expected: results of the transformers path.
        results: results of vLLM.
    """
    differences = [
        _difference(reference, name, request, before, after)
        for name, request, before, after in zip(names, requests, expected, results, strict=True)
        if before.token_ids != after.token_ids
    ]
    shifts = [
        abs((before.mean_logprob or 0.0) - (after.mean_logprob or 0.0))
        for before, after in zip(expected, results, strict=True)
        if before.token_ids == after.token_ids
    ]
    return {
        "model": reference.name,
        "clips": len(names),
        "robust": sum(request.route == "robust" for request in requests),
        "equal": len(names) - len(differences),
        "share_equal": round(1 - len(differences) / len(names), 4),
        "largest_shift_of_mean_logprob": max(shifts, default=0.0),
        "near_ties": sum(difference.margin <= NEAR_TIE for difference in differences),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "differences": [
            {
                "clip": difference.clip,
                "route": difference.route,
                "transformers": difference.texts[0],
                "vllm": difference.texts[1],
                "margin": difference.margin,
            }
            for difference in differences
        ],
    }


def _difference(
    reference: Any, name: str, request: Request, before: Recognition, after: Recognition
) -> Difference:
    import torch

    # With the end token: where only one of them ends, they differ in it.
    end = token_id(reference.processor.tokenizer, TURN_END)
    rows = [[*result.token_ids, end] for result in (before, after)]
    shared = next(i for i, pair in enumerate(zip(*rows, strict=False)) if pair[0] != pair[1])
    inputs = reference.inputs([request])
    ids = torch.cat([inputs["input_ids"], torch.tensor([rows[0][:shared]], dtype=torch.long)], 1)
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode(), reference.routed([request], inputs):
        scores = reference.model(**inputs).logits[0, -1].float().log_softmax(dim=-1)
    margin = float(scores[rows[0][shared]] - scores[rows[1][shared]])
    return Difference(name, request.route, (before.raw, after.raw), margin)


if __name__ == "__main__":
    main()
