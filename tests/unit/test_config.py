from pathlib import Path

import pytest

from megaasr.config import load_recipe, shipped_recipes
from megaasr.errors import UsageError
from megaasr.pipeline.recipe import PipelineRecipe
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.synthesize.open_text import TextRecipe
from megaasr.synthesize.plan import CorpusRecipe
from megaasr.synthesize.speech_plan import SpeechRecipe
from megaasr.train.base.recipe import BaseRecipe
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.router.recipe import RouterRecipe
from megaasr.train.sft.recipe import SFTRecipe
from megaasr.train.small.decoder_recipe import DecoderRecipe
from megaasr.train.small.frames import FramesRecipe
from megaasr.train.small.language_model import LanguageModelRecipe
from megaasr.train.small.stem import StemRecipe

KINDS = {
    "encode-small": FramesRecipe,
    "pipeline-compare-adapters": PipelineRecipe,
    "pipeline-compare-rl": PipelineRecipe,
    "pipeline-compare-sft": PipelineRecipe,
    "pipeline-compare-routers": PipelineRecipe,
    "pipeline-small": PipelineRecipe,
    "pipeline-tiny": PipelineRecipe,
    "rl-1.7b": RLRecipe,
    "rl-tiny": RLRecipe,
    "router-released": RouterRecipe,
    "router-tiny": RouterRecipe,
    "sft-1.7b": SFTRecipe,
    "sft-tiny": SFTRecipe,
    "sft-tiny-more": SFTRecipe,
    "sft-tiny-plain": SFTRecipe,
    "simulate-default": SimulatedCorpusRecipe,
    "simulate-degraded-test": SimulatedCorpusRecipe,
    "simulate-degraded-test-v2": SimulatedCorpusRecipe,
    "simulate-human-test": SimulatedCorpusRecipe,
    "simulate-stress-test": SimulatedCorpusRecipe,
    "simulate-train-compound-tiny": SimulatedCorpusRecipe,
    "simulate-train-extra-tiny": SimulatedCorpusRecipe,
    "simulate-train-tiny": SimulatedCorpusRecipe,
    "synthesize-small": SpeechRecipe,
    "synthesize-tiny": CorpusRecipe,
    "text-small": TextRecipe,
    "train-base-tiny": BaseRecipe,
    "train-ctc-small": DecoderRecipe,
    "train-decoder-small": DecoderRecipe,
    "train-lm-small": LanguageModelRecipe,
    "train-stem-small": StemRecipe,
}


def test_every_shipped_recipe_is_valid() -> None:
    assert set(shipped_recipes()) == set(KINDS)
    for name, kind in KINDS.items():
        load_recipe(kind, name)


def test_overrides_reach_entries_of_lists() -> None:
    recipe = load_recipe(SFTRecipe, "sft-tiny", ["phases.1.sample=7", "phases.0.rates.encoder=0.5"])
    assert recipe.phases[1].sample == 7
    assert recipe.phases[0].rates.encoder == 0.5
    for override in ("phases.9.sample=7", "phases.first.sample=7"):
        with pytest.raises(UsageError, match="is a value, not a table"):
            load_recipe(SFTRecipe, "sft-tiny", [override])
    with pytest.raises(UsageError, match="is a list"):
        load_recipe(SFTRecipe, "sft-tiny", ["phases.0=7"])


def test_overrides_reach_tables() -> None:
    recipe = load_recipe(
        BaseRecipe, "train-base-tiny", ["optimizer.learning_rate=0.5", "corpus=here/it is"]
    )
    assert recipe.optimizer.learning_rate == 0.5
    assert recipe.corpus == Path("here/it is")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rat=1", "did you mean learning_rate"),
        ("stepps=1", "did you mean steps"),
        ("zzz=1", "known here: .*seed"),
        ("steps=0", "steps: .*greater than 0"),
        ("steps=many", "steps: .*integer.*'many'"),
        ("steps", "table.field=value"),
        ("seed.x=1", "seed is a value"),
        ("seed=4294967296", "seed: .*less than"),
    ],
)
def test_wrong_overrides_are_explained(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(BaseRecipe, "train-base-tiny", [override])


def test_a_missing_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="synthesize-tiny"):
        load_recipe(CorpusRecipe, "nonsense")
    with pytest.raises(UsageError, match="synthesize-tiny"):
        load_recipe(CorpusRecipe, "n" * 300)
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_recipe(CorpusRecipe, broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_recipe(CorpusRecipe, broken)


def test_missing_fields_are_named(tmp_path: Path) -> None:
    recipe = tmp_path / "short.toml"
    recipe.write_text("seed = 1")
    with pytest.raises(UsageError, match="train: Field required"):
        load_recipe(CorpusRecipe, recipe)
