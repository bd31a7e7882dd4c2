"""The systems that a benchmark can run, as `--system` of `mega-asr bench` names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from megaasr.adapter.peft_layout import adapter_sha256, is_adapter
from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.model.engine_limits import ENGINES, Engine
from megaasr.model.interface import Dtype, Request, SpeechModel
from megaasr.score.peers import PEERS, Peer
from megaasr.score.predictions import Prediction, System
from megaasr.score.result import SettingValue
from megaasr.transcribe.options import DEFAULT_RELIABILITY, ReliabilityOptions
from megaasr.transcribe.search import GREEDY, SEARCH_FIELDS, SearchOptions, parse_search

if TYPE_CHECKING:
    from megaasr.route.decision import RouteChoice
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.session import Outcome

OURS = "megaasr"
FILE = "predictions"
ORACLE = "oracle"
_ROUTES = ("auto", "base", "robust", "both")
_DTYPE = "dtype"
_ENGINE = "engine"
_FIELDS = (*SEARCH_FIELDS, _DTYPE, _ENGINE)


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """A system as the user specified it.

    Attributes:
        name: name of the system in the result.
        kind: `megaasr`, `predictions`, `oracle` or one of `PEERS`.
        model: name or folder of a model, path of a file of predictions, or the names of the systems
            that an oracle chooses from, separated by commas.
        route: route of one of our models, `auto`, `base`, `robust` or `both`.
        adapter: folder of an adapter that replaces the model's own; None for the model's own.
        vad: whether speech is detected first; for our models.
        retry: whether unreliable text is decoded again; for our models.
        search: how the text of a chunk is searched; for our models.
        dtype: data type of the weights; None for the device's; for our models.
        engine: what runs the networks; None for that of the benchmark; for our models.
    """

    name: str
    kind: str
    model: str
    route: str = "auto"
    adapter: str | None = None
    vad: bool = True
    retry: bool = True
    search: SearchOptions = GREEDY
    dtype: str | None = None
    engine: Engine | None = None

    @property
    def candidates(self) -> list[str]:
        """Names of the systems that an oracle chooses from; empty for other systems."""
        return self.model.split(",") if self.kind == ORACLE else []


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How the models of a benchmark run.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None for the best available.
        language: ISO code to force; None to let the models detect it.
        offline: never use the network.
        batch_size: chunks of audio that our models decode together, at least 1.
        engine: what runs the networks of our models, `transformers` or `vllm`.
    """

    device: str | None = None
    language: str | None = None
    offline: bool = False
    batch_size: int = 8
    engine: Engine = "transformers"


def parse_systems(texts: Sequence[str]) -> list[SystemSpec]:
    """Parse `[NAME=]MODEL[+ADAPTER][@VARIANT]`, `[NAME=]predictions:FILE`, `[NAME=]oracle:A,B`,
    `[NAME=]whisper:large-v3`, ….

    A variant is a route, `no-vad`, `no-retry`, `decode=METHOD`, `samples=N`, `temperature=N`,
    `dtype=TYPE` or `engine=NAME`, or several of them with commas between, such as
    `robust,no-retry,dtype=int8`.

    Raises:
        UsageError: a text is empty, a value is out of range, two systems have the same name, or an
            oracle chooses from systems that are not specified before it.
    """
    specs = [_parse(text) for text in texts]
    for index, spec in enumerate(specs):
        earlier = {previous.name for previous in specs[:index]}
        if spec.name in earlier:
            raise UsageError(
                f"two systems are called {spec.name}; give one another name: --system NAME=…"
            )
        unknown = set(spec.candidates) - earlier
        if unknown:
            raise UsageError(
                f"--system {ORACLE}:{spec.model}: no system {', '.join(sorted(unknown))} was named "
                "before it"
            )
    return specs


