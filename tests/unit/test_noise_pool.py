"""Pools of recorded noise: what is stored, what is drawn, and what happens when things go wrong."""

from __future__ import annotations

import json
import mmap
import os
import pickle
import shutil
import tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, RecordError, UsageError
from megaasr.simulate.families.registry import realisation_names
from megaasr.simulate.noise_generators import NAMES
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import AdditiveNoise
from megaasr.simulate.sample_cache import SampleCache
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.streams import stream, stream_key

RATE = 16_000
USABLE = [
    "noises/on_top.wav",
    "noises/rain/drops.ogg",
    "noises/rain/far.flac",
    "noises/rain/near.wav",
    "noises/street/cars.wav",
]


def noise(seconds: float, seed: int, rate: int = RATE) -> Any:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def write(path: Path, samples: Any, rate: int = RATE, subtype: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five noises of several formats, and much that is none."""
    root = tmp_path / "data" / "noises"
    write(root / "on_top.wav", noise(0.5, 1))
    write(root / "rain" / "near.wav", noise(1.0, 2))
    write(root / "rain" / "far.flac", np.stack([noise(1.0, 3, 44_100)] * 2, axis=1), 44_100)
    write(root / "rain" / "drops.ogg", noise(1.0, 4, 22_050), 22_050)
    write(root / "street" / "cars.wav", noise(2.0, 5, 8_000), 8_000)
    write(root / "street" / "silent.wav", np.zeros(RATE))
    write(root / "street" / "whisper.wav", 1e-5 * np.ones(RATE), subtype="FLOAT")
    write(root / "street" / "tick.wav", noise(0.05, 6))
    write(root / ".hidden" / "x.wav", noise(1.0, 7))
    (root / "street" / "broken.wav").write_bytes(b"RIFF but not really a wave file" * 9)
    (root / "street" / "empty.flac").write_bytes(b"")
    (root / "README.txt").write_text("not a recording")
    return root


@pytest.fixture
def pool(folder: Path, tmp_path: Path) -> NoisePool:
    return NoisePool.from_folders([folder], tmp_path / "store")


def rng(number: int = 0) -> np.random.Generator:
    return stream(stream_key(1, str(number), 0, "test"))


def draws(pool: NoisePool, category: str, count: int = 300) -> Counter[str]:
    return Counter(pool.choose(category, rng(number)) for number in range(count))


def stored_files(store: Path) -> dict[str, tuple[int, int]]:
    status = {path.name: path.stat() for path in store.iterdir()}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in status.items()}


def digest_in_worker(pool: NoisePool) -> tuple[str, int]:
    name = pool.choose("pool", rng(3))
    return name, int(pool.samples(name).astype(np.int64).sum())


def test_the_fixed_noises_are_drawn_as_before_the_families() -> None:
    pool = NoisePool(builtin="fixed")
    counts = draws(pool, "pool", 800)
    assert set(counts) == {f"builtin:{name}" for name in pool.categories}
    assert len(counts) == 8
    assert min(counts.values()) > 60  # of 100 each
    assert set(draws(pool, "white", 50)) == {"builtin:white"}
    assert set(draws(pool, "babble", 50)) == set(draws(pool, "builtin:babble", 50))
    for name in counts:
        samples = pool.samples(name)
        assert (samples.dtype, samples.ndim) == (np.int16, 1)


def test_the_pool_holds_every_usable_recording_under_its_relative_name(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    assert pool.recorded is not None
    assert pool.recorded.names == USABLE
    assert pool.categories == ["noises", "noises/rain", "noises/street"]
    assert str(tmp_path) not in (tmp_path / "store" / "index.json").read_text()
    lengths = [len(pool.samples(name)) for name in USABLE]
    assert lengths == pytest.approx([8_000, RATE, RATE, RATE, 2 * RATE], abs=40)
    recording, _ = soundfile.read(folder / "rain" / "near.wav")
    stored = pool.samples("noises/rain/near.wav") / 2**15
    assert np.abs(stored).max() == pytest.approx(0.9, abs=1e-4)
    likeness = stored @ recording / np.sqrt((stored @ stored) * (recording @ recording))
    assert likeness > 0.99999
    levels = {recording.name: recording.level_dbfs for recording in pool.recorded.index.recordings}
    assert levels["noises/rain/near.wav"] == pytest.approx(
        10 * np.log10(np.mean(recording**2)), abs=0.02
    )


def test_what_cannot_be_used_costs_a_line_each(pool: NoisePool) -> None:
    reasons = {failure.name: failure.reason for failure in pool.failures}
    assert list(reasons) == [
        f"noises/street/{name}"
        for name in ("broken.wav", "empty.flac", "silent.wav", "tick.wav", "whisper.wav")
    ]
    assert "silent" in reasons["noises/street/silent.wav"]
    assert "silent" in reasons["noises/street/whisper.wav"]
    assert "shorter than 0.1 s" in reasons["noises/street/tick.wav"]
    assert all(len(reason) > 10 for reason in reasons.values())


def test_samples_are_mapped_not_read_and_cannot_be_changed(pool: NoisePool) -> None:
    samples = pool.samples(USABLE[1])
    base: Any = samples
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    assert not samples.flags.writeable
    assert samples.flags.c_contiguous


def test_first_a_category_is_drawn_then_a_recording(pool: NoisePool) -> None:
    counts = draws(pool, "pool", 1800)
    # Three categories of 1, 3 and 1 recordings: 600 each, four standard deviations are 80.
    expected = dict(zip(USABLE, (600, 200, 200, 200, 600), strict=True))
    assert set(counts) == set(expected)
    for name, count in expected.items():
        assert counts[name] == pytest.approx(count, abs=80)
    assert set(draws(pool, "white", 200)) == set(realisation_names("white", "train"))


@pytest.mark.parametrize(
    ("category", "names"),
    [
        ("rain", USABLE[1:4]),
        ("noises/rain", USABLE[1:4]),
        ("street/", USABLE[4:]),
        ("noises", USABLE),
        ("noises/rain/far.flac", [USABLE[2]]),
        ("builtin:hum", realisation_names("hum", "train")),
        ("engine", realisation_names("engine", "train")),
        ("builtin:rain", realisation_names("rain", "train")),
        ("builtin:dogs/test-03", ["builtin:dogs/test-03"]),
        ("builtin:pink", ["builtin:pink"]),
    ],
)
def test_a_category_or_one_noise_can_stand_for_the_pool(
    pool: NoisePool, category: str, names: list[str]
) -> None:
    assert sorted(draws(pool, category, 200)) == names
    narrowed = pool.narrowed(category)
    assert sorted(draws(narrowed, "pool", 200)) == names
    assert draws(narrowed, "white", 20) == draws(pool, "white", 20)


@pytest.mark.parametrize("category", ["rai", "noises/rain/far", "builtin:rainn", "on_top.wav"])
def test_unknown_noises_and_categories_are_named(pool: NoisePool, category: str) -> None:
    with pytest.raises(UsageError, match=category):
        pool.narrowed(category)
    with pytest.raises(UsageError, match=category):
        pool.choose(category, rng())


def test_a_drawn_noise_that_is_missing_is_named(pool: NoisePool) -> None:
    with pytest.raises(UsageError, match=r"noises/rain/gone\.wav .*give the folders"):
        pool.samples("noises/rain/gone.wav")
    with pytest.raises(UsageError, match=r"noises/rain/near\.wav .*--noise"):
        NoisePool().samples("noises/rain/near.wav")
    with pytest.raises(UsageError, match="unknown built-in noise fog"):
        pool.samples("builtin:fog")


def test_a_single_file_is_a_pool(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "recording"  # the suffix of a file that was named does not matter
    shutil.copy(folder / "on_top.wav", odd)
    pool = NoisePool.from_folders([odd, folder / "rain"], tmp_path / "store")
    assert pool.categories == ["rain", "recording"]
    assert pool.choose("recording", rng()) == "recording"
    assert len(pool.samples("recording")) == 8_000


def test_unchanged_folders_are_not_decoded_again(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    before = stored_files(tmp_path / "store")
    calls: list[int] = []
    again = NoisePool.from_folders(
        [folder], tmp_path / "store", on_progress=lambda done, total: calls.append(done)
    )
    assert again == pool
    assert again.failures == pool.failures
    assert stored_files(tmp_path / "store") == before
    assert calls == []


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "renamed"])
def test_changed_folders_are(folder: Path, tmp_path: Path, change: str, pool: NoisePool) -> None:
    old = pool.samples(USABLE[3])
    near = folder / "rain" / "near.wav"
    if change == "added":
        write(folder / "wind" / "gale.wav", noise(1.0, 9))
    elif change == "removed":
        near.unlink()
    elif change == "rewritten":
        status = near.stat()
        write(near, noise(1.0, 10))
        os.utime(near, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        near.rename(near.with_name("nearer.wav"))
    now = NoisePool.from_folders([folder], tmp_path / "store")
    assert now.recorded is not None
    names = {
        "added": [*USABLE, "noises/wind/gale.wav"],
        "removed": [*USABLE[:3], USABLE[4]],
        "rewritten": USABLE,
        "renamed": [*USABLE[:3], "noises/rain/nearer.wav", USABLE[4]],
    }[change]
    assert now.recorded.names == names
    assert len(stored_files(tmp_path / "store")) == 2  # the old samples are gone
    if change == "rewritten":
        assert not np.array_equal(now.samples(USABLE[3]), old)
    # A pool made before must not quietly draw from other recordings.
    stale = pickle.loads(pickle.dumps(pool))
    with pytest.raises(UsageError, match="built again from other recordings"):
        stale.choose("pool", rng())


def test_the_stored_bytes_do_not_depend_on_where_the_folder_lies(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "noises")
    moved = NoisePool.from_folders([tmp_path / "elsewhere" / "noises"], tmp_path / "other")
    for name in USABLE:
        assert np.array_equal(moved.samples(name), pool.samples(name))


def test_an_interrupted_build_leaves_the_pool_before_it(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    before = stored_files(tmp_path / "store")
    write(folder / "wind" / "gale.wav", noise(1.0, 9))

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NoisePool.from_folders([folder], tmp_path / "store", on_progress=interrupt)
    assert stored_files(tmp_path / "store") == before
    assert np.array_equal(
        pickle.loads(pickle.dumps(pool)).samples(USABLE[0]), pool.samples(USABLE[0])
    )


def test_what_a_killed_build_left_is_removed_but_not_a_running_one(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    killed, running = store / ".samples-1.int16.aa.part", store / ".samples-2.int16.bb.part"
    for part in (killed, running):
        part.write_bytes(b"half")
    two_hours_ago = killed.stat().st_mtime - 7200
    os.utime(killed, (two_hours_ago, two_hours_ago))
    NoisePool.from_folders([folder], store)
    assert not killed.exists()
    assert running.exists()


def test_progress_counts_all_recordings(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    NoisePool.from_folders(
        [folder], tmp_path / "s", on_progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(done, 10) for done in range(1, 11)]


def test_samples_that_do_not_fit_the_index_are_refused_and_mended(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    samples = next(store.glob("samples-*"))
    content = samples.read_bytes()
    for damaged in (content[:-2], content + b"\0\0", b""):
        samples.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"delete the folder .*store and build it again"):
            NoisePool(SampleCache(store, "noises")).samples(USABLE[0])
    samples.unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        NoisePool(SampleCache(store, "noises")).samples(USABLE[0])
    mended = NoisePool.from_folders([folder], store)
    assert next(store.glob("samples-*")).read_bytes() == content
    assert len(mended.samples(USABLE[0])) == 8_000


def test_a_damaged_index_is_refused_and_mended(
    pool: NoisePool, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "store" / "index.json"
    good = json.loads(path.read_text())
    swapped = json.loads(path.read_text())
    swapped["recordings"].reverse()
    for text in ("", "{", "[]", json.dumps({**good, "store_schema": 99}), json.dumps(swapped)):
        path.write_text(text)
        with pytest.raises(RecordError, match="build it again"):
            NoisePool(SampleCache(tmp_path / "store", "noises")).samples(USABLE[0])
    mended = NoisePool.from_folders([folder], tmp_path / "store")
    assert json.loads(path.read_text()) == good
    assert mended == pool


def test_a_missing_store_and_one_of_another_kind(pool: NoisePool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stored noises there"):
        NoisePool(SampleCache(tmp_path / "nothing", "noises")).choose("pool", rng())
    with pytest.raises(UsageError, match="holds noises, not room responses"):
        assert SampleCache(tmp_path / "store", "room responses").names


def test_folders_that_give_no_pool(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (tmp_path / "void").mkdir()
    for paths, message in (
        ([tmp_path / "nowhere"], "no file or folder"),
        ([folder, tmp_path / "void"], "void: no recordings"),
        ([folder / "street" / "silent.wav"], "none of 1 recordings can be used.*silent"),
        ([folder, folder], "would both be called"),
    ):
        with pytest.raises(UsageError, match=message):
            NoisePool.from_folders(paths, store)
    assert not store.exists() or not any(store.iterdir())


def test_a_store_that_cannot_be_written_is_a_typed_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioError, match="cannot be cached there"):
        NoisePool.from_folders([folder], tmp_path / "file" / "store")


def test_without_a_named_store_the_users_cache_is_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pool = NoisePool.from_folders([folder])
    assert pool.recorded is not None
    assert pool.recorded.folder.parent == tmp_path / "cache" / "megaasr"
    assert NoisePool.from_folders([folder]) == pool
    second = NoisePool.from_folders([folder / "rain"])
    assert second.recorded is not None
    assert second.recorded.folder != pool.recorded.folder


def test_long_loud_and_padded_recordings(tmp_path: Path) -> None:
    root = tmp_path / "noises"
    loud = np.concatenate([np.zeros(100 * RATE), 5 * noise(70.0, 1), np.zeros(65 * RATE), [3.0]])
    padded = np.concatenate([loud, np.zeros(20 * RATE)])
    write(root / "padded.wav", padded, subtype="FLOAT")  # several blocks, far above full scale
    pool = NoisePool.from_folders([root], tmp_path / "store")
    stored = pool.samples("noises/padded.wav")
    expected = loud[100 * RATE :]
    assert len(stored) == pytest.approx(len(expected), abs=2)
    begin = len(expected) - len(stored)
    steps = expected[begin:] * (0.9 * 2**15 / np.abs(expected).max())
    assert np.abs(stored - steps).max() <= 0.51
    assert pool.recorded is not None
    level = pool.recorded.index.recordings[0].level_dbfs
    assert level == pytest.approx(10 * np.log10(np.mean(expected**2)), abs=0.02)


def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path: Path) -> None:
    minute = np.random.default_rng(1).integers(-3000, 3000, 60 * RATE).astype(np.int16)
    with soundfile.SoundFile(
        tmp_path / "day.wav", "w", RATE, 1, subtype="PCM_16"
    ) as file:  # 20 minutes: 77 MB as float32
        for _ in range(20):
            file.write(minute)
    tracemalloc.start()
    pool = NoisePool.from_folders([tmp_path / "day.wav"], tmp_path / "store")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pool.samples("day.wav")) == pytest.approx(20 * 60 * RATE, abs=100)
    assert most < 40e6


def test_a_pool_is_light_to_pickle_and_the_same_in_a_worker(pool: NoisePool) -> None:
    here = digest_in_worker(pool)  # opens it
    assert len(pickle.dumps(pool)) < 1000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        assert workers.submit(digest_in_worker, pool).result() == here


def test_recorded_noise_is_added_at_the_drawn_ratio(pool: NoisePool) -> None:
    simulator = Simulator(pool)
    clip = Waveform(np.sin(np.arange(3 * RATE) * 0.3).astype(np.float32) * 0.1, RATE)
    sources = set()
    for number in range(12):
        draw = simulator.draw(seed=1, scenario="recording+noise", utterance=str(number))
        noises = [step for step in draw.steps if isinstance(step, AdditiveNoise)]
        assert noises[0].source in realisation_names("white", "train")
        sources.add(noises[1].source)
        alone = draw.model_copy(update={"steps": (noises[1],)})
        quiet = Waveform(clip.samples / 10, RATE)
        added = simulator.apply(quiet, alone).waveform.samples - quiet.samples
        ratio_db = 10 * np.log10(np.mean(quiet.samples**2) / np.mean(added**2))
        assert ratio_db == pytest.approx(noises[1].snr_db, abs=0.1)
        again = Simulator(pickle.loads(pickle.dumps(pool))).apply(clip, draw)
        same = simulator.apply(clip, draw)
        assert again.waveform.samples.tobytes() == same.waveform.samples.tobytes()
    assert len(sources) > 2
    assert sources <= set(USABLE)


def test_names_in_other_scripts_are_spelt_one_way(tmp_path: Path) -> None:
    write(tmp_path / "Gera\u0308usche" / "雨.wav", noise(1.0, 1))  # as macOS writes the umlaut
    pool = NoisePool.from_folders([tmp_path / "Gera\u0308usche"], tmp_path / "store")
    assert pool.categories == ["Ger\u00e4usche"]
    assert pool.choose("pool", rng()) == "Ger\u00e4usche/雨.wav"


def bark(path: Path, seconds: float = 60.0) -> Path:
    """Write a recording of half a second of sound at both ends, and silence between."""
    samples = np.zeros(round(seconds * RATE))
    samples[: RATE // 2] = samples[-RATE // 2 :] = noise(0.5, 1)
    write(path, samples)
    return path


def test_no_draw_falls_into_the_silence_of_a_recording(tmp_path: Path) -> None:
    bark(tmp_path / "noises" / "bark.flac")
    simulator = Simulator(NoisePool.from_folders([tmp_path / "noises"], tmp_path / "cache"))
    speech = Waveform((0.1 * np.random.default_rng(3).standard_normal(3 * RATE)).astype("f4"), RATE)
    offsets = set()
    for number in range(40):
        for scenario in ("noise", "far_field+noise"):
            draw = simulator.draw(
                seed=1, scenario=scenario, severity=0.5, utterance="u", copy_index=number
            )
            assert draw == simulator.draw(
                seed=1, scenario=scenario, severity=0.5, utterance="u", copy_index=number
            )
            result = simulator.apply(speech, draw)
            assert not any("skipped" in measured for measured in result.measurements)
            assert np.abs(result.waveform.samples - speech.samples).max() > 0.01
            noises = [step for step in draw.steps if isinstance(step, AdditiveNoise)]
            offsets |= {s.offset_samples for s in noises if s.source.startswith("noises/")}
    assert len(offsets) > 5
    assert all(offset < RATE // 2 or offset >= 59.4 * RATE for offset in offsets)


def test_offsets_at_which_a_noise_sounds_stay(tmp_path: Path, folder: Path) -> None:
    pool = NoisePool.from_folders([folder], tmp_path / "cache")
    for name in ("noises/street/cars.wav", "builtin:babble", "builtin:crackle"):
        for offset in range(0, len(pool.samples(name)), 1_237):
            assert (
                pool.sounding_offset(name, offset, stream(stream_key(1, "u", 0, "never read")))
                == offset
            )


def test_the_fixed_noises_sound_everywhere() -> None:
    """Within 35 dB in every 0.1 s, so that no draw with them has ever to be moved."""
    for name in NAMES:
        samples = NoisePool().samples(f"builtin:{name}").astype(np.float64)
        sums = np.cumsum(np.square(np.concatenate([samples, samples[:1600]])))
        powers = (sums[1600:] - sums[:-1600]) / 1600
        assert powers.min() > 10**-3.5 * np.square(samples).mean(), name


def test_what_is_no_sound_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "noises"
    write(root / "offset.wav", np.full(RATE, 0.4))
    write(root / "hiss_on_offset.wav", np.full(RATE, 0.4) + 1e-6 * noise(1.0, 2), subtype="FLOAT")
    infinite = np.full(RATE, np.inf)
    write(root / "infinite.wav", infinite, subtype="FLOAT")
    write(root / "shifted.wav", 0.5 + noise(1.0, 4))
    pool = NoisePool.from_folders([root], tmp_path / "cache")
    assert [recording.name for recording in pool.recorded.index.recordings] == [  # type: ignore[union-attr]
        "noises/shifted.wav"
    ]
    reasons = {failure.name: failure.reason for failure in pool.failures}
    assert "constant offset" in reasons["noises/offset.wav"]
    assert "constant offset" in reasons["noises/hiss_on_offset.wav"]
    assert "noises/infinite.wav" in reasons
    # An offset would set the ratio of speech to noise; without it the noise does.
    shifted = pool.samples("noises/shifted.wav")
    assert abs(float(shifted.mean())) < 0.001 * np.abs(shifted).max()
