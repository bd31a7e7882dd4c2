"""The `README.md` of a data set, from whose header `datasets` (Hugging Face) finds the shards."""

from __future__ import annotations

from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe

CARD_FILE = "README.md"

_TEXT = """\
---
configs:
- config_name: default
  data_files:
  - split: {split}
    path: {split}-*.parquet
---
# Simulated bad recordings

Made by `mega-asr simulate corpus`. `recipe.json` says from what, `summary.json` what it holds.

    from datasets import load_dataset
    clips = load_dataset("path/of/this/folder", split="{split}")

`draw` is the complete log of a clip: with its source (`parent_audio` of the manifest),
`Simulator.apply` makes the same samples again.
"""


def write_card(output: Path, recipe: SimulatedCorpusRecipe) -> None:
    """Write the card, unless the folder has one, which may have been edited.

    Raises:
        OSError: the file cannot be written.
    """
    if not (output / CARD_FILE).exists():
        write_atomically(output / CARD_FILE, _TEXT.format(split=recipe.split))
