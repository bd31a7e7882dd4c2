"""Packet loss: its statistics, and a concealment that carries the voice on and fades."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import PacketLoss, Resources
from megaasr.simulate.streams import stream_key

RESOURCES = Resources(NoisePool())


def loss(**changes: Any) -> PacketLoss:
    values: dict[str, Any] = {
        "condition": "packet_loss",
        "packet_ms": 20,
        "loss_share": 0.2,
        "mean_bad": 2,
        "concealment": "repetition",
        "key": stream_key(1, "u", 0, "step 0"),
    }
    return PacketLoss(**(values | changes))


def run_lengths(lost: NDArray[np.bool_]) -> NDArray[np.int64]:
    edges = np.flatnonzero(np.diff(lost.astype(int), prepend=0, append=0))
    return edges[1::2] - edges[::2]


def voiced(seconds: float, pitch_hz: float) -> Samples:
    """A voice of constant pitch: 20 harmonics."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = np.arange(1, 20)
    waves = np.sin(2 * np.pi * pitch_hz * np.outer(harmonics, time_s)) / harmonics[:, None]
    return np.asarray(0.1 * waves.sum(axis=0), np.float32)


@pytest.mark.parametrize(("share", "mean_bad"), [(0.03, 1.2), (0.1, 2.0), (0.3, 4.0)])
def test_the_share_and_the_runs_are_those_of_the_model(share: float, mean_bad: float) -> None:
    lost = loss(loss_share=share, mean_bad=mean_bad).losses(200_000)
    assert lost.mean() == pytest.approx(share, rel=0.05)
    assert run_lengths(lost).mean() == pytest.approx(mean_bad, rel=0.05)


def test_some_packets_arrive_in_elliotts_bad_state() -> None:
    lost = loss(loss_share=0.2, mean_bad=10, loss_in_bad=0.5).losses(200_000)
    assert lost.mean() == pytest.approx(0.2, rel=0.05)
    # Runs are short, but they come in clusters: after a loss, the next but one is likely as well.
    assert run_lengths(lost).mean() < 2.2
    assert lost[2:][lost[:-2]].mean() > 0.38


@pytest.mark.parametrize("concealment", ["repetition", "silence"])
def test_the_measured_share_is_that_of_the_replaced_packets(concealment: str) -> None:
    x = np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE).astype(np.float32)
    y = x.copy()
    measured = loss(concealment=concealment).apply(y, RESOURCES)
    kept = (x == y).reshape(-1, 320).all(axis=1)
    assert measured["packets"] == 500
    assert measured["lost_share"] == pytest.approx(int(measured["lost_packets"]) / 500)
    assert np.count_nonzero(~kept) >= int(measured["lost_packets"])
    if concealment == "silence":
        silent = (y == 0).reshape(-1, 320).all(axis=1)
        assert silent.sum() == np.count_nonzero(~kept) == measured["lost_packets"]
        assert measured["losses"] == len(run_lengths(silent))


@pytest.mark.parametrize("pitch_hz", [90.0, 125.0, 190.0, 260.0])
def test_a_steady_voice_goes_on_through_a_short_loss(pitch_hz: float) -> None:
    x = voiced(1.0, pitch_hz)
    y = conceal_packet(x, first=25, packets=1, packet_ms=10)
    start, end = 4000, 4160
    error = np.square(y - x)[start:end].mean() / np.square(x[start:end]).mean()
    assert 10 * np.log10(error) < -10  # silence would have 0 dB
    # No click: nowhere a larger jump than the voice itself makes.
    assert np.abs(np.diff(y)).max() < 1.5 * np.abs(np.diff(x)).max()


def test_a_long_loss_fades_out_within_60_ms() -> None:
    x = voiced(1.0, 125.0)
    y = conceal_packet(x, first=12, packets=3, packet_ms=40)  # 120 ms of loss
    start = 12 * 640
    levels = [float(np.square(y[start + a : start + a + 128]).mean()) for a in range(0, 1280, 128)]
    assert levels[0] > 0.7 * np.square(x).mean()
    assert all(later < earlier for earlier, later in pairwise(levels[1:7]))
    assert np.abs(y[start + 960 : start + 1920]).max() == 0.0  # after 60 ms
    assert np.array_equal(y[start + 1920 + 160 :], x[start + 1920 + 160 :])
    assert np.array_equal(y[: start - 60], x[: start - 60])


def conceal_packet(x: Samples, *, first: int, packets: int, packet_ms: float) -> Samples:
    """Lose exactly these packets, with the key for which the model does so."""
    for number in range(100_000):
        step = loss(packet_ms=packet_ms, loss_share=0.04, mean_bad=packets, key=f"{number:032x}")
        lost = np.flatnonzero(step.losses(round(1000 * len(x) / SAMPLE_RATE / packet_ms)))
        if lost.tolist() == list(range(first, first + packets)):
            y = x.copy()
            assert step.apply(y, RESOURCES)["losses"] == 1
            return y
    raise AssertionError("no key loses these packets alone")


@pytest.mark.parametrize("samples", [1, 319, 639, 640, 5000])
def test_short_clips(samples: int) -> None:
    x = np.full(samples, 0.5, np.float32)
    measured = loss(loss_share=0.9, mean_bad=20).apply(x, RESOURCES)
    assert ("skipped" in measured) == (samples < 640)
    assert np.isfinite(x).all()
