"""Fine-tune an adapter for tiny on a manifest of your clips: train_adapter.py MANIFEST OUTPUT

A manifest has one JSON object per line: id, audio (relative to the manifest), text, language,
duration_s. It needs: pip install '.[train]'. For the paper's recipe: mega-asr train sft.
"""

import sys
from pathlib import Path

from megaasr import MegaASR
from megaasr.records import read_manifest
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe
from megaasr.train.sft.trainer import SFTTrainer


def main(manifest: Path, output: Path) -> None:
    """Train one phase on all layers, then transcribe the first clip with the adapter."""
    phase = PhaseRecipe(name="all", scope="all", stages=(None,), epochs=2)
    recipe = SFTRecipe(
        model="tiny",
        data=(manifest,),
        dev=(manifest,),  # use other speakers and sentences than in `data`
        seed=1,
        phases=(phase,),
        batch_size=4,
        device_batch_size=4,
        loader_workers=0,
    )
    result = SFTTrainer(recipe, output).train()  # resumes the run if one exists
    asr = MegaASR.from_pretrained("tiny", adapter=result.path, route="robust")
    first = next(read_manifest(manifest))
    print(f"reference: {first.text}")
    print(f"hypothesis: {asr.transcribe(manifest.parent / first.audio).text}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
