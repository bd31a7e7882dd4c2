"""What every engine requires of a request, and how many tokens it may generate for it."""

from __future__ import annotations

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.model.geometry import MAX_CHUNK_SAMPLES
from megaasr.model.interface import MAX_CHUNK_S, Request

# Fast speech has about 6 words per second; small tokenizers need up to 3 tokens per word.
BUDGET_TOKENS_PER_S = 15
MIN_BUDGET_TOKENS = 32


def token_budget(duration_s: float) -> int:
    """Return the maximum number of tokens to generate for a chunk of `duration_s` seconds."""
    return MIN_BUDGET_TOKENS + round(BUDGET_TOKENS_PER_S * duration_s)


def check_request(request: Request, model: str, *, has_robust_route: bool) -> None:
    """Raise a UsageError for a request that a model cannot take.

    Args:
        request: the request.
        model: name of the model, for the message.
        has_robust_route: whether the model has an adapter.
    """
    if not 0 < request.samples.size <= MAX_CHUNK_SAMPLES:
        seconds = request.samples.size / SAMPLE_RATE
        raise UsageError(f"a chunk of {seconds:.3f} s; the model takes 0 to {MAX_CHUNK_S:g} s")
    if request.prefix and request.language is None:
        raise UsageError(f"the prefix {request.prefix!r} needs its language")
    if request.route == "robust" and not has_robust_route:
        raise UsageError(f"{model} has no adapter, so there is no robust route")
