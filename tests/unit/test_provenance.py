"""The log beside a degraded file: complete, readable again, and strict about what it belongs to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.audio.files import read, write
from megaasr.audio.waveform import Waveform
from megaasr.errors import MegaASRError, RecordError, UsageError
from megaasr.simulate.codecs import ffmpeg_version
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.provenance import Level, Provenance, pcm_16_sha256, samples_sha256
from megaasr.simulate.simulator import Simulator

RATE = 16_000


def logged(samples: NDArray[np.float32], scenario: str = "obstructed+noise") -> Provenance:
    simulator = Simulator(NoisePool())
    draw = simulator.draw(seed=3, scenario=scenario, severity=0.2, utterance="a.wav")
    return Provenance.of("a.wav", samples, draw, simulator.apply(Waveform(samples, RATE), draw))


def test_it_comes_back_as_it_was(speechlike: NDArray[np.float32], tmp_path: Path) -> None:
    log = logged(speechlike)
    path = tmp_path / "log.json"
    path.write_text(log.to_json(), encoding="utf-8")
    assert Provenance.read(path) == log
    assert len(log.measurements) == len(log.draw.steps) == 4
    assert log.output_level.lufs is not None
    assert log.input_level.peak == pytest.approx(float(np.abs(speechlike).max()))


def test_silence_has_no_level(tmp_path: Path) -> None:
    log = logged(np.zeros(RATE, np.float32))
    assert log.output_level == Level(active_dbfs=None, lufs=None, peak=0.0)
    path = tmp_path / "log.json"
    path.write_text(log.to_json(), encoding="utf-8")
    assert Provenance.read(path) == log


def test_a_clip_without_a_loudness_block_has_a_level_but_no_loudness() -> None:
    level = Level.of(np.full(6399, 0.1, np.float32))
    assert level.lufs is None
    assert level.active_dbfs == pytest.approx(-20.0, abs=1e-3)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_output_digest_is_that_of_the_file(
    suffix: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    samples = (0.6 * rng.standard_normal(RATE)).astype(np.float32)  # some lie outside full scale
    write(tmp_path / f"a{suffix}", Waveform(samples, RATE))
    assert pcm_16_sha256(samples) == pcm_16_sha256(read(tmp_path / f"a{suffix}").samples)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
def test_the_version_of_ffmpeg_is_recorded_where_it_coded_the_clip(
    speechlike: NDArray[np.float32],
) -> None:
    clip = Waveform(speechlike, RATE)
    for codec, recorded in (("gsm-fr", ffmpeg_version()), ("g711-a-law", None)):
        simulator = Simulator(codecs=(codec,))
        draw = simulator.draw(seed=3, scenario="codec", severity=0.2, utterance="a.wav")
        log = Provenance.of("a.wav", speechlike, draw, simulator.apply(clip, draw))
        assert log.versions.get("ffmpeg") == recorded
        assert "ffmpeg" not in logged(speechlike).versions
        if recorded:
            other = log.model_copy(update={"versions": {**log.versions, "ffmpeg": "0.5"}})
            with pytest.raises(MegaASRError, match=rf"ffmpeg 0\.5, here {re.escape(recorded)}"):
                other.check_output(speechlike)


def test_another_input_is_refused(speechlike: NDArray[np.float32]) -> None:
    log = logged(speechlike)
    log.check_input(Path("a.wav"), speechlike)
    for changed in (speechlike[:-1], np.nextafter(speechlike, 1)):
        assert samples_sha256(changed) != log.input_sha256
        with pytest.raises(UsageError, match=r"b\.wav: its samples are not .* called a\.wav"):
            log.check_input(Path("b.wav"), changed)


def test_another_output_is_refused_with_the_versions_that_differ(
    speechlike: NDArray[np.float32],
) -> None:
    log = logged(speechlike)
    older = log.model_copy(update={"versions": {**log.versions, "numpy": "0.1"}})
    with pytest.raises(MegaASRError, match=r"made with numpy 0\.1, here \d.*; --force"):
        older.check_output(speechlike)
    with pytest.raises(MegaASRError, match="kind of computer; --force"):
        log.check_output(speechlike)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"log\.json: not a log of .*the text: Invalid JSON"),
        ("{}", r"log\.json: not a log of .*input: Field required"),
        ('{"log_schema": 2}', r"log\.json: not a log of .*log_schema: Input should be 1"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        Provenance.read(path)


def test_a_missing_log_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"log\.json: there is no such log; .* writes it beside"):
        Provenance.read(tmp_path / "log.json")
