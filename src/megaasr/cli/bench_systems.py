"""What `--system` of `mega-asr bench` means."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr.adapter.peft_layout import WEIGHTS_FILE, is_adapter
from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.score.peers import PEERS, Peer, Value
from megaasr.score.predictions import Prediction, System

if TYPE_CHECKING:
    from megaasr.route.decision import RouteChoice
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.session import Outcome

FILE = "predictions"
ORACLE = "oracle"
_ROUTES = ("auto", "base", "robust")


@dataclass(frozen=True, slots=True)
class Spec:
    """A system as it was asked for.

    Attributes:
        name: in the result.
        kind: `megaasr`, `predictions`, `oracle` or one of `PEERS`.
        model: a model's name or folder, the file of predictions, or the oracle's systems.
        route: of one of our models, after an @: `auto`, `base`, `robust`.
        adapter: folder of an adapter instead of the model's own, after a +.
    """

    name: str
    kind: str
    model: str
    route: str = "auto"
    adapter: str | None = None

    @property
    def chosen_from(self) -> list[str]:
        """The systems of which an oracle takes the better one for each clip."""
        return self.model.split(",") if self.kind == ORACLE else []


def parse_systems(texts: list[str]) -> list[Spec]:
    """Read `[NAME=]MODEL[+ADAPTER][@ROUTE]`, `[NAME=]predictions:FILE`, `[NAME=]oracle:A,B`,
    `[NAME=]whisper:large-v3` …

    Raises:
        UsageError: a text is empty, two systems have the same name, or an oracle chooses among
            systems that were not named before it.
    """
    specs = [_parse(text) for text in texts]
    for at, spec in enumerate(specs):
        if spec.name in {one.name for one in specs[:at]}:
            raise UsageError(
                f"two systems are called {spec.name}; give one another name: --system NAME=…"
            )
        unknown = set(spec.chosen_from) - {one.name for one in specs[:at]}
        if unknown:
            raise UsageError(
                f"--system {ORACLE}:{spec.model}: no system {', '.join(sorted(unknown))} was named "
                "before it"
            )
    return specs


def _parse(text: str) -> Spec:
    name, equals, rest = text.partition("=")
    if not equals or "/" in name or ":" in name:  # a path or hub id that has an equals sign
        name, rest = "", text
    kind, colon, model = rest.partition(":")
    if not colon or kind not in {FILE, ORACLE, *PEERS}:
        kind, model = "megaasr", rest
    route = "auto"
    if kind == "megaasr" and model.rpartition("@")[2] in _ROUTES:
        model, _, route = model.rpartition("@")
    adapter: str | None = None
    if kind == "megaasr" and "+" in model and not Path(model).is_dir():
        model, _, adapter = model.partition("+")
    if not model or adapter == "":
        raise UsageError(f"--system {text}: name a model, or predictions:FILE")
    shown = model.rstrip("/")
    default = Path(shown).stem if kind == FILE else (Path(shown).name or shown)
    if kind == ORACLE:
        default = ORACLE
    elif kind not in {"megaasr", FILE}:
        default = f"{kind}-{default}"
    if adapter is not None:
        default = f"{default}+{_run_of(Path(adapter))}"
    if route != "auto":
        default = f"{default}@{route}"
    return Spec(name or default, kind, model, route, adapter)


def _run_of(adapter: Path) -> str:
    """Return a name for an adapter: its folder's, or the run's, whose result is called adapter."""
    return (
        adapter.parent.name if adapter.name == "adapter" and adapter.parent.name else adapter.name
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
    route: RouteChoice = "auto"
    adapter: str | None = None
    kind: str = field(default="megaasr", init=False)
    _asr: MegaASR | None = field(default=None, init=False, repr=False)

    @property
    def settings(self) -> dict[str, Value]:
        """What decides about its words."""
        settings: dict[str, Value] = {
            "model": self.model,
            "language": self.language,
            "batch_size": self.batch_size,
            **self._hashes,
        }
        if self.route != "auto":
            settings["route"] = self.route
        if self.adapter is not None:
            settings["adapter"] = self.adapter
            settings["adapter_sha256"] = file_sha256(Path(self.adapter) / WEIGHTS_FILE)
        return settings

    @cached_property
    def _hashes(self) -> dict[str, str]:
        from megaasr.hub import HubOptions
        from megaasr.model.hub import find_model_parts
        from megaasr.model.parts import part_hashes

        return part_hashes(find_model_parts(self.model, HubOptions(self.offline)))

    def prepare(self) -> None:
        """Load the model, and let it hear something: what happens once is not recognition."""
        from megaasr.transcribe.recognizer import MegaASR

        if self._asr is None:
            self._asr = MegaASR.load(
                self.model,
                device=self.device,
                offline=self.offline,
                batch_size=self.batch_size,
                route=self.route,
                adapter=self.adapter,
            )
            list(self._asr.transcribe_many(warm_up_clips()))

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


def warm_up_clips() -> list[str]:
    """Return speech that both branches hear: clean and degraded, from the demonstration."""
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    return [str(folder / name) for name in ("1-clean.flac", "1-obstructed.flac")]


def _prediction(outcome: Outcome) -> Prediction:
    found = outcome.transcript
    if found is None:
        return Prediction("", error=str(outcome.error))
    heard = [one for one in found.segments if one.route is not None]
    sure = [one.confidence for one in heard if one.confidence is not None]
    probabilities = [o.degraded_probability for o in heard if o.degraded_probability is not None]
    return Prediction(
        found.text,
        language=found.language,
        # Of a clip of several pieces: robust if any piece was.
        route=max((one.route or "" for one in heard), default=None),
        degraded_probability=max(probabilities, default=None),
        confidence=round(sum(sure) / len(sure), 4) if sure else None,
        truncated="token_budget_hit" in found.flags,
    )


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
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.loading import check_layout, choose_device

    check_layout(find_model_parts(spec.model, HubOptions(offline)).base)
    if spec.adapter is not None and not is_adapter(Path(spec.adapter)):
        raise UsageError(f"--system {spec.name}: {spec.adapter} holds no adapter")
    place = str(choose_device(device))
    route: Any = spec.route
    return MegaSystem(
        spec.name, spec.model, place, offline, batch_size, language, route, spec.adapter
    )
