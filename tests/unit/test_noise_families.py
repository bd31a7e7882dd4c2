"""Families of built-in noises: each must be, by numbers, what its name says, in every split."""

from __future__ import annotations

import hashlib
import mmap
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import spectrogram, welch

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.simulate.families import realisations
from megaasr.simulate.families.realisations import realisation, realisations_folder
from megaasr.simulate.families.registry import (
    CATEGORIES,
    GROUPS,
    REALISATIONS,
    SPLITS,
    generate,
    is_realisation,
    realisation_names,
)
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import AdditiveNoise
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.streams import stream, stream_key

RATE = 16_000
LENGTH = 20 * RATE
# SHA-256 of the first realisation. Draws name them: a change here changes what old draws give, and
# needs a new FAMILIES_VERSION, so that caches are not used.
DIGESTS = {
    "alarm": "e9502f2d9930b5ce",
    "applause": "75b735a9cb4acfa3",
    "babble": "ddffd7e9f661ea28",
    "baby": "c73e7b5be2f0c8da",
    "bells": "a351e9dfcaeb7f9f",
    "birds": "8720e0b7ab770b00",
    "clock": "e89c30ec0b61f6fd",
    "coloured": "e3e1a5f4317a80f4",
    "crackle": "998755bb6c520a39",
    "dishes": "34051ca9adfb24ba",
    "dogs": "e9625ae544e20039",
    "engine": "c22491c9335e134c",
    "fan": "b29bcd4477275401",
    "fire": "061ad904748a585c",
    "footsteps": "ce241b6f11e59bb0",
    "hum": "7714bdac69c07b0a",
    "insects": "01f3fcc3f84c8e17",
    "keyboard": "bf292bf09b6a00f0",
    "knocks": "a861b1187de5b9b7",
    "music": "bbd303afe9a3db96",
    "power_tool": "710023d76cd29464",
    "radio": "2f6f5e91ac563d68",
    "rain": "2dd51806bd7c0c33",
    "rustle": "3d0f3ebd9845302b",
    "sea": "75209db5b28ff921",
    "siren": "32e0ed8f8f196451",
    "stream": "a4d6cdb16b8107fc",
    "telephone": "527efa1effea4c4c",
    "traffic": "bc7148b1f7e1acef",
    "train": "21767816fb41aca1",
    "white": "33bfd999b33441c1",
    "wind": "002fe65205791134",
}


@cache
def waveform(name: str) -> NDArray[np.int16]:
    return generate(f"builtin:{name}")


def sound(name: str) -> Any:
    return waveform(name) / 2.0**15


def first_sounds(category: str, count: int = 3) -> list[Any]:
    return [sound(f"{category}/train-{number:02d}") for number in range(count)]


def rng(number: int = 0) -> np.random.Generator:
    return stream(stream_key(1, str(number), 0, "test"))


def kurtosis(samples: Any) -> float:
    return float(np.mean(samples**4) / np.mean(samples**2) ** 2)


