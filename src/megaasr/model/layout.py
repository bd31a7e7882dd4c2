"""The two layouts of Qwen3-ASR checkpoints, and how the original one is read by the native classes.

*Original* (`Qwen/Qwen3-ASR-1.7B`, and the copy in `zhifeixie/Mega-ASR`): keys under `thinker.`, a
`config.json` with `thinker_config`. *Native* (`...-hf`): transformers' own `qwen3_asr` classes.
Nothing is rewritten on disk: the configuration is translated and keys are renamed while weights
are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from megaasr.errors import CheckpointError
from megaasr.model.geometry import halved

if TYPE_CHECKING:
    from transformers import Qwen3ASRConfig, Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

Layout = Literal["original", "native"]
EncoderAttention = Literal["windowed", "global"]

# In this order: the projector's layers lie inside the original's audio tower.
KEY_MAPPING = {
    r"^thinker\.audio_tower\.proj1\.": "model.multi_modal_projector.linear_1.",
    r"^thinker\.audio_tower\.proj2\.": "model.multi_modal_projector.linear_2.",
    r"^thinker\.audio_tower\.": "model.audio_tower.",
    r"^thinker\.model\.": "model.language_model.",
    r"^thinker\.lm_head\.": "lm_head.",
}
"""Original key to native key, as regular expressions for `from_pretrained`."""

_AUDIO_FIELDS = (
    "num_mel_bins",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "d_model",
    "dropout",
    "attention_dropout",
    "activation_function",
    "activation_dropout",
    "scale_embedding",
    "initializer_range",
    "n_window",
    "output_dim",
    "n_window_infer",
    "downsample_hidden_size",
)
_TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "attention_dropout",
)
_EXTRACTOR_FIELDS = ("feature_size", "sampling_rate", "hop_length", "n_fft")
# Without these the classes' defaults, which differ between the layouts, would decide unseen.
_NEEDED = {
    "audio_config": (
        *("num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        *("d_model", "n_window", "output_dim", "n_window_infer", "downsample_hidden_size"),
    ),
    "text_config": (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta"),
    ),
}
_GLOBAL_CHUNKS = 3600  # an hour of Qwen3-ASR's: one attention window for any piece
_END_TOKENS = [151643, 151645]
_PAD_TOKEN = 151645


def find_layout(folder: Path) -> Layout:
    """Tell the layout of a checkpoint by its configuration.

    Raises:
        CheckpointError: the folder holds no configuration of a Qwen3-ASR model.
    """
    config = read_config(folder)
    if "thinker_config" in config:
        return "original"
    if config.get("model_type") != "qwen3_asr":
        raise CheckpointError(
            f"{folder} is a model of type {config.get('model_type')!r}, not qwen3_asr"
        )
    return "native"


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's `config.json`.

    Raises:
        CheckpointError: there is none, or it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json: it is not a model folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object: it does not describe a model")
    return config


def model_config(folder: Path, attention: EncoderAttention = "windowed") -> Qwen3ASRConfig:
    """Return the native configuration of a checkpoint in either layout.

    Args:
        folder: the checkpoint.
        attention: `windowed`, the encoder attends within windows of `n_window_infer` mel frames
            (8 s in Qwen3-ASR), as the checkpoint was designed; `global`, within the whole piece,
            as the authors' package does on transformers, and as Mega-ASR's published figures were
            made.

    Raises:
        CheckpointError: a field is missing, without which the model would be another one.
    """
    from transformers import Qwen3ASRConfig

    config = read_config(folder)
    if find_layout(folder) == "original":
        found = Qwen3ASRConfig(**_translated(config["thinker_config"], folder))
    else:
        found = Qwen3ASRConfig.from_pretrained(folder)
    audio: Any = found.audio_config
    if attention == "global":
        audio.n_window_infer = 2 * int(audio.n_window) * _GLOBAL_CHUNKS
    return found


def _translated(thinker: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    audio, text = thinker.get("audio_config", {}), thinker.get("text_config", {})
    for table, needed in _NEEDED.items():
        missing = [name for name in needed if name not in thinker.get(table, {})]
        if missing:
            raise CheckpointError(
                f"{folder}/config.json: thinker_config.{table} lacks {', '.join(missing)}; it is "
                "no complete Qwen3-ASR configuration"
            )
    if "audio_token_id" not in thinker:
        raise CheckpointError(f"{folder}/config.json: thinker_config lacks audio_token_id")
    vocabulary = int(text["vocab_size"])
    generation = _generation(folder)
    ends = generation.get("eos_token_id", [one for one in _END_TOKENS if one < vocabulary])
    pad = generation.get("pad_token_id", _PAD_TOKEN if vocabulary > _PAD_TOKEN else None)
    return {
        "audio_config": {
            "model_type": "qwen3_asr_encoder",
            **{name: audio[name] for name in _AUDIO_FIELDS if name in audio},
            # The original cuts its table of sinusoids to the tokens of a chunk.
            "max_position_embeddings": halved(2 * int(audio["n_window"])),
        },
        # The rotary positions of three axes are one axis for sound and text: plain Qwen3.
        "text_config": {
            "model_type": "qwen3",
            **{name: text[name] for name in _TEXT_FIELDS if name in text},
            "rope_parameters": {"rope_type": "default", "rope_theta": float(text["rope_theta"])},
            "eos_token_id": ends,
            "pad_token_id": pad,
        },
        "audio_token_id": int(thinker["audio_token_id"]),
        "timestamp_token_id": min(int(thinker.get("timestamp_token_id") or 0), vocabulary - 1),
        "eos_token_id": ends,
        "pad_token_id": pad,
        "tie_word_embeddings": bool(text.get("tie_word_embeddings", True)),
    }


def _generation(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def original_processor(folder: Path) -> Qwen3ASRProcessor:
    """Return the native processor for a checkpoint in the original layout.

    Raises:
        OSError, ValueError: the tokenizer's files are missing or damaged.
    """
    from importlib import resources

    from transformers import Qwen2Tokenizer, Qwen3ASRProcessor

    make: Any = Qwen2Tokenizer.from_pretrained
    tokenizer = make(
        folder,
        extra_special_tokens={
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
            "audio_token": "<|audio_pad|>",
        },
    )
    template = (resources.files("megaasr.model") / "chat_template.jinja").read_text("utf-8")
    return Qwen3ASRProcessor(
        feature_extractor=feature_extractor(folder), tokenizer=tokenizer, chat_template=template
    )


def feature_extractor(folder: Path) -> Qwen3ASRFeatureExtractor:
    """Return the native feature extractor of a checkpoint in either layout.

    Raises:
        CheckpointError: the file that describes it is missing (native layout) or damaged.
    """
    from transformers import Qwen3ASRFeatureExtractor

    make: Any = Qwen3ASRFeatureExtractor
    if find_layout(folder) == "original":
        return make(**_original_extractor(folder))  # type: ignore[no-any-return]
    try:
        return make.from_pretrained(folder)  # type: ignore[no-any-return]
    except Exception as error:  # whatever transformers makes of a missing or damaged file
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the feature extractor of {folder} cannot be read: {first}; is processor_config.json "
            "there?"
        ) from error


def _original_extractor(folder: Path) -> dict[str, int]:
    """Return what an original checkpoint says about its features, under the native names.

    It describes Whisper's extractor, which pads differently; only the numbers count.
    """
    path = folder / "preprocessor_config.json"
    numbers = {}
    if path.is_file():  # without it, the native defaults are Qwen3-ASR's
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            numbers = {name: int(stated[name]) for name in _EXTRACTOR_FIELDS if name in stated}
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    window = read_config(folder)["thinker_config"].get("audio_config", {}).get("n_window")
    return numbers if window is None else {**numbers, "n_window": int(window)}
