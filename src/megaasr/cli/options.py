"""Options that several commands share, so that one option has one name, range and description."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

MODEL_PANEL = "Model"
RELIABILITY_PANEL = "Reliability"
OUTPUT_PANEL = "Output"
VLLM_PANEL = "Sizes of the engine vllm"


class RouteName(StrEnum):
    """Values of `--route`."""

    AUTO = "auto"
    BASE = "base"
    ROBUST = "robust"
    BOTH = "both"


class UtilityName(StrEnum):
    """Values of `--utility`."""

    ERRORS = "errors"
    REWARD = "reward"


class SearchName(StrEnum):
    """Values of `--decode`."""

    GREEDY = "greedy"
    BEST = "best"
    CONSENSUS = "consensus"
    AUTO = "auto"


class MarkingName(StrEnum):
    """Values of `--unintelligible`."""

    KEEP = "keep"
    MARK = "mark"
    DROP = "drop"


class AttentionName(StrEnum):
    """Values of `--encoder-attention`."""

    WINDOWED = "windowed"
    GLOBAL = "global"


class EncodingName(StrEnum):
    """Values of `--encoding`."""

    WINDOWED = "windowed"
    GLOBAL = "global"


class CommitName(StrEnum):
    """Values of `--commit`."""

    AGREEMENT = "agreement"
    ROLLBACK = "rollback"
    FINAL = "final"


class StoredDtypeName(StrEnum):
    """Data types of weights in files."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class EngineName(StrEnum):
    """Values of `--engine`."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"


class DtypeName(StrEnum):
    """Values of `--dtype`, where a model is loaded."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


ModelName = Annotated[
    str | None,
    typer.Option(
        help="A folder, a Hugging Face name, or a shipped model, small or tiny [default: small].",
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchSize = Annotated[
    int, typer.Option(help="Chunks decoded at once.", min=1, rich_help_panel=MODEL_PANEL)
]
ChosenBatchSize = Annotated[
    int | None,
    typer.Option(
        help="Chunks decoded at once [default: 8, or what --memory allows].",
        min=1,
        rich_help_panel=MODEL_PANEL,
    ),
]
"""`BatchSize` of commands with `--memory`: None if it is not given."""
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1 or mps [default: the best available].", rich_help_panel=MODEL_PANEL
    ),
]
_LANGUAGE_HELP = (
    "Language to force: a code or a name, such as zh, zho, zh-CN or Chinese [default: detected]."
)
Language = Annotated[str | None, typer.Option(help=_LANGUAGE_HELP)]
ForcedLanguage = Annotated[
    str | None, typer.Option(help=_LANGUAGE_HELP, rich_help_panel=MODEL_PANEL)
]
"""`Language` of commands that list it among the options of the model."""
Context = Annotated[str, typer.Option("--context", help="Names and terms that bias the model.")]
NormalizerVersion = Annotated[
    int | None,
    typer.Option(
        help="Version of the rules that make texts comparable, for rates like older ones "
        "[default: the latest].",
        min=1,
    ),
]
Dtype = Annotated[
    DtypeName | None,
    typer.Option(
        help="Data type of the weights; int8 for CPUs; auto: the fastest "
        "[default: bfloat16 on GPUs that support it, else float32].",
        rich_help_panel=MODEL_PANEL,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that the model may use, such as 8GB or 7.5GiB, or auto for what is free; "
        "decides dtype and batch size unless they are stated (docs/engines.md).",
        rich_help_panel=MODEL_PANEL,
    ),
]
EngineChoice = Annotated[
    EngineName,
    typer.Option(
        help="What runs the networks; vllm for many recordings on a GPU, in an environment with "
        "vLLM (docs/engines.md).",
        rich_help_panel=MODEL_PANEL,
    ),
]
GpuMemoryUtilization = Annotated[
    float | None,
    typer.Option(
        help="Share of the GPU's memory for the engine vllm [default: what it needs].",
        rich_help_panel=VLLM_PANEL,
    ),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option(
        help="Most tokens of prompt and text of a chunk [default: 4096, or what --memory allows].",
        rich_help_panel=VLLM_PANEL,
    ),
]
MaxNumSeqs = Annotated[
    int | None,
    typer.Option(
        help="Chunks decoded at once [default: 64, or what --memory allows].",
        rich_help_panel=VLLM_PANEL,
    ),
]
MaxNumBatchedTokens = Annotated[
    int | None,
    typer.Option(
        help="Most tokens in a step [default: by the number of chunks].",
        rich_help_panel=VLLM_PANEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(help="CPU threads [default: torch's].", min=1, rich_help_panel=MODEL_PANEL),
]
_OFFLINE = typer.Option("--offline", help="Never use the network.", rich_help_panel=MODEL_PANEL)
Offline = Annotated[bool, _OFFLINE]
OfflineSetting = Annotated[bool | None, _OFFLINE]
"""`Offline` of commands that also read it from elsewhere: None if it is not given."""
Revision = Annotated[
    str | None,
    typer.Option(
        help="Branch, tag or commit of a model on the hub [default: its default branch].",
        rich_help_panel=MODEL_PANEL,
    ),
]
AdapterFolder = Annotated[
    Path | None,
    typer.Option(
        help="Adapter folder in PEFT's layout, instead of the model's own adapter.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Attention = Annotated[
    AttentionName,
    typer.Option(
        help="Encoder attention: windowed (Qwen's design) or global (the paper's figures).",
        rich_help_panel=MODEL_PANEL,
    ),
]
AlignChoice = Annotated[
    str,
    typer.Option(
        metavar="model|off|NAME",
        help="Times of words: model, by its attention where it is known to follow the speech; off, "
        "estimates from the detected speech; or a folder or Hugging Face name of a forced aligner "
        "(docs/transcripts.md).",
        rich_help_panel=MODEL_PANEL,
    ),
]
BranchRoute = Annotated[
    RouteName,
    typer.Option(
        help="Branch that decodes a chunk. auto: the router selects; base, robust: only this one; "
        "both: decode with both and keep the text that fails fewer checks, or else the more "
        "probable one (mega-asr compare shows where they differ).",
        rich_help_panel=MODEL_PANEL,
    ),
]
RouterThreshold = Annotated[
    float | None,
    typer.Option(
        help="Use the robust branch when P(degraded) is at least this value.",
        min=0,
        max=1,
        rich_help_panel=MODEL_PANEL,
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        help="Route and threshold fitted by mega-asr calibrate; --route and --threshold override "
        "them.",
        rich_help_panel=MODEL_PANEL,
    ),
]