def _parse(text: str) -> SystemSpec:
    name, equals, source = text.partition("=")
    is_variant = "@" in name and name.rpartition("@")[2].rpartition(",")[2] in _FIELDS
    if not equals or "/" in name or ":" in name or is_variant:  # the equals sign is in the source
        name, source = "", text
    kind, colon, model = source.partition(":")
    if not colon or kind not in {FILE, ORACLE, *PEERS}:
        kind, model = OURS, source
    variant: list[str] = []
    if kind == OURS and _is_variant(model.rpartition("@")[2]):
        model, _, after = model.rpartition("@")
        variant = after.split(",")
    adapter: str | None = None
    if kind == OURS and "+" in model and not Path(model).is_dir():
        model, _, adapter = model.partition("+")
    if not model or adapter == "":
        raise UsageError(f"--system {text}: name a model, or predictions:FILE")
    pairs = [part.split("=", 1) for part in variant if "=" in part]
    values = dict(pairs)
    if len(values) < len(pairs):
        raise UsageError(f"--system {text}: a value is given twice")
    dtype = values.pop(_DTYPE, None)
    if dtype not in (None, *get_args(Dtype)):
        raise UsageError(f"--system {text}: the data types are {', '.join(get_args(Dtype))}")
    engine: Any = values.pop(_ENGINE, None)
    if engine not in (None, *ENGINES):
        raise UsageError(f"--system {text}: the engines are {', '.join(ENGINES)}")
    return SystemSpec(
        name=name or _default_name(kind, model, variant, adapter),
        kind=kind,
        model=model,
        route=next((part for part in variant if part in _ROUTES), "auto"),
        adapter=adapter,
        vad="no-vad" not in variant,
        retry="no-retry" not in variant,
        search=parse_search(values) if values else GREEDY,
        dtype=dtype,
        engine=engine,
    )


def _is_variant(text: str) -> bool:
    """Tell whether a text is a variant rather than a part of a model's name."""
    switches = {*_ROUTES, "no-vad", "no-retry"}
    fields = tuple(f"{name}=" for name in _FIELDS)
    return all(part in switches or part.startswith(fields) for part in text.split(","))


def _default_name(kind: str, model: str, variant: Sequence[str], adapter: str | None) -> str:
    path = Path(model.rstrip("/"))
    if kind == ORACLE:
        return ORACLE
    if kind == FILE:
        return path.stem
    name = path.name or model.rstrip("/")
    if kind != OURS:
        return f"{kind}-{name}"
    if adapter is not None:
        name = f"{name}+{_adapter_name(Path(adapter))}"
    stated = "+".join(part for part in variant if part != "auto")  # commas separate an oracle's
    return f"{name}@{stated}" if stated else name


def _adapter_name(adapter: Path) -> str:
    """Return the name of an adapter's folder, or of its run, whose adapter is called `adapter`."""
    return (
        adapter.parent.name if adapter.name == "adapter" and adapter.parent.name else adapter.name
    )


@dataclass
class MegaASRSystem:
    """One of our models behind `MegaASR`, as users run it; see `predictions.System`.

    Attributes:
        name: name of the system in the result.
        model: name or folder of the model.
        options: language, batch size and network access of the model.
        device: device that the model runs on.
        route: `auto`, `base`, `robust` or `both`.
        adapter: folder of an adapter that replaces the model's own; None for the model's own.
        reliability: voice-activity detection, checks and retries.
        search: how the text of a chunk is searched.
        dtype: data type of the weights; None for the device's.
        engine: what runs the networks.
    """

    name: str
    model: str
    options: InferenceOptions
    device: str
    route: RouteChoice = "auto"
    adapter: str | None = None
    reliability: ReliabilityOptions = DEFAULT_RELIABILITY
    search: SearchOptions = GREEDY
    dtype: str | None = None
    engine: Engine = "transformers"
    kind: str = field(default=OURS, init=False)
    _asr: MegaASR | None = field(default=None, init=False, repr=False)

    @property
    def settings(self) -> dict[str, SettingValue]:
        """All that determines the output."""
        settings: dict[str, SettingValue] = {
            "model": self.model,
            "language": self.options.language,
            "batch_size": self.options.batch_size,
            **self._hashes,
        }
        if self.route != "auto":
            settings["route"] = self.route
        if self.adapter is not None:
            settings["adapter"] = self.adapter
            settings["adapter_sha256"] = adapter_sha256(Path(self.adapter))
        for name in ("vad", "retry"):
            if not getattr(self.reliability, name):
                settings[name] = False
        if self.dtype is not None:
            settings[_DTYPE] = self.dtype
        if self.engine != "transformers":
            settings[_ENGINE] = self.engine
        if self.search != GREEDY:
            settings |= self.search.to_dict()
        return settings

    @cached_property
    def _hashes(self) -> dict[str, str]:
        from megaasr.hub import HubOptions
        from megaasr.model.hub import find_model_parts
        from megaasr.model.parts import part_hashes

        return part_hashes(find_model_parts(self.model, HubOptions(self.options.offline)))

    def prepare(self) -> None:
        """Load the model and run it once, so that one-time work does not count as recognition."""
        from megaasr.transcribe.recognizer import MegaASR

        if self._asr is None:
            self._asr = MegaASR.load(
                self.model,
                device=self.device,
                dtype=self.dtype,
                engine=self.engine,
                offline=self.options.offline,
                batch_size=self.options.batch_size,
                route=self.route,
                adapter=self.adapter,
                reliability=self.reliability,
                search=self.search,
            )
            list(self._asr.transcribe_many(warm_up_clips()))

    def close(self) -> None:
        """Release the model."""
        self._asr = None

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips in shared batches."""
        self.prepare()
        assert self._asr is not None
        outcomes = self._asr.transcribe_many(waveforms, language=self.options.language)
        return [_prediction(outcome) for outcome in outcomes]


@dataclass
class SpeechModelSystem:
    """A bare `SpeechModel`: no voice-activity detection, checks, retries or routing.

    Clips must not be longer than the model takes at once (30 s).

    Attributes:
        name: name of the system in the result.
        model: a loaded model.
        device: device that the model runs on; None if unknown.
        settings: all that determines the output.
    """

    name: str
    model: SpeechModel
    device: str | None = None
    settings: dict[str, SettingValue] = field(default_factory=dict)
    kind: str = field(default="speech-model", init=False)

    def prepare(self) -> None:
        """Do nothing: the model is loaded."""

    def close(self) -> None:
        """Do nothing: the model belongs to the caller."""

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips in shared batches."""
        results = self.model.recognize([Request(waveform.samples) for waveform in waveforms])
        return [
            Prediction(result.text, language=result.language, truncated=result.budget_hit)
            for result in results
        ]


