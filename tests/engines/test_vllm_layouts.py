"""The engine vllm with a checkpoint in the original layout, without adapter, in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vllm

ORIGINAL = Path(__file__).parents[1] / "golden" / "original_layout"
PROGRAM = """
import sys
from importlib import resources
from pathlib import Path

from megaasr.audio.files import read
from megaasr.model.engine_limits import EngineLimits
from megaasr.model.engines import load_on_vllm, load_speech_model
from megaasr.model.interface import Request

clips = sorted(Path(str(resources.files("megaasr.cli") / "demo_clips")).glob("*.flac"))[:4]
requests = [Request(read(clip).samples) for clip in clips]
expected = load_speech_model(sys.argv[1]).recognize(requests)
results = load_on_vllm(sys.argv[1], limits=EngineLimits(max_num_seqs=4)).recognize(requests)
for result, other in zip(results, expected, strict=True):
    assert result.token_ids == other.token_ids
    assert result.budget_hit and other.budget_hit  # the weights are random
    assert abs(result.mean_logprob - other.mean_logprob) < 2e-5
print("equal", len(results))
"""


def test_a_checkpoint_in_the_original_layout_gives_the_same_tokens() -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ORIGINAL)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "equal 4" in process.stdout