def share_between(samples: Any, low_hz: float, high_hz: float) -> float:
    hertz, power = welch(samples, RATE, nperseg=4096)
    return float(power[(hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum())


def envelope(samples: Any, frame: int = 320) -> Any:
    return np.sqrt(np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).mean(1))


def peakiness(samples: Any) -> float:
    """Power of the strongest hundredth of the frequencies above 100 Hz; 0.05 for noise."""
    power = np.abs(np.fft.rfft(samples))[2000:] ** 2
    power = np.sort(power)[::-1]
    return float(power[: power.size // 100].sum() / power.sum())


def strongest_hz(samples: Any, low_hz: float = 100) -> Any:
    """The strongest frequency in each 64 ms that is loud."""
    hertz, _, power = spectrogram(samples, RATE, nperseg=1024, noverlap=0)
    power[hertz < low_hz] = 0
    levels = power.sum(axis=0)
    return hertz[power.argmax(axis=0)][levels > 0.2 * levels.max()]


def digest(samples: NDArray[np.int16]) -> str:
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()[:16]


def digest_of(name: str) -> str:
    return digest(NoisePool().samples(name))


def test_there_are_many_families() -> None:
    assert len(CATEGORIES) >= 24
    assert list(CATEGORIES) == sorted(CATEGORIES)
    assert NoisePool().categories == list(CATEGORIES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_family_is_full_centred_and_seamless(category: str) -> None:
    for number in (0, 9):
        samples = waveform(f"{category}/train-{number:02d}")
        assert (samples.dtype, samples.shape) == (np.int16, (LENGTH,))
        assert np.abs(samples.astype(int)).max() == round(0.9 * 2**15)
        assert abs(samples.mean()) < 0.5  # of a 16-bit level
        assert share_between(samples.astype(float), 0, 10) < 0.05
        # The step over the seam is like the steps beside it, not like a click.
        steps = np.abs(np.diff(np.concatenate([samples[-800:], samples[:800]]).astype(float)))
        assert steps[799] <= 1.5 * np.delete(steps, 799).max() + 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_realisations_are_different_and_a_function_of_their_name(category: str) -> None:
    names = [f"{category}/train-00", f"{category}/train-01", f"{category}/test-00"]
    a, b, c = (waveform(name).astype(float) for name in names)
    assert np.array_equal(generate(f"builtin:{names[0]}"), waveform(names[0]))
    assert digest(waveform(names[0])) == DIGESTS[category]
    for first, second in ((a, b), (a, c), (b, c)):
        # Not alike with any delay: of periodic sounds parts may be.
        products = np.fft.rfft(first) * np.conj(np.fft.rfft(second))
        likeness = np.abs(np.fft.irfft(products)).max()
        assert likeness < 0.7 * np.sqrt(np.square(first).sum() * np.square(second).sum())


def test_splits_have_no_realisation_in_common() -> None:
    names = {
        split: {n for c in CATEGORIES for n in realisation_names(c, split)} for split in SPLITS
    }
    assert all(len(names[split]) == REALISATIONS * len(CATEGORIES) for split in SPLITS)
    assert not names["train"] & (names["dev"] | names["test"])
    assert not names["dev"] & names["test"]
    for split in SPLITS:
        counts = Counter(NoisePool(split=split).choose("pool", rng(n)) for n in range(1200))
        assert set(counts) <= names[split]
        assert len({name.partition("/")[0] for name in counts}) == len(CATEGORIES)
        whites = {NoisePool(split=split).choose("white", rng(n)) for n in range(200)}
        assert whites == set(realisation_names("white", split))
    digests = [digest(waveform(f"hum/{split}-{n:02d}")) for split in SPLITS for n in range(4)]
    assert len(set(digests)) == 12


def test_splits_have_the_same_ranges_of_parameters() -> None:
    """The slopes of coloured noise, the one parameter that can be read off, cover one range."""
    for split in SPLITS:
        slopes = []
        for number in range(REALISATIONS):
            hertz, power = welch(sound(f"coloured/{split}-{number:02d}"), RATE, nperseg=4096)
            band = (hertz > 300) & (hertz < 6000)
            slopes.append(np.polyfit(np.log2(hertz[band]), 10 * np.log10(power[band]), 1)[0])
        assert min(slopes) > -8.5
        assert max(slopes) < -0.7
        assert np.ptp(slopes) > 4


def test_white_is_flat_and_coloured_falls() -> None:
    for samples in first_sounds("white"):
        hertz, power = welch(samples, RATE, nperseg=1024)
        levels = 10 * np.log10(power[(hertz > 100) & (hertz < 7900)])
        assert np.ptp(levels) < 2
        assert kurtosis(samples) == pytest.approx(3, abs=0.1)


def test_hum_is_lines_of_the_mains() -> None:
    frequencies = set()
    for samples in first_sounds("hum", 6):
        power = np.abs(np.fft.rfft(samples)) ** 2
        hertz = np.fft.rfftfreq(samples.size, 1 / RATE)
        shares = {}
        for mains_hz in np.concatenate(
            [50 + 0.05 * np.arange(-2, 3), 60 + 0.05 * np.arange(-2, 3)]
        ):
            off = np.abs(hertz - mains_hz * np.rint(hertz / mains_hz))
            shares[round(mains_hz)] = max(
                shares.get(round(mains_hz), 0), power[off < 0.6].sum() / power.sum()
            )
        assert max(shares.values()) > 0.98
        frequencies.add(max(shares, key=lambda hz: shares[hz]))
    assert frequencies == {50, 60}


LOW = ("wind", "engine", "fan", "train", "traffic", "sea")
HIGH = ("birds", "insects", "rustle")


@pytest.mark.parametrize("category", LOW)
def test_large_things_are_low(category: str) -> None:
    shares = [share_between(samples, 0, 2000) for samples in first_sounds(category, 4)]
    assert np.median(shares) > 0.75


@pytest.mark.parametrize("category", ["wind"])
def test_wind_is_very_low_and_gusty(category: str) -> None:
    for samples in first_sounds(category, 4):
        assert share_between(samples, 0, 500) > 0.7
        level = envelope(samples, 3200)
        assert level.std() > 0.15 * level.mean()


@pytest.mark.parametrize(("category", "least_hz"), [("birds", 1500), ("insects", 2300)])
def test_small_animals_are_high(category: str, least_hz: float) -> None:
    for samples in first_sounds(category, 4):
        assert share_between(samples, least_hz, 8000) > 0.8


@pytest.mark.parametrize(
    ("category", "least"),
    [
        ("keyboard", 20),
        ("clock", 20),
        ("footsteps", 12),
        ("knocks", 20),
        ("dishes", 15),
        ("crackle", 12),
        ("fire", 12),
        ("rustle", 12),
    ],
)
def test_impacts_are_impulsive(category: str, least: float) -> None:
    values = [kurtosis(samples) for samples in first_sounds(category, 4)]
    assert np.median(values) > least
    assert min(values) > 4


@pytest.mark.parametrize("category", ["white", "coloured", "fan", "rain", "stream"])
def test_rushes_are_steady(category: str) -> None:
    for samples in first_sounds(category):
        level = envelope(samples, 3200)
        assert level.std() < 0.4 * level.mean()


@pytest.mark.parametrize(
    "category", ["alarm", "siren", "telephone", "bells", "music", "birds", "hum", "engine"]
)
def test_tones_stand_out(category: str) -> None:
    assert np.median([peakiness(samples) for samples in first_sounds(category, 4)]) > 0.25


def test_noises_have_no_tones() -> None:
    for category in ("white", "rain", "applause", "rustle"):
        assert peakiness(sound(f"{category}/train-00")) < 0.3, category


def test_a_siren_sweeps_and_an_alarm_does_not() -> None:
    def range_octaves(category: str) -> float:
        spans = []
        for samples in first_sounds(category, 6):
            low, high = np.percentile(strongest_hz(samples, 300), [10, 90])
            spans.append(np.log2(high / low))
        return float(np.median(spans))

    assert range_octaves("siren") > 0.5
    assert range_octaves("alarm") < 0.5


def test_a_clock_is_regular_and_typing_is_not() -> None:
    def regularity(samples: Any) -> float:
        level = envelope(samples, 80) ** 2
        level = np.minimum(level / level.std(), 3)
        level -= level.mean()
        spectrum = np.abs(np.fft.rfft(level)) ** 2
        correlation = np.fft.irfft(spectrum)
        return float(correlation[30 : correlation.size // 2].max() / correlation[0])

    clocks = [regularity(samples) for samples in first_sounds("clock", 4)]
    keys = [regularity(samples) for samples in first_sounds("keyboard", 4)]
    assert np.median(clocks) > 0.4
    assert np.median(keys) < 0.3


def test_babble_lies_where_speech_lies_and_swings_like_it() -> None:
    for samples in first_sounds("babble", 4):
        assert share_between(samples, 100, 4000) > 0.8
        level = envelope(samples, 160)
        swings = np.abs(np.fft.rfft(level - level.mean())) ** 2
        hertz = np.fft.rfftfreq(level.size, 0.01)
        in_band = [swings[(hertz >= a) & (hertz < b)].sum() for a, b in ((2, 8), (8, 32))]
        assert in_band[0] > in_band[1]


def test_dogs_bark_and_pause() -> None:
    for samples in first_sounds("dogs", 4):
        level = envelope(samples, 800)
        assert np.mean(level < 0.3 * level.max()) > 0.4
        assert share_between(samples, 150, 5000) > 0.8


def test_the_sea_comes_in_waves_and_traffic_passes() -> None:
    for category in ("sea", "traffic"):
        for samples in first_sounds(category):
            level = envelope(samples, 8000)
            assert level.max() > 1.5 * np.median(level)


@pytest.mark.parametrize("name", ["fog/train-00", "rain/eval-00", "rain/train-16", "rain/train-1"])
def test_unknown_realisations_are_named(name: str) -> None:
    assert not is_realisation(f"builtin:{name}")
    with pytest.raises(UsageError, match=f"unknown built-in noise {name}; choose one of white"):
        NoisePool().samples(f"builtin:{name}")


def test_unknown_splits_and_kinds_are_named() -> None:
    with pytest.raises(UsageError, match="split must be one of train, dev, test, not 'eval'"):
        NoisePool(split="eval")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="builtin must be one of families, fixed"):
        NoisePool(builtin="old")  # type: ignore[arg-type]


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    realisations._opened.cache_clear()
    return tmp_path / "cache"


NAME = "builtin:hum/dev-05"


def reopened(name: str = NAME) -> NDArray[np.int16]:
    realisations._opened.cache_clear()
    return realisation(name)


def is_mapped(samples: Any) -> bool:
    base = samples
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


def test_a_realisation_is_generated_once_and_mapped(user_cache: Path) -> None:
    first = realisation(NAME)
    assert realisation(NAME) is first
    path = realisations_folder() / "hum" / "dev-05.int16"
    assert user_cache in path.parents
    written = path.stat().st_mtime_ns, path.stat().st_ino
    again = reopened()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
    for samples in (first, again):
        assert is_mapped(samples)
        assert not samples.flags.writeable
        assert np.array_equal(samples, generate(NAME))
    assert [file.name for file in path.parent.iterdir()] == ["dev-05.int16"]


def damage_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_bit,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_file_is_made_anew(user_cache: Path, damage: Callable[[Path], Any]) -> None:
    realisation(NAME)
    path = realisations_folder() / "hum" / "dev-05.int16"
    realisations._opened.cache_clear()
    damage(path)
    assert np.array_equal(reopened(), generate(NAME))
    assert is_mapped(reopened())


def test_without_a_cache_the_noises_are_the_same(user_cache: Path) -> None:
    user_cache.write_text("a file where the folder should be")
    samples = realisation(NAME)
    assert not is_mapped(samples)
    assert not samples.flags.writeable
    assert realisation(NAME) is samples
    assert np.array_equal(samples, generate(NAME))


def test_processes_share_the_cache(user_cache: Path) -> None:
    names = [f"builtin:knocks/train-{number:02d}" for number in range(3)] * 4
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        digests = list(executor.map(digest_of, names))
    assert digests[:3] == [digest(generate(name)) for name in names[:3]]
    assert digests == digests[:3] * 4
    folder = realisations_folder() / "knocks"
    assert sorted(file.name for file in folder.iterdir()) == [
        f"train-{number:02d}.int16" for number in range(3)
    ]


def test_a_pool_stays_small_when_it_has_been_used(user_cache: Path) -> None:
    pool = NoisePool(split="dev").narrowed("rain")
    name = pool.choose("pool", rng())
    pool.sounding_offset(name, 5, rng())
    pickled = pickle.dumps(pool)
    assert len(pickled) < 500
    copy = pickle.loads(pickled)
    assert copy == pool
    assert copy.choose("pool", rng()) == name


def test_sparse_families_are_entered_where_they_sound(user_cache: Path) -> None:
    simulator = Simulator(NoisePool(split="test").narrowed("knocks"))
    speech = Waveform((0.1 * np.random.default_rng(3).standard_normal(2 * RATE)).astype("f4"), RATE)
    moved = 0
    for number in range(60):
        draw = simulator.draw(seed=1, scenario="noise", severity=0.5, copy_index=number)
        (step,) = (step for step in draw.steps if isinstance(step, AdditiveNoise))
        samples = simulator.noise.samples(step.source).astype(float)
        following = np.resize(np.roll(samples, -step.offset_samples), 1600)
        assert following.var() > 0.9 * 10**-3 * samples.var()
        moved += step.offset_samples % 1600 == 0
        result = simulator.apply(speech, draw)
        assert not any("skipped" in measured for measured in result.measurements)
    assert moved > 0  # some offsets lay in the pauses


def test_the_identity_of_a_data_set_names_what_its_noises_depend_on() -> None:
    assert NoisePool(builtin="fixed").builtin_identity == {"builtin": "pool"}
    families = NoisePool(split="test").narrowed("rain").builtin_identity
    assert families == {"builtin": "rain", "split": "test", "families": "1"}


def test_groups_hold_every_category_once_and_are_drawn_equally_often() -> None:
    members = [name for group in GROUPS for name in group]
    assert sorted(members) == sorted(CATEGORIES)
    counts = Counter(
        NoisePool().choose("pool", rng(n)).removeprefix("builtin:").partition("/")[0]
        for n in range(3000)
    )
    for group in GROUPS:
        assert sum(counts[name] for name in group) == pytest.approx(300, abs=70)
        for name in group:
            assert counts[name] == pytest.approx(300 / len(group), abs=70 / len(group) ** 0.5)
