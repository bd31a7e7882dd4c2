"""Settings of the server: from a TOML file, `MEGA_ASR_*` variables, and the command line.

One setting has one name: `max_upload_mb` in a file, `MEGA_ASR_MAX_UPLOAD_MB` in the environment,
`--set max_upload_mb=…` (some have an option of their own) on the command line. The command line
overrides the environment, and the environment overrides the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from megaasr.config import Recipe, explain_invalid, read_toml
from megaasr.errors import UsageError
from megaasr.hub import HubOptions
from megaasr.model.encoder_attention import EncoderAttention
from megaasr.model.engine_limits import Engine, EngineLimits
from megaasr.model.hub import DEFAULT_MODEL
from megaasr.model.interface import Dtype
from megaasr.route.decision import RouteChoice
from megaasr.transcribe.bundle import ModelOptions

PREFIX = "MEGA_ASR_"
"""Beginning of the names of environment variables that are settings."""

OPENAI_MODELS = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)
"""Names of OpenAI's models that clients send by default; each stands for the served model."""


def _split(value: object) -> object:
    """Return the entries of a list that a variable or option holds, separated by commas."""
    if not isinstance(value, str):
        return value
    return tuple(entry.strip() for entry in value.split(",") if entry.strip())


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Strings; separated by commas in a variable or option."""


class ServerSettings(Recipe):
    """Everything that an operator may set; the defaults are for one machine and its own user."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 selects a free one.")
    allowed_hosts: Names = Field(
        (),
        description="Names by which clients may address the server; without any, all of them, or "
        "only the loopback names if it listens on the loopback address.",
    )
    cors_origins: Names = Field((), description="Origins of web pages that may use the server.")
    tls_certificate: Path | None = Field(None, description="Certificate chain, PEM.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM.")
    preload: bool = Field(False, description="Load the model before the port is opened.")
    shutdown_s: float = Field(
        30.0, gt=0, description="Seconds that requests in progress have to end on shutdown."
    )

    model: str = Field(DEFAULT_MODEL, description="Shipped model, folder, or hub name.")
    aliases: Names = Field(OPENAI_MODELS, description="Other names that clients may give it.")
    device: str | None = Field(None, description="cpu, cuda, cuda:1 or mps.")
    dtype: Dtype | None = Field(None, description="Data type of the weights.")
    batch_size: int = Field(8, ge=1, description="Chunks decoded at once.")
    memory: str | None = Field(
        None,
        description="Memory that the model may use, such as 8GB, or auto for what is free: decides "
        "dtype and batch_size unless they are set (engines.md).",
    )
    engine: Engine = Field("transformers", description="What runs the networks (engines.md).")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Share of the GPU's memory for the engine vllm."
    )
    max_model_len: int | None = Field(
        None, ge=1, description="Tokens of prompt and text of a chunk; engine vllm."
    )
    max_num_seqs: int | None = Field(None, ge=1, description="Chunks decoded at once; engine vllm.")
    max_num_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens in a step; engine vllm."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads.")
    encoder_attention: EncoderAttention = Field("windowed", description="Encoder attention.")
    align: str = Field("model", description="Times of words: model, off, or a forced aligner.")
    adapter: Path | None = Field(None, description="Adapter folder instead of the model's own.")
    route: RouteChoice = Field("auto", description="Branch, unless a request names one.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="P(degraded) from which the robust branch is used."
    )
    profile: Path | None = Field(None, description="Route and threshold of mega-asr calibrate.")
    offline: bool = Field(False, description="Never use the network.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")

    api_keys: Path | None = Field(
        None, description="File of hashed API keys; without one, everybody may use the server."
    )
    max_requests: int = Field(
        16, ge=1, description="Requests that are transcribed at the same time."
    )
    max_queue: int = Field(64, ge=0, description="Requests that wait; further ones get a 429.")
    max_queue_per_client: int = Field(32, ge=0, description="The same, of one client.")
    request_timeout_s: float = Field(
        600.0, gt=0, description="Seconds for waiting and transcribing, after the upload."
    )
    max_upload_mb: float = Field(500.0, gt=0, description="Largest upload in megabytes (10⁶).")
    max_uploads: int = Field(
        64, ge=1, description="Uploads that are received at the same time; further ones get a 429."
    )
    max_uploads_per_client: int = Field(32, ge=1, description="The same, of one client.")
    upload_timeout_s: float = Field(300.0, gt=0, description="Seconds that an upload may take.")
    max_audio_s: float = Field(
        6 * 3600.0, gt=0, description="Longest recording in seconds, in a request or a job."
    )
    max_channels: int = Field(16, ge=1, description="Most channels of a recording.")
    max_samples: int = Field(64, ge=1, description="Most samples of a chunk for decode.")

    data_dir: Path | None = Field(
        None, description="Folder of jobs and journals; without one, there are none."
    )
    path_root: Path | None = Field(
        None, description="Folder whose recordings jobs may name by path; without one, none."
    )
    max_jobs: int = Field(1000, ge=1, description="Jobs that wait or run; further ones get a 429.")
    parallel_jobs: int = Field(2, ge=1, description="Jobs that are transcribed at the same time.")
    job_model_wait_s: float = Field(
        600.0,
        ge=0,
        description="Seconds that jobs wait for a model that cannot be loaded before they fail.",
    )
    job_expiry_h: float = Field(24.0, gt=0, description="Hours that an ended job is kept.")

    max_sessions: int = Field(64, ge=1, description="Realtime sessions at the same time.")
    resume_s: float = Field(
        60.0, ge=0, description="Seconds in which a lost realtime session may be resumed."
    )
    journal_audio: bool = Field(
        True, description="Journal the audio of realtime sessions in data_dir until they end."
    )
    max_journal_mb: float = Field(
        200.0,
        gt=0,
        description="Largest journal of a realtime session that can be resumed after a restart, "
        "in megabytes.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_texts: bool = Field(False, description="Log what was transcribed.")

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and ("://" not in origin or origin.endswith("/")):
                raise ValueError(f"{origin} is not an origin such as https://example.org")
        return origins

    @property
    def max_upload_bytes(self) -> int:
        """Largest upload in bytes."""
        return int(self.max_upload_mb * 1e6)

    def model_options(self) -> ModelOptions:
        """Return which model is loaded, and how.

        Raises:
            UsageError: the profile cannot be used with the model.
        """
        options = ModelOptions(
            name=self.model,
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size if "batch_size" in self.model_fields_set else None,
            memory=self.memory,
            threads=self.threads,
            engine=self.engine,
            engine_limits=EngineLimits(
                gpu_memory_utilization=self.gpu_memory_utilization,
                max_model_len=self.max_model_len,
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=self.max_num_batched_tokens,
            ),
            encoder_attention=self.encoder_attention,
            align=self.align,
            adapter=self.adapter,
            route=self.route,
            threshold=self.threshold,
            hub=HubOptions(self.offline, self.revision),
        )
        return options.with_profile(self.profile)


def load_settings(
    file: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]
) -> ServerSettings:
    """Read and validate the settings.

    Args:
        file: TOML file, or None.
        environment: variables; those whose names begin with `PREFIX` are settings.
        options: settings of the command line; None for those that were not given.

    Raises:
        UsageError: the file cannot be read, a setting is unknown, or a value is invalid. The
            message says where it stands.
    """
    sources: dict[str, dict[str, Any]] = {
        str(file): {} if file is None else read_toml(file),
        "environment": {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        },
        "command line": {name: value for name, value in options.items() if value is not None},
    }
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, entries in sources.items():
        values |= entries
        origins |= dict.fromkeys(entries, source)
    try:
        settings = ServerSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]["loc"]
        origin = origins.get(str(first[0]), "settings") if first else "settings"
        raise UsageError(f"{origin}: {explain_invalid(ServerSettings, error)}") from error
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise UsageError("tls_certificate and tls_key belong together: set both or neither")
    return settings


def settings_table() -> str:
    """Return all settings with defaults and descriptions as rows of a Markdown table."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, field in ServerSettings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(default)
        text = default if isinstance(default, str) else str(default).lower()
        shown = "" if default in (None, "") else f"`{text}`"
        rows.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(rows)
