"""A log of groups: the reference, and every sample with its rewards and its advantage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.train.rl.groups import Group
from megaasr.train.run import forget_rows_after

_LOGGED_REWARDS = ("total", "wer", "repetition", "fine", "structure", "error_rate")


class GroupLog:
    """A JSONL file of groups.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, step: int, groups: Sequence[Group]) -> None:
        """Append groups of a step."""
        if groups:
            with self._path.open("a", encoding="utf-8") as lines:
                lines.writelines(
                    strict_json.dumps(_row(step, group), ensure_ascii=False) + "\n"
                    for group in groups
                )

    def forget_after(self, step: int) -> None:
        """Drop the groups of later steps, which will be drawn again."""
        forget_rows_after(self._path, step)


def _row(step: int, group: Group) -> dict[str, Any]:
    return {
        "step": step,
        "id": group.clip.id,
        "audio": group.clip.audio,
        "language": group.clip.language,
        "reference": group.clip.text,
        "start_text": group.clip.base_text,
        "start_error_rate": group.clip.error_rate,
        "spread": group.has_reward_variance,
        "samples": [
            {
                "text": text,
                "truncated": sample.truncated,
                "advantage": round(float(group.advantages[index]), 4),
                **{name: round(group.rewards[name][index], 4) for name in _LOGGED_REWARDS},
            }
            for index, (sample, text) in enumerate(zip(group.samples, group.texts, strict=True))
        ],
    }
