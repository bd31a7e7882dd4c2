"""Let llama.cpp load a model and decode a chunk of 30 s: PROGRAM MODEL ENCODER TOKENS."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.children import noise
from megaasr import strict_json

_TIMES = (r"prompt eval time =\s*([\d.]+) ms", r"(?<!prompt )eval time =\s*([\d.]+) ms")
"""What the program prints of the prompt, with the encoder's time in it, and of the tokens."""
_RUNS = r"(?<!prompt )eval time =.*/\s*(\d+) runs"


def main(program: str, model: str, encoder: str, tokens: str) -> None:
    """Measure how long its parts take, and how much memory the process needs."""
    import soundfile

    audio = Path(model).with_name("noise.wav")
    soundfile.write(audio, noise(), 16_000)
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    command = [program, "--model", model, "--mmproj", encoder, "--audio", str(audio)]
    command += ["--prompt", " ", "--predict", tokens, "--ignore-eos", "--temp", "0"]
    command += ["--ctx-size", "2048", "--threads", threads, "--perf"]
    command += ["--log-verbosity", "4"]  # the times are told there
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - start
    log = done.stdout + done.stderr
    try:
        transcribe_s = sum(_parsed(pattern, log) for pattern in _TIMES) / 1000
        runs = _parsed(_RUNS, log)
    except ValueError as error:
        sys.exit(f"{error} in what {program} printed (exit status {done.returncode}):\n{log}")
    if runs < int(tokens) - 1:
        sys.exit(f"{program} generated {runs:.0f} tokens instead of {tokens}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    times = {"load_s": wall_s - transcribe_s, "transcribe_s": transcribe_s}
    print(strict_json.dumps({**times, "peak_mb": round(peak, 1)}))


def _parsed(pattern: str, log: str) -> float:
    match = re.search(pattern, log)
    if match is None:
        raise ValueError(f"{pattern} is missing")
    return float(match[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
