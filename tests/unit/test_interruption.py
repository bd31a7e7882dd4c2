"""Ctrl-C in a callback of libsndfile: no traceback, and the work ends at the next check."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.cli.interruption import Interruption


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Handle Ctrl-C as Python does by default; what runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class InterruptedFile(io.BytesIO):
    """A file during whose reading Ctrl-C is pressed."""

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        os.kill(os.getpid(), signal.SIGINT)
        return super().readinto(buffer)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself here")
def test_ctrl_c_in_a_callback_is_kept_for_the_next_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100, np.float32), 16_000)
    data = (tmp_path / "a.wav").read_bytes()
    with Interruption() as interruption:
        samples, _ = soundfile.read(InterruptedFile(data))
        assert len(samples) == 100
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself here")
def test_ctrl_c_elsewhere_is_raised_at_once() -> None:
    with Interruption(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
