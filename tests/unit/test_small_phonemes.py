"""Phonemes, their alignment with speech, and frames concatenated from them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from megaasr.errors import TrainingError
from megaasr.train.small.alignment import align_words, peak_frames
from megaasr.train.small.concatenation import UnitInventory
from megaasr.train.small.lexicon import PHONEMES, Lexicon, simplify, spoken_words, write_lexicon
from megaasr.train.small.phoneme_check import PHONEME_CLASSES, PhonemeCheck, greedy_phonemes


def best_path(log_probs: np.ndarray, targets: list[int]) -> float:
    """The probability of the best path, by trying all of them."""
    best = -np.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        collapsed = [label for label, _ in itertools.groupby(path) if label]
        if collapsed == targets:
            best = max(best, sum(log_probs[i, label] for i, label in enumerate(path)))
    return best


@pytest.mark.parametrize("targets", [[1], [1, 2], [2, 2], [1, 2, 1]])
def test_peaks_lie_on_the_best_path(targets: list[int]) -> None:
    rng = np.random.default_rng(len(targets))
    for _ in range(5):
        logits = rng.normal(0, 2, (5, 3))
        log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
        peaks = peak_frames(log_probs, targets)
        assert peaks is not None
        assert peaks == sorted(set(peaks))
        # With every peak pinned to its class, the best path is as good as before.
        pinned = log_probs.copy()
        for frame, target in zip(peaks, targets, strict=True):
            pinned[frame, np.arange(3) != target] = -100.0
        assert best_path(pinned, targets) == pytest.approx(best_path(log_probs, targets))


def test_too_few_frames_have_no_peaks() -> None:
    log_probs = np.full((3, 3), np.log(1 / 3), dtype=np.float32)
    assert peak_frames(log_probs, [1, 1, 1]) is None
    assert align_words([("aba", "aba"), ("b", "b")], log_probs, 0) == []
    assert peak_frames(log_probs, [1, 2, 1]) == [0, 1, 2]


def test_a_long_sentence_has_as_many_peaks_as_phonemes() -> None:
    """More states than fit into the eight bits in which a step of the path is kept."""
    targets = [1 + i % 2 for i in range(300)]
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 400)).astype(np.float32)
    peaks = peak_frames(log_probs, targets)
    assert peaks is not None
    assert len(set(peaks)) == 300


def spoken(phonemes: str, frames: dict[int, str], count: int) -> np.ndarray:
    """Log-probabilities of blanks, and of phonemes in some frames."""
    log_probs = np.full((count, 1 + len(PHONEMES)), -9.0, dtype=np.float32)
    log_probs[:, 0] = -0.1
    for frame, phoneme in frames.items():
        log_probs[frame, [0, 1 + PHONEMES.index(phoneme)]] = [-9.0, -0.1]
    return log_probs


def test_words_have_the_frames_around_their_phonemes() -> None:
    log_probs = spoken("noj", {10: "n", 14: "d", 40: "j"}, 60)
    no, you = align_words([("no", "nd"), ("you", "j")], log_probs, 100)
    assert (no.text, no.peaks, you.peaks) == ("no", (110, 114), (140,))
    # The middle between two phonemes, and four frames before and after a word, not the pause.
    assert no.bounds == (106, 112, 119)
    assert you.bounds == (136, 145)


def test_a_greedy_path_has_no_blanks_and_no_repetitions() -> None:
    a, b = 1 + PHONEMES.index("a"), 1 + PHONEMES.index("b")
    assert greedy_phonemes([0, a, a, 0, a, b, 0, 0]) == "aab"
    assert greedy_phonemes([0, 0]) == ""


def test_every_phoneme_has_a_class() -> None:
    assert sorted("".join(PHONEME_CLASSES.values())) == sorted(PHONEMES)


def test_errors_of_phonemes_are_counted_by_class() -> None:
    check = PhonemeCheck()
    check.add("bad", "mad")  # a plosive substituted
    check.add("nɪt", "nt")  # a vowel deleted
    check.add("t", "tp")  # a plosive inserted
    assert check.clips == 3
    assert check.errors == (5, 1, 1, 1)
    assert (check.spoken["plosive"], check.missed["plosive"]) == (4, 1)
    assert (check.spoken["vowel"], check.missed["vowel"]) == (2, 1)
    assert (check.spoken["nasal"], check.missed["nasal"]) == (1, 0)


def write_speech(folder: Path) -> None:
    """Two examples whose frames hold their own number, and the alignment of their words."""
    frames = np.arange(100, dtype=np.float16)[:, None] * np.ones((1, 4), np.float16)
    np.save(folder / "train-000.npy", frames)
    examples = [{"text": "No you", "frames": 60}, {"text": "You", "frames": 40}]
    (folder / "train-000.json").write_text(json.dumps({"examples": examples}))
    rows = [
        [["no", "nd", [6, 12, 19], [10, 14]], ["you", "j", [36, 45], [40]]],
        [["you", "j", [70, 80], [75]]],
    ]
    (folder / "alignments").mkdir()
    (folder / "alignments" / "train-000.json").write_text(json.dumps(rows))


def test_frames_of_a_sentence_are_those_of_its_words(tmp_path: Path) -> None:
    write_speech(tmp_path)
    units = UnitInventory(tmp_path, tmp_path / "alignments", ["train-000.jsonl"], 1.0)
    rng = np.random.default_rng(0)
    spoken_frames: set[tuple[int, ...]] = set()
    for _ in range(20):
        frames = units.assemble(["you", "no"], ["j", "nd"], 1, rng)
        numbers = frames.values[:, 0].astype(int).tolist()
        (first, end), (second, last) = frames.words
        assert numbers[first:end] in ([40], [75])
        assert numbers[second:last] == [10, 14]
        spoken_frames.add(tuple(n for n in numbers if not 19 < n < 36))  # without pauses
    assert spoken_frames == {(40, 10, 14), (75, 10, 14)}
    longer = units.assemble(["no"], ["nd"], 100, np.random.default_rng(3)).values[:, 0].tolist()
    assert set(range(6, 19)) <= set(longer)


def test_words_that_nobody_spoke_are_assembled_from_phonemes(tmp_path: Path) -> None:
    write_speech(tmp_path)
    units = UnitInventory(tmp_path, tmp_path / "alignments", ["train-000.jsonl"], 1.0)
    assert units.can_assemble(["jd"])
    assert not units.can_assemble(["jz"])
    numbers = units.assemble(["yod"], ["jd"], 1, np.random.default_rng(0)).values[:, 0].astype(int)
    assert [n for n in numbers if not 19 < n < 36] in ([40, 14], [75, 14])
    with pytest.raises(TrainingError, match="mega-asr train align"):
        UnitInventory(tmp_path, tmp_path / "none", ["train-000.jsonl"], 1.0)


def test_a_sentence_with_an_unknown_word_has_no_phonemes(tmp_path: Path) -> None:
    lexicon = Lexicon({"no": "nɔʊ"})
    assert lexicon.pronounce("No, no!") == ["nɔʊ", "nɔʊ"]
    assert lexicon.pronounce("No way.") is None
    assert lexicon.pronounce("") == []
    assert spoken_words("“Well,” -- don't!") == ["well", "don't"]
    with pytest.raises(TrainingError, match="mega-asr train lexicon"):
        Lexicon.load(tmp_path / "lexicon.json")


def test_ipa_is_reduced_to_the_phonemes() -> None:
    assert simplify("bˈʌɾɚ") == "bʌtɚ"
    assert simplify("ˈɡoʊɪŋ") == "gɔʊɪŋ"
    assert set(PHONEMES) == set(simplify(PHONEMES))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_espeak_pronounces_each_word(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.json"
    assert write_lexicon(["The girls' door.", "A thirty-one!"], path) == 5
    lexicon = Lexicon.load(path)
    assert lexicon.pronounce("the thirty-one girls") == ["ðə", "θɚtiwʌn", "gɚlz"]
