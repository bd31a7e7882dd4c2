"""A model with everything that belongs to it: network, adapter, router and calibration."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from megaasr.errors import UsageError
from megaasr.hub import HubOptions
from megaasr.model.chunk_length import default_max_chunk_s, read_max_chunk_s
from megaasr.model.encoder_attention import EncoderAttention
from megaasr.model.engine_limits import (
    ENGINES,
    NO_LIMITS,
    Engine,
    EngineLimits,
    default_batch_size,
)
from megaasr.model.hub import DEFAULT_MODEL, find_local_model, find_model, find_model_parts
from megaasr.model.memory_budget import parse_memory
from megaasr.transcribe.segment_facts import Calibrate, SegmentFacts, uncalibrated

if TYPE_CHECKING:
    import torch

    from megaasr.audio.waveform import Samples
    from megaasr.model.interface import (
        AlignedTime,
        Recognition,
        Request,
        Route,
        SamplingSettings,
        SpeechModel,
        WordAligner,
    )
    from megaasr.model.memory_plan import MemoryPlan
    from megaasr.model.parts import ModelParts
    from megaasr.model.qwen3_asr import Qwen3ASR
    from megaasr.model.vllm_engine import VllmModel
    from megaasr.model.vllm_sizes import EnginePlan
    from megaasr.route.decision import RouteChoice, RouteDecision
    from megaasr.transcribe.branch_choice import BranchTexts, ChooseBranch

_LOGGER = logging.getLogger(__name__)
_MAX_THREADS = 1024
"""More than any machine has cores for; with tens of thousands the process would be ended."""


class RouterLike(Protocol):
    """Selects the branch for a chunk, as `megaasr.route.router.Router` does."""

    def decide(self, samples: Samples) -> RouteDecision:
        """Return the decision for audio, float32 of shape [time], 16 kHz mono."""
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model to load, and how.

    Attributes:
        name: a shipped model (`small` or `tiny`), a folder, or a name on the Hugging Face hub.
        device: `cpu`, `cuda`, `cuda:1` or `mps`; None selects the best available.
        dtype: `float32`, `bfloat16`, `float16`, `int8` (on CPUs) or `auto`; None selects by
            device.
        batch_size: largest number of chunks in one forward pass; None for 8, or as many as fit
            into `memory` if these are fewer.
        memory: memory that the model may use, which decides the dtype and the batch size unless
            they are stated: `8GB`, `7.5GiB`, or `auto` for what is free; None for no limit.
        threads: number of CPU threads; None keeps torch's setting.
        encoder_attention: `windowed` or `global`, see `megaasr.model.layout`.
        align: `model` to time words by the model's alignment heads, if it has any; `off` to
            estimate their times from the detected speech; else the name or folder of a forced
            aligner.
        adapter: adapter folder in PEFT's layout; None for the model's own adapter.
        engine: what runs the networks, `transformers` or `vllm`.
        engine_limits: sizes of the engine vllm that are not to be computed; its `memory` is not
            used here.
        route: branch selection: `auto`, `base`, `robust` or `both`.
        threshold: probability of degraded audio, 0..1, from which `auto` selects the robust branch;
            None for the router's own threshold.
        hub: how a model on the hub is found.
    """

    name: str = DEFAULT_MODEL
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    memory: str | None = None
    threads: int | None = None
    encoder_attention: EncoderAttention = "windowed"
    align: str = "model"
    adapter: Path | None = None
    engine: Engine = "transformers"
    engine_limits: EngineLimits = NO_LIMITS
    route: RouteChoice = "auto"
    threshold: float | None = None
    hub: HubOptions = field(default_factory=HubOptions)

    def __post_init__(self) -> None:
        for name, number in (("batch_size", self.batch_size), ("threads", self.threads)):
            if number is not None and not (isinstance(number, int) and number >= 1):
                raise UsageError(f"{name} is {number}; it must be a whole number of at least 1")
        if self.threads is not None and self.threads > _MAX_THREADS:
            raise UsageError(f"threads is {self.threads}; it must be at most {_MAX_THREADS}")
        if self.memory is not None:
            parse_memory(self.memory)
        check_route(self.route)
        if self.encoder_attention not in (choices := get_args(EncoderAttention)):
            raise UsageError(
                f"encoder_attention {self.encoder_attention!r}: choose {' or '.join(choices)}"
            )
        if self.engine not in ENGINES:
            raise UsageError(f"engine {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.engine != "vllm" and self.engine_limits != NO_LIMITS:
            raise UsageError(
                "gpu_memory_utilization, max_model_len, max_num_seqs and max_num_batched_tokens "
                "are sizes of the engine vllm"
            )

    @property
    def max_batch_size(self) -> int:
        """Largest number of chunks that are decoded at once, memory permitting."""
        return default_batch_size(self.engine) if self.batch_size is None else self.batch_size

    @property
    def names_aligner(self) -> bool:
        """Whether words are timed by a forced aligner."""
        return self.align not in ("model", "off")

    def with_profile(self, path: Path | None) -> ModelOptions:
        """Return options with the route and threshold of a profile, unless they are set already.

        Args:
            path: profile written by `mega-asr calibrate`; None changes nothing.

        Raises:
            UsageError: the file is not a profile, or was fitted for another router.
        """
        if path is None:
            return self
        from megaasr.route.profile import RoutingProfile

        profile = RoutingProfile.read(path)
        profile.require(self.name, self.hub)
        route, threshold = profile.over(self.route, self.threshold)
        return replace(self, route=route, threshold=threshold)

    def identity(self) -> object:
        """Return what distinguishes the model from others, as JSON values.

        It is a hash of the contents for a folder, and the name and revision for a model on the hub,
        so that nothing is downloaded.
        """
        from megaasr.adapter.peft_layout import adapter_sha256
        from megaasr.hashing import file_sha256
        from megaasr.model.alignment_heads import HEADS_FILE
        from megaasr.model.parts import find_parts, fingerprint, part_hashes
        from megaasr.transcribe.branch_choice import CHOICE_FILE
        from megaasr.transcribe.confidence import CALIBRATION_FILE

        folder = find_local_model(self.name)
        model: object = [self.name, self.hub.revision]
        if folder is not None:
            parts = find_parts(folder)
            # These decide the times and confidences of words.
            beside = (parts.base / name for name in (HEADS_FILE, CALIBRATION_FILE, CHOICE_FILE))
            hashes = {path.name: file_sha256(path) for path in beside if path.is_file()}
            model = {**part_hashes(parts), **hashes}
        aligner: object = self.align
        if self.names_aligner and (aligner_folder := find_local_model(self.align)) is not None:
            aligner = fingerprint(aligner_folder)
        return {
            "model": model,
            "adapter": None if self.adapter is None else adapter_sha256(self.adapter),
            "route": self.route,
            "threshold": self.threshold,
            "encoder_attention": self.encoder_attention,
            **({} if self.align == "model" else {"align": aligner}),
            "dtype": self.dtype,
            **({} if self.engine == "transformers" else {"engine": self.engine}),
            **({} if self.memory is None else {"memory": self.memory}),
        }


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model, its router and the calibration of its confidence.

    Attributes:
        model: the speech model, with its robust branch if it has an adapter.
        router: selects the branch for each chunk; None if there is nothing to select.
        calibration: maps the model's probability of a word to its confidence.
        aligner: times the words; None without a forced aligner.
        max_chunk_s: returns the length of the longest chunk that the model should decode, seconds.
        choose_branch: chooses between the texts of the two branches; None if the model has no
            fitted choice.
    """

    model: SpeechModel
    router: RouterLike | None = None
    calibration: Calibrate = uncalibrated
    aligner: WordAligner | None = None
    max_chunk_s: Callable[[], float] = default_max_chunk_s
    choose_branch: ChooseBranch | None = None


OnPlan = Callable[["MemoryPlan | EnginePlan"], None]
"""Called with the plan of a model that is about to be loaded into a certain amount of memory."""


def open_bundle(options: ModelOptions, on_plan: OnPlan | None = None) -> ModelBundle:
    """Load a model with its router and calibration.

    Args:
        options: the model to load.
        on_plan: is told how the model will fit into its memory, if the options limit that.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
        UsageError: the threshold is out of range, the device does not exist, the model does not fit
            into the memory, or the route needs an adapter and the model has none.
    """
    from megaasr.route.router import find_router
    from megaasr.transcribe.branch_choice import read_branch_choice
    from megaasr.transcribe.confidence import read_calibration

    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    plan = plan_bundle(options)
    if plan is not None:
        _report_plan(options, plan, on_plan)
    model = _load_model(options, plan, on_plan)
    if options.route in ("robust", "both") and not model.has_robust_route:
        raise UsageError(
            f"{options.name} has no adapter, so there is no robust route; choose a --model with "
            "one, such as zhifeixie/Mega-ASR, or give it one with --adapter"
        )
    parts = find_model_parts(options.name, options.hub)
    router = None
    if options.route in ("auto", "both") and model.has_robust_route:
        router = find_router(parts, threshold=options.threshold, device=options.device)
    aligner = None
    if options.names_aligner:
        from megaasr.model.forced_aligner import load_aligner

        aligner = load_aligner(_aligner_folder(options), model.device, model.dtype)
    longest_s = read_max_chunk_s(parts.base) if plan is None else plan.max_chunk_s
    return ModelBundle(
        model,
        router,
        read_calibration(parts.base),
        aligner,
        max_chunk_s=lambda: longest_s,
        choose_branch=read_branch_choice(parts.base),
    )


def _report_plan(
    options: ModelOptions, plan: MemoryPlan | EnginePlan, on_plan: OnPlan | None
) -> None:
    _LOGGER.info("%s %s", options.name, plan)
    if on_plan is not None:
        on_plan(plan)


def _load_model(
    options: ModelOptions, plan: MemoryPlan | None, on_plan: OnPlan | None
) -> Qwen3ASR | VllmModel:
    """Load the model of the options on its engine."""
    if options.engine == "vllm":
        from megaasr.model.engines import load_on_vllm

        limits = replace(
            options.engine_limits,
            memory=options.memory,
            max_num_seqs=options.engine_limits.max_num_seqs or options.batch_size,
        )
        return load_on_vllm(
            options.name,
            device=options.device,
            dtype=options.dtype,
            hub=options.hub,
            adapter=options.adapter,
            attention=options.encoder_attention,
            limits=limits,
            on_plan=partial(_report_plan, options, on_plan=on_plan),
        )
    from megaasr.model.loading import load_model  # imports torch

    dtype, batch_size = options.dtype, options.max_batch_size
    if plan is not None:
        dtype, batch_size = plan.dtype, plan.batch_size
    return load_model(
        options.name,
        device=options.device,
        dtype=dtype,
        hub=options.hub,
        batch_size=batch_size,
        encoder_attention=options.encoder_attention,
        time_words=options.align == "model",
        adapter=options.adapter,
    )


def plan_bundle(options: ModelOptions) -> MemoryPlan | None:
    """Return how a model fits into its memory, after downloading it if necessary.

    Returns:
        The plan; None if the options do not limit the memory, or leave it to vLLM, which is planned
        when it is loaded.

    Raises:
        ModelError: there is no such model, or its files cannot be read.
        UsageError: the model does not fit, or the device does not exist.
    """
    memory = options.memory
    if memory is None or options.engine == "vllm":
        return None
    from megaasr.model.loading import check_layout
    from megaasr.model.memory import ModelMemory
    from megaasr.model.memory_budget import free_memory
    from megaasr.model.memory_plan import plan_memory

    parts, device, dtype = _device_choice(options)
    check_layout(parts.base)
    budget = parse_memory(memory)
    return plan_memory(
        ModelMemory.of_parts(
            parts,
            adapter=options.adapter,
            aligner=_aligner_folder(options) if options.names_aligner else None,
            attention=options.encoder_attention,
            time_words=options.align == "model",
        ),
        free_memory(device) if budget is None else budget,
        device,
        dtype=dtype,
        batch_size=options.batch_size,
    )


def check_bundle(options: ModelOptions) -> None:
    """Check what can be known of a model before it is loaded, after downloading it if necessary.

    Raises:
        ModelError: there is no such model, or its files cannot be read.
        UsageError: the model does not fit into its memory, the device does not exist or cannot have
            the data type, or the engine is not installed.
    """
    if options.engine == "vllm":
        from megaasr.model.vllm_offline import require_vllm

        require_vllm()
        return
    from megaasr.model.loading import choose_dtype

    _, device, dtype = _device_choice(options)
    choose_dtype(device, dtype)
    plan_bundle(options)


def _device_choice(options: ModelOptions) -> tuple[ModelParts, torch.device, str | None]:
    """Return a model's parts, its device, and its data type if it was chosen or is stored."""
    from megaasr.model.loading import choose_device, stored_choice

    parts = find_model_parts(options.name, options.hub)
    device, dtype = stored_choice(parts.base, options.device, options.dtype)
    return parts, choose_device(device), dtype


def _aligner_folder(options: ModelOptions) -> Path:
    hub = replace(options.hub, revision=None)  # the revision is the model's
    return find_model(options.align, hub)


class LazyModel:
    """A model that is loaded when the first chunk is routed or decoded.

    A wrong path, or a folder in which everything has been transcribed, then costs no loading time.
    It is a `SpeechModel` and a `RouterLike`, and calibrates too.

    Args:
        options: the model to load.
        on_plan: see `open_bundle`.

    Attributes:
        options: the options that the model is loaded with.
        loading_s: seconds spent on loading so far.
    """

    def __init__(self, options: ModelOptions, on_plan: OnPlan | None = None) -> None:
        self.options = options
        self._on_plan = on_plan
        self.loading_s = 0.0
        self._bundle: ModelBundle | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.options.name

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self._loaded().model.has_robust_route

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the results are in the order of the requests."""
        return self._loaded().model.recognize(requests)

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk, in the order of the requests."""
        return self._loaded().model.sample(requests, settings)

    @property
    def languages(self) -> Collection[str]:
        """ISO codes of the languages that the forced aligner of the options knows."""
        aligner = self._loaded().aligner
        return () if aligner is None else aligner.languages

    def align(self, samples: Samples, words: Sequence[str]) -> list[AlignedTime | None]:
        """Return when each word is spoken, by the forced aligner of the options."""
        aligner = self._loaded().aligner
        assert aligner is not None
        return aligner.align(samples, words)

    def decide(self, samples: Samples) -> RouteDecision:
        """Return the router's decision, or `NO_ROUTER` if the model has no router."""
        from megaasr.route.decision import NO_ROUTER

        router = self._loaded().router
        return NO_ROUTER if router is None else router.decide(samples)

    def calibration(self, probability: float, facts: SegmentFacts) -> float:
        """Return the confidence, 0..1, of a word with this probability."""
        return self._loaded().calibration(probability, facts)

    def choose_branch(self, texts: BranchTexts) -> Route | None:
        """Return the branch whose text of a chunk is kept, or None to leave it to the rules."""
        choose = self._loaded().choose_branch
        return None if choose is None else choose(texts)

    def max_chunk_s(self) -> float:
        """Return the length in seconds of the longest chunk that the model should decode.

        A local model need not be loaded for it, unless its memory is limited.
        """
        if self._bundle is None and self.options.memory is None:
            folder = find_local_model(self.options.name)
            if folder is not None:
                from megaasr.model.parts import find_parts

                return read_max_chunk_s(find_parts(folder).base)
        return self._loaded().max_chunk_s()

    def bundle(self) -> ModelBundle:
        """Return a bundle whose model, router and calibration load this model on first use."""
        aligner = self if self.options.names_aligner else None
        return ModelBundle(
            self, self, self.calibration, aligner, self.max_chunk_s, self.choose_branch
        )

    def _loaded(self) -> ModelBundle:
        if self._bundle is None:
            start = time.monotonic()
            self._bundle = open_bundle(self.options, self._on_plan)
            self.loading_s = time.monotonic() - start
        return self._bundle


def check_route(route: str) -> None:
    """Raise unless a route is one of `RouteChoice`.

    Raises:
        UsageError: the route is unknown.
    """
    from megaasr.route.decision import RouteChoice

    if route not in get_args(RouteChoice):
        raise UsageError(
            f"unknown route {route!r}; choose one of {', '.join(get_args(RouteChoice))}"
        )
