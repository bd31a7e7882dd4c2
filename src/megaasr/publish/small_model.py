"""Publish the model of `mega-asr recipe small`: its files, results, card and Whisper's licence."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.publish.base_model import copy_model
from megaasr.publish.pack import CARD_FILE, count_parameters
from megaasr.report.model_card import RESULTS_FILE
from megaasr.report.small_card import small_card, small_facts, small_results
from megaasr.transcribe.confidence import CALIBRATION_FILE

WHISPER_LICENCE = "LICENSE.whisper"


def is_small_run(run: Path) -> bool:
    """Return whether a folder is one of `mega-asr recipe small` with a trained decoder."""
    return (run / "decoder" / "model").is_dir()


def publish_small_model(run: Path, output: Path) -> None:
    """Copy the model, with its calibration of confidence if there is one; write `results.json` and
    the card from the recipe's benchmarks, and the licence of Whisper's layers.

    Args:
        run: folder of `mega-asr recipe small`.
        output: folder for the model.

    Raises:
        RecordError: a file that the card needs is missing.
    """
    results = small_results(run)
    copy_model(run / "decoder" / "model", output)
    calibration = run / "confidence" / CALIBRATION_FILE
    if calibration.is_file():
        shutil.copy2(calibration, output)
    facts = small_facts(run, output)
    facts["millions"] = count_parameters(output / "model.safetensors") / 1e6
    document = strict_json.dumps({"facts": facts, "lists": results}, indent=2) + "\n"
    write_atomically(output / RESULTS_FILE, document)
    write_atomically(output / CARD_FILE, small_card(facts, results))
    licence = resources.files("megaasr.publish") / WHISPER_LICENCE
    write_atomically(output / WHISPER_LICENCE, licence.read_text(encoding="utf-8"))
