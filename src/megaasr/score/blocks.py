"""Which clips of a test set are independent, and which the bootstrap must draw together."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.errors import UsageError
from megaasr.score.test_set import TestClip

SENTENCES = "sentences"
"""How results name the blocks of `blocks_of` without a field."""


def blocks_of(clips: Sequence[TestClip], field: str | None = None) -> list[str]:
    """Return the name of each clip's block.

    Without a field, the copies of one sentence are a block: clips with the same `parent_id` (made
    from the same clean clip) together with that clip; of the others, clips with the same text, up
    to case and spaces. A clip without text or parent is a block of its own. A block is called after
    its first clip.

    Args:
        clips: the test set.
        field: field of the records that names the blocks (`speaker`, `parent_audio`, …; `id` for
            single clips); None for the copies of one sentence.

    Raises:
        UsageError: a record has no such field.
    """
    if field is not None:
        return [_value_of(clip, field) for clip in clips]
    parents = {parent for clip in clips if (parent := _parent_of(clip)) is not None}
    first_clip: dict[tuple[str, str], str] = {}
    return [first_clip.setdefault(_sentence_of(clip, parents), clip.id) for clip in clips]


def _value_of(clip: TestClip, field: str) -> str:
    if field == "id":
        return clip.id
    value = (clip.record or {}).get(field)
    if value is None:
        raise UsageError(f"clip {clip.id} has no field {field}, which --blocks asks for")
    return str(value)


def _parent_of(clip: TestClip) -> str | None:
    parent = (clip.record or {}).get("parent_id")
    return None if parent in (None, "") else str(parent)


def _sentence_of(clip: TestClip, parents: set[str]) -> tuple[str, str]:
    parent = _parent_of(clip)
    if parent is not None:
        return "parent", parent
    if clip.id in parents:
        return "parent", clip.id
    text = " ".join(clip.text.casefold().split())
    return ("text", text) if text else ("id", clip.id)
