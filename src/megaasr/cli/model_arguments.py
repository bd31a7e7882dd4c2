"""The options of commands that load a model for transcription."""

from __future__ import annotations

from dataclasses import dataclass

from megaasr.cli import options
from megaasr.hub import HubOptions
from megaasr.model.engine_limits import EngineLimits
from megaasr.model.hub import DEFAULT_MODEL
from megaasr.transcribe.bundle import ModelOptions


@dataclass(frozen=True, slots=True)
class ModelArguments:
    """How a model is loaded and how its branch is selected; see `megaasr.cli.options`."""

    device: options.Device = None
    dtype: options.Dtype = None
    memory: options.Memory = None
    route: options.BranchRoute = options.RouteName.AUTO
    threshold: options.RouterThreshold = None
    adapter: options.AdapterFolder = None
    profile: options.Profile = None
    encoder_attention: options.Attention = options.AttentionName.WINDOWED
    align: options.AlignChoice = "model"
    threads: options.Threads = None
    offline: options.Offline = False
    revision: options.Revision = None
    engine: options.EngineChoice = options.EngineName.TRANSFORMERS
    gpu_memory_utilization: options.GpuMemoryUtilization = None
    max_model_len: options.MaxModelLen = None
    max_num_seqs: options.MaxNumSeqs = None
    max_num_batched_tokens: options.MaxNumBatchedTokens = None

    def model_options(self, name: str | None, batch_size: int | None = None) -> ModelOptions:
        """Return the options to open a model with.

        Args:
            name: the value of `--model`; None for the default model.
            batch_size: largest number of chunks that are decoded at once, at least 1; None for the
                default, or what `--memory` allows.

        Raises:
            UsageError: the profile is not one, or was fitted for another router; or the memory is
                no size.
        """
        return ModelOptions(
            name=name or DEFAULT_MODEL,
            device=self.device,
            dtype=self.dtype and self.dtype.value,
            batch_size=batch_size,
            memory=self.memory,
            threads=self.threads,
            encoder_attention=self.encoder_attention.value,
            align=self.align,
            adapter=self.adapter,
            engine=self.engine.value,
            engine_limits=EngineLimits(
                gpu_memory_utilization=self.gpu_memory_utilization,
                max_model_len=self.max_model_len,
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=self.max_num_batched_tokens,
            ),
            route=self.route.value,
            threshold=self.threshold,
            hub=HubOptions(self.offline, self.revision),
        ).with_profile(self.profile)