def warm_up_clips() -> list[str]:
    """Return paths of demo clips that route to both branches: a clean and a degraded one."""
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    return [str(folder / name) for name in ("1-clean.flac", "1-obstructed.flac")]


def _prediction(outcome: Outcome) -> Prediction:
    transcript = outcome.transcript
    if transcript is None:
        return Prediction("", error=str(outcome.error))
    decoded = [segment for segment in transcript.segments if segment.route is not None]
    confidences = [s.confidence for s in decoded if s.confidence is not None]
    probabilities = [s.degraded_probability for s in decoded if s.degraded_probability is not None]
    return Prediction(
        transcript.text,
        language=transcript.language,
        # A clip of several segments counts as robust if any segment is.
        route=max((segment.route or "" for segment in decoded), default=None),
        degraded_probability=max(probabilities, default=None),
        confidence=round(sum(confidences) / len(confidences), 4) if confidences else None,
        truncated="token_budget_hit" in transcript.flags,
    )


def load_system(spec: SystemSpec, options: InferenceOptions) -> System:
    """Return a system that transcribes; its model is found now, and loaded when it is needed.

    Args:
        spec: a system that is neither a file of predictions nor an oracle.
        options: device, language, batch size and network access of the model.

    Raises:
        ModelError: there is no such model.
        UsageError: a library is not installed, the adapter's folder holds none, or there is no such
            device.
    """
    if spec.kind != OURS:
        return Peer(
            name=spec.name,
            kind=spec.kind,
            model=spec.model,
            language=options.language,
            device=options.device,
        )
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.loading import check_layout, choose_device

    check_layout(find_model_parts(spec.model, HubOptions(options.offline)).base)
    if spec.adapter is not None and not is_adapter(Path(spec.adapter)):
        raise UsageError(f"--system {spec.name}: {spec.adapter} holds no adapter")
    device = str(choose_device(options.device))
    route: Any = spec.route
    return MegaASRSystem(
        name=spec.name,
        model=spec.model,
        options=options,
        device=device,
        route=route,
        adapter=spec.adapter,
        reliability=ReliabilityOptions(vad=spec.vad, retry=spec.retry),
        search=spec.search,
        dtype=spec.dtype,
        engine=spec.engine or options.engine,
    )


def load_both_branches(
    model: str, options: InferenceOptions, *, threshold: float | None = None
) -> MegaASR:
    """Return a recogniser that transcribes every segment with both branches, without retries.

    Args:
        model: name or folder of a model with a robust branch.
        options: device, batch size and network access of the model; the language has to be passed
            to `MegaASR.transcribe`.
        threshold: the router's threshold, 0..1; None for its own.

    Raises:
        ModelError: there is no such model.
        UsageError: the model has no robust branch.
    """
    from megaasr.transcribe.recognizer import MegaASR

    return MegaASR.load(
        model,
        device=options.device,
        offline=options.offline,
        batch_size=options.batch_size,
        route="both",
        threshold=threshold,
        reliability=ReliabilityOptions(retry=False),
    )
