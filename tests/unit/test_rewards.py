"""The reward of DG-WGPO against hand-computed values, its properties, and the libraries' calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.text.error_rate import count_errors
from megaasr.train.rl.reward_adapters import SwiftReward, compute_score, trl_reward, words
from megaasr.train.rl.rewards import RewardRecipe, score_batch

SAID = "the cat sat on the mat"


def one(hypothesis: str, reference: str = SAID, language: str | None = "en", **changes: object):  # type: ignore[no-untyped-def]
    recipe = RewardRecipe.model_validate(changes)
    found = score_batch([hypothesis], [reference], language, recipe)
    return {
        name: float(getattr(found, name)[0])
        for name in (
            *("total", "wer", "repetition", "static", "fine", "structure", "dynamic"),
            *("error_rate", "substitutions", "deletions", "insertions", "soft", "length"),
        )
    }


def test_a_right_text_has_the_whole_reward() -> None:
    found = one("The cat sat on the mat!")
    assert [found[name] for name in ("total", "wer", "repetition", "fine", "structure")] == [1] * 5


def test_a_soft_and_a_hard_substitution_by_hand() -> None:
    # mat/map: 2 of 3 letters equal, soft; cat/dog: hard. 4 correct.
    found = one("the dog sat on the map")
    assert (found["substitutions"], found["soft"]) == (2, 1)
    assert found["wer"] == pytest.approx(1 - 2 / 6)
    assert found["fine"] == pytest.approx(4 / (4 + 1 + 0.4))
    assert found["structure"] == pytest.approx(0.5 * 4 / 6 + 0.5)
    # WER 1/3 >= 0.3: structure leads.
    dynamic = 0.25 * found["fine"] + 0.75 * found["structure"]
    assert found["dynamic"] == pytest.approx(dynamic)
    assert found["total"] == pytest.approx(0.4 * found["wer"] + 0.6 * dynamic)


def test_below_tau_the_words_lead() -> None:
    found = one("the cat sat on the map")
    dynamic = 0.75 * found["fine"] + 0.25 * found["structure"]
    assert found["dynamic"] == pytest.approx(dynamic)
    assert one("the cat sat on the map", tau=0.1)["dynamic"] != pytest.approx(dynamic)


def test_deletions_and_insertions_are_hard_and_change_the_length() -> None:
    found = one("the cat sat")
    assert (found["deletions"], found["insertions"]) == (3, 0)
    assert found["fine"] == pytest.approx(3 / 6)
    assert found["structure"] == pytest.approx(0.5 * 3 / 6 + 0.5 * 3 / 6)
    longer = one("the cat sat on the mat and then some more words")
    assert longer["insertions"] == 5
    assert longer["structure"] == pytest.approx(0.5 + 0.5 / 6)


def test_invention_is_worse_the_longer_it_is() -> None:
    short, long = one("a b c d e f g h"), one("a b c d e f g h i j k l m n o p q r s t")
    assert long["wer"] < short["wer"] < 0
    assert long["total"] < short["total"]
    assert one("")["total"] < one("the cat")["total"]


@pytest.mark.parametrize(
    ("hypothesis", "reference", "passes"),
    [
        ("no no no", "no no no", True),
        ("no no no", "no", True),  # emphasis, not a loop
        ("no " * 30, "no no no", False),
        ("and then " * 6, "and then he left", False),
        ("we will go to the big house " * 3, "we will go to the big house", False),
        ("go go go go go go", "go go go go go go", True),  # it was said so
        ("hahahahahahahahahaha", "ha", False),
        ("the cat sat on the mat the cat", "the cat sat on the mat", True),
    ],
)
def test_the_repetition_gate(hypothesis: str, reference: str, passes: bool) -> None:
    found = one(hypothesis, reference)
    assert found["repetition"] == float(passes)
    assert found["static"] == (found["wer"] if passes else 0.0)


def test_chinese_counts_characters_and_so_do_its_loops() -> None:
    found = one("今天天汽很好", "今天天气很好", "zh")
    assert (found["substitutions"], found["soft"]) == (1, 0)
    assert found["wer"] == pytest.approx(5 / 6)
    assert one("好" * 12, "你好", "zh")["repetition"] == 0.0
    mixed = one("打开 wifi", "打开 WiFi", "zh")  # Latin letters one by one, case kept
    assert mixed["substitutions"] == 2


def test_where_nobody_speaks() -> None:
    assert one("", "")["total"] == 1.0
    words_out_of_nowhere = one("hello there", "")
    assert words_out_of_nowhere["wer"] == -1.0
    assert words_out_of_nowhere["dynamic"] == 0.0


def test_parts_can_be_left_out() -> None:
    text = "the dog sat on the map"
    whole = one(text)
    assert one(text, fine=False)["dynamic"] == pytest.approx(whole["structure"])
    assert one(text, structure=False)["dynamic"] == pytest.approx(whole["fine"])
    assert one(text, gate=False)["dynamic"] == pytest.approx(
        (whole["fine"] + whole["structure"]) / 2
    )
    assert one("no " * 30, repetition=False)["repetition"] == 1.0
    assert one(text, alpha_dynamic=0.0)["total"] == pytest.approx(whole["static"])


def test_batches_are_in_step_and_languages_may_differ() -> None:
    found = score_batch(["a b", "今天"], ["a b", "今天"], ["en", "zh"])
    assert found.length.tolist() == [2, 2]
    assert score_batch([], []).total.shape == (0,)
    with pytest.raises(ValueError, match="zip"):
        score_batch(["a"], ["a", "b"])


TEXTS = st.lists(st.sampled_from(["a", "bb", "ab", "no", "cats", "hat"]), max_size=12).map(" ".join)


@given(TEXTS, TEXTS)
def test_the_counts_are_the_scorer_s_and_rewards_are_bounded(heard: str, said: str) -> None:
    found = one(heard, said)
    counts = count_errors(said, heard)
    assert found["error_rate"] == pytest.approx(counts.rate)
    errors = found["substitutions"] + found["deletions"] + found["insertions"]
    assert errors == counts.errors
    assert 0 <= found["fine"] <= 1
    assert 0 <= found["structure"] <= 1
    assert found["total"] <= 1 + 1e-9
    assert found["soft"] <= found["substitutions"]
    assert (found["total"] > 1 - 1e-6) == (counts.errors == 0)


def test_trl_calls_with_columns() -> None:
    conversation = [{"role": "assistant", "content": f"language English<asr_text>{SAID}"}]
    rewards = trl_reward(
        prompts=["p"] * 3,
        completions=[conversation, "the cat", "language None"],
        completion_ids=[[1]] * 3,
        solution=[f"language English<asr_text>{SAID}", SAID, ""],
        language=["en"] * 3,
        trainer_state=None,
    )
    assert rewards[0] == rewards[2] == 1.0
    assert rewards[1] < 0.6
    assert all(type(reward) is float for reward in rewards)
    with pytest.raises(ValueError, match="solution"):
        trl_reward(["p"], ["c"])


def test_trl_s_trainer_calls_it_so() -> None:
    pytest.importorskip("trl")
    import inspect

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    assert "prompts=prompts" in source.replace(" = ", "=")
    assert "completion_ids" in source


def test_ms_swift_calls_an_instance_and_verl_a_function() -> None:
    reward = SwiftReward(None, recipe=RewardRecipe(tau=0.5))
    assert reward([SAID, ""], solution=[SAID, SAID], language=["en", "en"])[0] == 1.0
    found = compute_score("megaasr", "the dog sat on the map", SAID, {"language": "en"})
    assert found["score"] == pytest.approx(one("the dog sat on the map")["total"])
    assert found["error_rate"] == pytest.approx(1 / 3)
    assert compute_score("megaasr", SAID, SAID)["score"] == 1.0


def test_the_words_of_a_completion() -> None:
    assert words("language English<asr_text> Hello.") == "Hello."
    assert words("language None<asr_text>") == ""
    assert words("Hello.") == "Hello."
    assert np.isfinite(score_batch([words("")], ["a"]).total).all()
