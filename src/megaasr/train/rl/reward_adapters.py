"""The reward in the form of TRL, verl and ms-swift; each is a thin wrapper of `score_batch`.

All three pass texts as the model wrote them. The output format is removed first: the transcript of
`language English<asr_text>words` is `words`, and that of `language None` is empty.

- TRL (1.x): `GRPOTrainer(reward_funcs=trl_reward)`; columns `solution` (or `text`) and, optionally,
  `language`.
- verl (0.9): `custom_reward_function.path=…/reward_adapters.py`, `.name=compute_score`; one pair in
  each call.
- ms-swift (4.x): `orms["megaasr"] = SwiftReward` in an `--external_plugins` file; columns as for
  TRL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from megaasr.model.prompt import ASR_TEXT, NO_SPEECH, parse_output
from megaasr.text.dg_reward import DEFAULT_REWARD, RewardRecipe, score_batch

_REFERENCE_COLUMNS = ("solution", "text", "ground_truth")


def trl_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> list[float]:
    """Score completions as a reward function of TRL's GRPOTrainer.

    Args:
        prompts: not used.
        completions: texts, or conversations whose last message is the transcript.
        completion_ids: not used.
        **columns: columns of the data set, one value per completion; `solution` or `text` must be
            among them.

    Raises:
        ValueError: there is no column of references.
    """
    return _score(completions, columns)


class SwiftReward:
    """A reward of ms-swift, called with completions and the columns of the data set.

    Args:
        args: argument that ms-swift passes; not used.
        recipe: constants of the reward.
        **options: further arguments that ms-swift passes; not used.
    """

    def __init__(
        self, args: Any = None, *, recipe: RewardRecipe = DEFAULT_REWARD, **options: Any
    ) -> None:
        self._recipe = recipe

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """Return the reward of each completion; the arguments are those of `trl_reward`."""
        return _score(completions, columns, self._recipe)


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Score one completion as verl's custom reward function.

    Args:
        data_source: not used.
        solution_str: completion of the model.
        ground_truth: the reference transcript.
        extra_info: may hold `language`, an ISO code.

    Returns:
        `score`, the reward, and its parts, which verl logs.
    """
    language = (extra_info or {}).get("language")
    rewards = score_batch([transcript_of(solution_str)], [transcript_of(ground_truth)], language)
    parts = ("wer", "repetition", "static", "fine", "structure", "dynamic", "error_rate")
    return {
        "score": float(rewards.total[0]),
        **{name: float(getattr(rewards, name)[0]) for name in parts},
    }


def transcript_of(completion: str) -> str:
    """Return the transcript in a completion, without the output format; empty without speech."""
    if ASR_TEXT not in completion:
        is_silent = completion.strip() == f"language {NO_SPEECH}"
        return "" if is_silent else completion.strip()
    text, language = parse_output(completion)
    return text if language is not None else ""


def _score(
    completions: Sequence[Any], columns: Mapping[str, Any], recipe: RewardRecipe = DEFAULT_REWARD
) -> list[float]:
    references = next((columns[name] for name in _REFERENCE_COLUMNS if name in columns), None)
    if references is None:
        raise ValueError(f"the data set needs one of the columns {', '.join(_REFERENCE_COLUMNS)}")
    rewards = score_batch(
        [transcript_of(_text(completion)) for completion in completions],
        [transcript_of(reference) for reference in references],
        columns.get("language"),
        recipe,
    )
    return [float(total) for total in rewards.total]


def _text(completion: Any) -> str:
    """Return the text of a completion: itself, or the last message of a conversation."""
    if isinstance(completion, str):
        return completion
    message = completion[-1]
    return str(message["content"] if isinstance(message, Mapping) else message)
