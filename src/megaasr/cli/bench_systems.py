"""What `--system` of `mega-asr bench` means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.score.peers import PEERS, Peer, Value
from megaasr.score.predictions import Prediction, System

if TYPE_CHECKING:
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.recording import Outcome

FILE = "predictions"


@dataclass(frozen=True, slots=True)
class Spec:
    """A system as it was asked for.

    Attributes:
        name: in the result.
        kind: `megaasr`, `predictions` or one of `PEERS`.
        model: a model's name or folder, or the file of predictions.
    """

    name: str
    kind: str
    model: str


def parse_systems(texts: list[str]) -> list[Spec]:
    """Read `[NAME=]MODEL`, `[NAME=]predictions:FILE`, `[NAME=]whisper:large-v3` and so on.

    Raises:
        UsageError: a text is empty, or two systems have the same name.
    """
    specs = [_parse(text) for text in texts]
    for at, spec in enumerate(specs):
        if spec.name in {one.name for one in specs[:at]}:
            raise UsageError(
                f"two systems are called {spec.name}; give one another name: --system NAME=…"
            )
    return specs


def _parse(text: str) -> Spec:
    name, equals, rest = text.partition("=")
    if not equals or "/" in name or ":" in name:  # a path or hub id that has an equals sign
        name, rest = "", text
    kind, colon, model = rest.partition(":")
    if not colon or kind not in {FILE, *PEERS}:
        kind, model = "megaasr", rest
    if not model:
        raise UsageError(f"--system {text}: name a model, or predictions:FILE")
    shown = model.rstrip("/")
    default = Path(shown).stem if kind == FILE else (Path(shown).name or shown)
    return Spec(
        name or (default if kind in {"megaasr", FILE} else f"{kind}-{default}"), kind, model
    )


@dataclass
class MegaSystem:
    """A model of ours with everything around it, as people use it; see `predictions.System`."""

    name: str
    model: str
    device: str | None
    offline: bool
    batch_size: int
    language: str | None = None
    kind: str = field(default="megaasr", init=False)
    _asr: MegaASR | None = field(default=None, init=False, repr=False)

    @property
    def settings(self) -> dict[str, Value]:
        """What decides about its words."""
        return {"model": self.model, "language": self.language, "batch_size": self.batch_size}

    def prepare(self) -> None:
        """Load the model."""
        from megaasr.transcribe.recognizer import MegaASR

        if self._asr is None:
            self._asr = MegaASR.load(
                self.model, device=self.device, offline=self.offline, batch_size=self.batch_size
            )

    def close(self) -> None:
        """Let go of the model."""
        self._asr = None

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips in shared batches."""
        self.prepare()
        assert self._asr is not None
        return [
            _prediction(o) for o in self._asr.transcribe_many(waveforms, language=self.language)
        ]


def _prediction(outcome: Outcome) -> Prediction:
    found = outcome.transcript
    if found is None:
        return Prediction("", error=str(outcome.error))
    truncated = "token_budget_hit" in found.flags
    return Prediction(found.text, language=found.language, truncated=truncated)


def load_system(
    spec: Spec, *, device: str | None, language: str | None, offline: bool, batch_size: int
) -> System:
    """Return a system that transcribes; its model is found now, and loaded when it is needed.

    Raises:
        ModelError: there is no such model.
        UsageError: a library is missing, or there is no such device.
    """
    if spec.kind != "megaasr":
        return Peer(spec.name, spec.kind, spec.model, language, device)
    from megaasr.model.hub import find_model
    from megaasr.model.loading import check_layout, choose_device

    check_layout(find_model(spec.model, offline=offline))
    place = str(choose_device(device))
    return MegaSystem(spec.name, spec.model, place, offline, batch_size, language)
