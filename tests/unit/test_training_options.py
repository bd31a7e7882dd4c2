"""What the training commands do with their metrics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from megaasr.cli.training_options import metrics_printer
from megaasr.errors import UsageError

ROWS: list[dict[str, object]] = [
    {"phase": "acoustic", "stage": 1, "step": 10, "loss": 2.0, "what": "text"},
    {"phase": "acoustic", "stage": 1, "step": 20, "loss": 1.5},
    {"step": 3, "reward": 0.25},
]


def test_metrics_are_printed_and_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    report = metrics_printer(tmp_path, tensorboard=True)
    for row in ROWS:
        report(row)
    assert "loss 1.5" in capsys.readouterr().out
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss/acoustic-1", "reward"]
    assert [(event.step, event.value) for event in events.Scalars("loss/acoustic-1")] == [
        (10, 2.0),
        (20, 1.5),
    ]


def test_nothing_is_written_without_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics_printer(tmp_path, tensorboard=False)(ROWS[2])
    assert "reward 0.25" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_missing_tensorboard_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"megaasr\[tensorboard\]"):
        metrics_printer(tmp_path, tensorboard=True)
