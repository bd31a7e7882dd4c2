"""The reward as TRL, verl and ms-swift call theirs; each is a thin shell around `score_batch`.

All three get texts as the model wrote them; `language English<asr_text>` before the words is taken
off first, and `language None` is no words.

- TRL (1.x): `GRPOTrainer(reward_funcs=trl_reward)`; columns `solution` (or `text`) and, if there is
  one, `language`.
- verl (0.9): `custom_reward_function.path=…/reward_adapters.py`, `.name=compute_score`; a pair in
  each call.
- ms-swift (4.x): `orms["megaasr"] = SwiftReward` in an `--external_plugins` file; columns as for
  TRL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from megaasr.model.prompt import parse_output
from megaasr.train.rl.rewards import DEFAULT_REWARD, RewardRecipe, score_batch

_REFERENCES = ("solution", "text", "ground_truth")


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
        **columns: of the data set, in step; `solution` or `text` must be among them.

    Raises:
        ValueError: there are no references.
    """
    return _score(completions, columns)


class SwiftReward:
    """A reward of ms-swift: called with completions and the columns of the data set.

    Args:
        args: what ms-swift passes; not used.
        recipe: the constants.
        **options: what ms-swift passes; not used.
    """

    def __init__(
        self, args: Any = None, *, recipe: RewardRecipe = DEFAULT_REWARD, **options: Any
    ) -> None:
        self._recipe = recipe

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """Return a reward for each completion; arguments as for `trl_reward`."""
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
        solution_str: the completion.
        ground_truth: what was said.
        extra_info: `language` is read if it is there.

    Returns:
        `score`, the reward, and its parts, which verl logs.
    """
    language = (extra_info or {}).get("language")
    found = score_batch([words(solution_str)], [words(ground_truth)], language)
    parts = ("wer", "repetition", "static", "fine", "structure", "dynamic", "error_rate")
    return {
        "score": float(found.total[0]),
        **{name: float(getattr(found, name)[0]) for name in parts},
    }


def words(text: str) -> str:
    """Return the words of a completion: without the output format, and none for no speech."""
    if "<asr_text>" not in text:
        return "" if text.strip() == "language None" else text.strip()
    found, language = parse_output(text)
    return found if language is not None else ""


def _score(
    completions: Sequence[Any], columns: Mapping[str, Any], recipe: RewardRecipe = DEFAULT_REWARD
) -> list[float]:
    references = next((columns[name] for name in _REFERENCES if name in columns), None)
    if references is None:
        raise ValueError(f"the data set needs one of the columns {', '.join(_REFERENCES)}")
    hypotheses = [words(_text(one)) for one in completions]
    found = score_batch(
        hypotheses, [words(one) for one in references], columns.get("language"), recipe
    )
    return [float(one) for one in found.total]


def _text(completion: Any) -> str:
    """Return the text of a completion: as it is, or of the last message of a conversation."""
    if isinstance(completion, str):
        return completion
    last = completion[-1]
    return str(last["content"] if isinstance(last, Mapping) else last)
