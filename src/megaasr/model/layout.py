"""The two layouts of Qwen3-ASR checkpoints, and how the native classes load the original one.

*Original* (`Qwen/Qwen3-ASR-1.7B`, and the copy in `zhifeixie/Mega-ASR`): weights under `thinker.`
and a `config.json` with `thinker_config`. *Native* (`...-hf`): the layout of transformers'
`qwen3_asr` classes. Nothing is rewritten on disk: on loading, the configuration is translated and
the weights are renamed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from megaasr.errors import CheckpointError, first_line
from megaasr.model.encoder_attention import EncoderAttention
from megaasr.model.geometry import convolved_length

if TYPE_CHECKING:
    from transformers import Qwen3ASRConfig, Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

Layout = Literal["original", "native"]

INT8_METHOD = "megaasr_int8"
"""Name that the configuration gives to our 8-bit weights (`model.int8`)."""
# The order matters: in the original layout the projector is part of the audio tower.
KEY_MAPPING = {
    r"^thinker\.audio_tower\.proj1\.": "model.multi_modal_projector.linear_1.",
    r"^thinker\.audio_tower\.proj2\.": "model.multi_modal_projector.linear_2.",
    r"^thinker\.audio_tower\.": "model.audio_tower.",
    r"^thinker\.model\.": "model.language_model.",
    r"^thinker\.lm_head\.": "lm_head.",
}
"""Regular expressions that map original to native weight names, for `from_pretrained`."""

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
# For a missing field the classes have defaults, and these differ between the layouts.
_REQUIRED_FIELDS = {
    "audio_config": (
        *("num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        *("d_model", "n_window", "output_dim", "n_window_infer", "downsample_hidden_size"),
    ),
    "text_config": (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta"),
    ),
}
# Encoder chunks in an attention window with global attention: an hour in Qwen3-ASR's geometry.
_GLOBAL_WINDOW_CHUNKS = 3600
_END_TOKEN_IDS = [151643, 151645]
_PAD_TOKEN_ID = 151645


def find_layout(folder: Path) -> Layout:
    """Return the layout of a checkpoint, judging by its configuration.

    Raises:
        CheckpointError: the folder does not contain the configuration of a Qwen3-ASR model.
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
    """Return the content of a checkpoint's `config.json`.

    Raises:
        CheckpointError: the file is missing, or is not a JSON object.
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


def native_key(key: str) -> str:
    """Return the native name of a weight, from its name in either layout."""
    for pattern, replacement in KEY_MAPPING.items():
        if re.match(pattern, key):
            return re.sub(pattern, replacement, key)
    return key


def original_key(key: str) -> str:
    """Return the original name of a weight; the inverse of `native_key`.

    Args:
        key: native name.
    """
    for pattern, native in KEY_MAPPING.items():
        if key.startswith(native):
            prefix = pattern.removeprefix("^").replace(r"\.", ".")
            return prefix + key.removeprefix(native)
    return key


def is_stored_int8(folder: Path) -> bool:
    """Return whether a checkpoint's weights are stored in 8 bits (`model.int8_checkpoint`).

    Raises:
        CheckpointError: `config.json` is missing or damaged.
    """
    return stored_quantization(folder) is not None


def stored_quantization(folder: Path) -> dict[str, Any] | None:
    """Return what the configuration of a checkpoint says about its 8-bit weights; None without.

    Raises:
        CheckpointError: `config.json` is missing or damaged, or the weights are quantised in a way
            that this package does not know.
    """
    quantization = read_config(folder).get("quantization_config")
    if quantization is None:
        return None
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if method != INT8_METHOD:
        raise CheckpointError(
            f"the weights in {folder} are quantised by {method}, which is not supported; use the "
            "model that they were made from"
        )
    return dict(quantization)


def model_config(folder: Path, attention: EncoderAttention = "windowed") -> Qwen3ASRConfig:
    """Return the native configuration of a checkpoint in either layout.

    Args:
        folder: folder of the checkpoint.
        attention: range of the encoder's attention. `windowed`: windows of `n_window_infer` mel
            frames (8 s in Qwen3-ASR), as the checkpoint was designed. `global`: the whole clip, as
            in the authors' package on transformers, and so in Mega-ASR's published figures.

    Raises:
        CheckpointError: a required field is missing.
    """
    from transformers import Qwen3ASRConfig

    config = read_config(folder)
    if find_layout(folder) == "original":
        native = Qwen3ASRConfig(**_translate(config["thinker_config"], folder))
        if config.get("quantization_config") is not None:
            native.quantization_config = config["quantization_config"]
    else:
        native = Qwen3ASRConfig.from_pretrained(folder)
        if getattr(native, "quantization_config", {}) is None:
            del native.quantization_config  # that it is there makes transformers look into it
    audio: Any = native.audio_config
    if attention == "global":
        audio.n_window_infer = 2 * int(audio.n_window) * _GLOBAL_WINDOW_CHUNKS
    return native


def aligner_config(folder: Path) -> tuple[Qwen3ASRConfig, float | None]:
    """Return the native configuration of a forced aligner in either layout, and the duration of its
    classes of time in milliseconds if it is stated.

    Raises:
        CheckpointError: the folder holds no forced aligner.
    """
    from transformers import Qwen3ASRConfig

    config = read_config(folder)
    step = config.get("timestamp_segment_time")
    if find_layout(folder) == "original":
        thinker = config["thinker_config"]
        if "classify_num" not in thinker or "timestamp_token_id" not in config:
            raise CheckpointError(f"{folder} is a speech recogniser and no forced aligner")
        arguments = _translate(thinker, folder) | {
            "timestamp_token_id": int(config["timestamp_token_id"]),
            "num_labels": int(thinker["classify_num"]),
            "token_classification_bias": False,
        }
        return Qwen3ASRConfig(**arguments), step
    if "Qwen3ASRForTokenClassification" not in (config.get("architectures") or ()):
        raise CheckpointError(f"{folder} is a speech recogniser and no forced aligner")
    native: Any = Qwen3ASRConfig.from_pretrained(folder)
    if step is None:
        step = _native_step(folder)
    return native, step


def _native_step(folder: Path) -> float | None:
    """Return the step of a native aligner, which its processor states."""
    path = folder / "processor_config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("timestamp_segment_time")
    except (OSError, ValueError):
        return None
    return None if value is None else float(value)


def aligner_key_mapping(folder: Path) -> dict[str, str] | None:
    """Return how the weight names of a forced aligner become native ones; None if they are."""
    if find_layout(folder) == "native":
        return None
    return {**KEY_MAPPING, r"^thinker\.lm_head\.": "score."}


def _translate(thinker: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the arguments of the native configuration for an original `thinker_config`."""
    audio, text = thinker.get("audio_config", {}), thinker.get("text_config", {})
    for table, required in _REQUIRED_FIELDS.items():
        missing = [name for name in required if name not in thinker.get(table, {})]
        if missing:
            raise CheckpointError(
                f"{folder}/config.json: thinker_config.{table} lacks {', '.join(missing)}; it is "
                "no complete Qwen3-ASR configuration"
            )
    if "audio_token_id" not in thinker:
        raise CheckpointError(f"{folder}/config.json: thinker_config lacks audio_token_id")
    vocabulary = int(text["vocab_size"])
    generation = _read_generation_config(folder)
    default_ends = [token for token in _END_TOKEN_IDS if token < vocabulary]
    ends = generation.get("eos_token_id", default_ends)
    pad = generation.get("pad_token_id", _PAD_TOKEN_ID if vocabulary > _PAD_TOKEN_ID else None)
    return {
        "audio_config": {
            "model_type": "qwen3_asr_encoder",
            **{name: audio[name] for name in _AUDIO_FIELDS if name in audio},
            # The original has as many positions as an encoder chunk has tokens.
            "max_position_embeddings": convolved_length(2 * int(audio["n_window"])),
        },
        # For audio and text, the original's rotary positions are equal on all three axes, so that
        # the decoder is a plain Qwen3.
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


def _read_generation_config(folder: Path) -> dict[str, Any]:
    """Return the content of `generation_config.json`, empty if the file is missing or damaged."""
    path = folder / "generation_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def read_processor(folder: Path) -> Qwen3ASRProcessor:
    """Return the native processor of a checkpoint in either layout.

    Raises:
        CheckpointError: the folder is not a Qwen3-ASR checkpoint.
        OSError, ValueError: the tokenizer's files are missing or damaged.
    """
    from transformers import Qwen3ASRProcessor

    if find_layout(folder) == "original":
        return original_processor(folder)
    processor: Qwen3ASRProcessor = Qwen3ASRProcessor.from_pretrained(folder)
    return processor


def original_processor(folder: Path) -> Qwen3ASRProcessor:
    """Return the native processor for a checkpoint in the original layout.

    Raises:
        OSError, ValueError: the tokenizer's files are missing or damaged.
    """
    from importlib import resources

    from transformers import Qwen2Tokenizer, Qwen3ASRProcessor

    load_tokenizer: Any = Qwen2Tokenizer.from_pretrained
    tokenizer = load_tokenizer(
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
        CheckpointError: the extractor's configuration file is damaged, or missing in the native
            layout.
    """
    from transformers import Qwen3ASRFeatureExtractor

    extractor: Any = Qwen3ASRFeatureExtractor
    if find_layout(folder) == "original":
        return extractor(**_original_extractor_settings(folder))  # type: ignore[no-any-return]
    try:
        return extractor.from_pretrained(folder)  # type: ignore[no-any-return]
    except Exception as error:  # transformers raises all sorts for a missing or damaged file
        raise CheckpointError(
            f"the feature extractor of {folder} cannot be read: {first_line(error)}; is "
            "processor_config.json there?"
        ) from error


def _original_extractor_settings(folder: Path) -> dict[str, int]:
    """Return the arguments of the native feature extractor for an original checkpoint.

    The file describes Whisper's extractor, which pads differently; only its numbers are used.
    """
    path = folder / "preprocessor_config.json"
    numbers = {}
    if path.is_file():  # otherwise the native defaults hold, which are Qwen3-ASR's
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            numbers = {name: int(config[name]) for name in _EXTRACTOR_FIELDS if name in config}
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    window = read_config(folder)["thinker_config"].get("audio_config", {}).get("n_window")
    return numbers if window is None else {**numbers, "n_window": int(window)}
