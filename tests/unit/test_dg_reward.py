"""The reward of DG-WGPO: values computed by hand, properties, and the interfaces of libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.text.dg_reward import RewardRecipe, score_batch
from megaasr.text.error_rate import count_errors
from megaasr.train.rl.reward_adapters import SwiftReward, compute_score, transcript_of, trl_reward

REFERENCE = "the cat sat on the mat"


def score(
    hypothesis: str, reference: str = REFERENCE, language: str | None = "en", **changes: object
) -> dict[str, float]:
    recipe = RewardRecipe.model_validate(changes)
    rewards = score_batch([hypothesis], [reference], language, recipe)
    return {
        name: float(getattr(rewards, name)[0])
        for name in (
            *("total", "wer", "repetition", "static", "fine", "structure", "dynamic"),
            *("error_rate", "substitutions", "deletions", "insertions", "soft", "length"),
        )
    }


def test_a_correct_text_has_the_full_reward() -> None:
    rewards = score("The cat sat on the mat!")
    assert [rewards[name] for name in ("total", "wer", "repetition", "fine", "structure")] == [
        1
    ] * 5


def test_a_soft_and_a_hard_substitution_by_hand() -> None:
    # mat/map: 2 of 3 letters equal, soft; cat/dog: hard. 4 correct.
    rewards = score("the dog sat on the map")
    assert (rewards["substitutions"], rewards["soft"]) == (2, 1)
    assert rewards["wer"] == pytest.approx(1 - 2 / 6)
    assert rewards["fine"] == pytest.approx(4 / (4 + 1 + 0.4))
    assert rewards["structure"] == pytest.approx(0.5 * 4 / 6 + 0.5)
    # WER 1/3 >= 0.3: structure dominates.
    dynamic = 0.25 * rewards["fine"] + 0.75 * rewards["structure"]
    assert rewards["dynamic"] == pytest.approx(dynamic)
    assert rewards["total"] == pytest.approx(0.4 * rewards["wer"] + 0.6 * dynamic)


def test_below_tau_the_words_dominate() -> None:
    rewards = score("the cat sat on the map")
    dynamic = 0.75 * rewards["fine"] + 0.25 * rewards["structure"]
    assert rewards["dynamic"] == pytest.approx(dynamic)
    assert score("the cat sat on the map", tau=0.1)["dynamic"] != pytest.approx(dynamic)


def test_deletions_and_insertions_are_hard_and_change_the_length() -> None:
    rewards = score("the cat sat")
    assert (rewards["deletions"], rewards["insertions"]) == (3, 0)
    assert rewards["fine"] == pytest.approx(3 / 6)
    assert rewards["structure"] == pytest.approx(0.5 * 3 / 6 + 0.5 * 3 / 6)
    longer = score("the cat sat on the mat and then some more words")
    assert longer["insertions"] == 5
    assert longer["structure"] == pytest.approx(0.5 + 0.5 / 6)


def test_longer_hallucinations_are_worse() -> None:
    short, long = score("a b c d e f g h"), score("a b c d e f g h i j k l m n o p q r s t")
    assert long["wer"] < short["wer"] < 0
    assert long["total"] < short["total"]
    assert score("")["total"] < score("the cat")["total"]


@pytest.mark.parametrize(
    ("hypothesis", "reference", "passes"),
    [
        ("no no no", "no no no", True),
        ("no no no", "no", True),  # emphasis, not a loop
        ("no " * 30, "no no no", False),
        ("and then " * 6, "and then he left", False),
        ("we will go to the big house " * 3, "we will go to the big house", False),
        ("go go go go go go", "go go go go go go", True),  # the reference has it, too
        ("hahahahahahahahahaha", "ha", False),
        ("the cat sat on the mat the cat", "the cat sat on the mat", True),
    ],
)
def test_the_repetition_gate(hypothesis: str, reference: str, passes: bool) -> None:
    rewards = score(hypothesis, reference)
    assert rewards["repetition"] == float(passes)
    assert rewards["static"] == (rewards["wer"] if passes else 0.0)


def test_chinese_counts_characters_and_so_do_its_loops() -> None:
    rewards = score("今天天汽很好", "今天天气很好", "zh")
    assert (rewards["substitutions"], rewards["soft"]) == (1, 0)
    assert rewards["wer"] == pytest.approx(5 / 6)
    assert score("好" * 12, "你好", "zh")["repetition"] == 0.0
    mixed = score("打开 wifi", "打开 WiFi", "zh")  # Latin letters score by score, case kept
    assert mixed["substitutions"] == 2


def test_clips_without_speech() -> None:
    assert score("", "")["total"] == 1.0
    hallucination = score("hello there", "")
    assert hallucination["wer"] == -1.0
    assert hallucination["dynamic"] == 0.0


def test_parts_can_be_left_out() -> None:
    text = "the dog sat on the map"
    full = score(text)
    assert score(text, fine=False)["dynamic"] == pytest.approx(full["structure"])
    assert score(text, structure=False)["dynamic"] == pytest.approx(full["fine"])
    assert score(text, gate=False)["dynamic"] == pytest.approx(
        (full["fine"] + full["structure"]) / 2
    )
    assert score("no " * 30, repetition=False)["repetition"] == 1.0
    assert score(text, alpha_dynamic=0.0)["total"] == pytest.approx(full["static"])


def test_pairs_of_a_batch_may_have_different_languages() -> None:
    rewards = score_batch(["a b", "今天"], ["a b", "今天"], ["en", "zh"])
    assert rewards.length.tolist() == [2, 2]
    assert score_batch([], []).total.shape == (0,)
    with pytest.raises(ValueError, match="zip"):
        score_batch(["a"], ["a", "b"])


TEXTS = st.lists(st.sampled_from(["a", "bb", "ab", "no", "cats", "hat"]), max_size=12).map(" ".join)


@given(TEXTS, TEXTS)
def test_counts_equal_the_scorers_and_rewards_are_bounded(hypothesis: str, reference: str) -> None:
    rewards = score(hypothesis, reference)
    counts = count_errors(reference, hypothesis)
    assert rewards["error_rate"] == pytest.approx(counts.rate)
    errors = rewards["substitutions"] + rewards["deletions"] + rewards["insertions"]
    assert errors == counts.errors
    assert 0 <= rewards["fine"] <= 1
    assert 0 <= rewards["structure"] <= 1
    assert rewards["total"] <= 1 + 1e-9
    assert rewards["soft"] <= rewards["substitutions"]
    assert (rewards["total"] > 1 - 1e-6) == (counts.errors == 0)


def test_trl_passes_columns() -> None:
    conversation = [{"role": "assistant", "content": f"language English<asr_text>{REFERENCE}"}]
    rewards = trl_reward(
        prompts=["p"] * 3,
        completions=[conversation, "the cat", "language None"],
        completion_ids=[[1]] * 3,
        solution=[f"language English<asr_text>{REFERENCE}", REFERENCE, ""],
        language=["en"] * 3,
        trainer_state=None,
    )
    assert rewards[0] == rewards[2] == 1.0
    assert rewards[1] < 0.6
    assert all(type(reward) is float for reward in rewards)
    with pytest.raises(ValueError, match="solution"):
        trl_reward(["p"], ["c"])


def test_the_trainer_of_trl_passes_these_arguments() -> None:
    pytest.importorskip("trl")
    import inspect

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    assert "prompts=prompts" in source.replace(" = ", "=")
    assert "completion_ids" in source


def test_ms_swift_calls_an_instance_and_verl_a_function() -> None:
    reward = SwiftReward(None, recipe=RewardRecipe(tau=0.5))
    assert reward([REFERENCE, ""], solution=[REFERENCE, REFERENCE], language=["en", "en"])[0] == 1.0
    rewards = compute_score("megaasr", "the dog sat on the map", REFERENCE, {"language": "en"})
    assert rewards["score"] == pytest.approx(score("the dog sat on the map")["total"])
    assert rewards["error_rate"] == pytest.approx(1 / 3)
    assert compute_score("megaasr", REFERENCE, REFERENCE)["score"] == 1.0


def test_the_transcript_of_a_completion() -> None:
    assert transcript_of("language English<asr_text> Hello.") == "Hello."
    assert transcript_of("language None<asr_text>") == ""
    assert transcript_of("Hello.") == "Hello."
    assert np.isfinite(score_batch([transcript_of("")], ["a"]).total).all()
