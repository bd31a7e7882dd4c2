"""Our effects give what those in use give: against stored results, and live where installed."""

from __future__ import annotations

import math
from typing import Any

import make_reference_effects as made
import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.audio import Waveform
from megaasr.audio.waveform import Samples
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives.loudness import integrated_lufs
from megaasr.simulate.simulator import Simulator

GOLDEN = np.load(made.FILE)
EXAMPLES = made.examples()
PRIMITIVE_DB, CHAIN_DB = 100, 90  # signal to error in dB
SOUND = GOLDEN["input"].astype(np.float32) / np.float32(32768)
SIMULATOR: Any = Simulator(noise=made.Tape(), compounds=Compounds.LITERAL)  # type: ignore[arg-type]


def ours(steps: list[Any], x: Samples) -> Samples:
    draw = SIMULATOR.draw(seed=0, scenario="clean", severity=0.0)
    changed = draw.model_copy(update={"steps": tuple(steps)})
    done: Samples = SIMULATOR.apply(Waveform(x, made.RATE), changed).waveform.samples
    return done


def snr_db(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    error = np.square(actual.astype(float) - expected).sum()
    return 10 * math.log10(np.square(expected.astype(float)).sum() / max(error, 1e-30))


def bound_db(name: str) -> int:
    return PRIMITIVE_DB if name in made.PRIMITIVES else CHAIN_DB


@pytest.mark.parametrize("name", EXAMPLES)
def test_as_the_stored_results(name: str) -> None:
    actual = ours(EXAMPLES[name], SOUND)[:: made.EVERY]
    assert snr_db(GOLDEN[name], actual) > bound_db(name)


def test_loudness_as_stored() -> None:
    assert integrated_lufs(SOUND) == pytest.approx(float(GOLDEN["input_lufs"]), abs=0.001)


def test_the_stored_results_are_of_these_examples() -> None:
    assert set(GOLDEN.files) == {"input", "input_lufs", "versions", *EXAMPLES}
    assert np.abs(GOLDEN["input"] - made.signal()).max() <= 1
    assert made.FILE.stat().st_size < 300_000


def test_as_the_installed_effects() -> None:
    for package in ("pedalboard", "pyloudnorm", "librosa"):
        pytest.importorskip(package)
    for name, steps in EXAMPLES.items():
        expected = made.reference(steps, SOUND)
        assert snr_db(expected, ours(steps, SOUND)) > bound_db(name), name
        assert snr_db(expected[:: made.EVERY], GOLDEN[name]) > 110, name


def test_loudness_of_any_sound_as_installed() -> None:
    pytest.importorskip("pyloudnorm")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        samples = int(rng.integers(6400, 80_000))
        points = np.linspace(0, samples, 9)
        swell = np.interp(np.arange(samples), points, 10 ** rng.uniform(-3, 0, 9))
        x = (swell * rng.uniform(-1, 1, samples)).astype(np.float32)
        assert integrated_lufs(x) == pytest.approx(made.loudness_lufs(x), abs=0.001), seed
