"""Text formats of transcripts: readable, and no text can break them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.records import FORMATS, Segment, Transcript
from megaasr.records.subtitles import (
    MAX_CUE_S,
    MIN_CUE_S,
    live_line,
    single_line,
    split_into_cues,
    timestamp,
)

LONG = (
    "The old lighthouse keeper climbed the narrow stairs every evening before the sun went down, "
    "because the ships could not wait. He lit the lamp. Then he sat by the window, wrote three "
    "lines in his book and listened to the wind until the morning came again over the grey sea."
)
TIMES = re.compile(r"^(\d\d:\d\d:\d\d[.,]\d{3}) --> (\d\d:\d\d:\d\d[.,]\d{3})$")


def transcript(*segments: Segment) -> Transcript:
    text = " ".join(segment.text for segment in segments if segment.text)
    return Transcript(text, "en", 61.5, "fake", segments, audio="a.wav")


TWO = transcript(
    Segment(0.0, 4.0, "Good morning.", "en"),
    Segment(4.0, 30.0, "", None, ("no_speech",)),
    Segment(30.0, 61.5, "And\tgood\n\nnight -->  <b>all</b> & you.", "en"),
)


def test_txt_has_one_line_per_segment_with_words() -> None:
    assert TWO.render("txt") == "Good morning.\nAnd good night --> <b>all</b> & you.\n"


def test_tsv_has_integer_milliseconds_and_no_stray_tabs() -> None:
    assert TWO.render("tsv") == (
        "start\tend\ttext\n"
        "0\t4000\tGood morning.\n"
        "30000\t61500\tAnd good night --> <b>all</b> & you.\n"
    )


def test_srt() -> None:
    assert TWO.render("srt") == (
        "1\n00:00:00,000 --> 00:00:04,000\nGood morning.\n"
        "\n"
        "2\n00:00:30,000 --> 00:00:37,000\nAnd good night → <b>all</b> & you.\n"
    )


def test_vtt_escapes_characters_with_a_meaning() -> None:
    assert TWO.render("vtt") == (
        "WEBVTT\n"
        "\n"
        "00:00:00.000 --> 00:00:04.000\nGood morning.\n"
        "\n"
        "00:00:30.000 --> 00:00:37.000\nAnd good night --&gt; &lt;b&gt;all&lt;/b&gt; &amp; you.\n"
    )


def test_json_contains_the_transcript_as_a_dictionary() -> None:
    text = TWO.render("json")
    assert json.loads(text) == TWO.to_dict()
    assert text.startswith('{\n  "schema": 1,')


def test_json_does_not_escape_letters() -> None:
    assert "早上好" in transcript(Segment(0, 1, "早上好", "zh")).to_json()


@pytest.mark.parametrize("format", FORMATS)
def test_a_transcript_without_words_gives_a_file_without_lines(format: str) -> None:
    empty = Transcript("", None, 2.0, "fake", (Segment(0, 2, "", None),), "no speech was detected")
    expected = {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}
    if format != "json":
        assert empty.render(format) == expected[format]


def test_the_error_about_an_unknown_format_lists_the_formats() -> None:
    with pytest.raises(UsageError, match="txt, srt, vtt, tsv, json"):
        TWO.render("docx")


def test_long_segments_become_readable_cues() -> None:
    cues = split_into_cues(Segment(30.0, 48.0, LONG, "en"))
    assert " ".join(line for cue in cues for line in cue.lines) == LONG
    assert cues[0].start == 30.0
    assert cues[-1].end == pytest.approx(48.0)
    for cue in cues:
        assert len(cue.lines) <= 2
        assert all(len(line) <= 42 for line in cue.lines)
        assert MIN_CUE_S <= cue.end - cue.start <= MAX_CUE_S
    # Every sentence begins a new cue; the lines of a cue are of similar length.
    assert ("He lit the lamp.",) in [cue.lines for cue in cues]
    assert all(min(map(len, cue.lines)) > 0.5 * max(map(len, cue.lines)) for cue in cues)


def test_durations_are_proportional_to_characters() -> None:
    first, second = split_into_cues(
        Segment(0.0, 6.0, "One two three four five six seven. " * 2, "en")
    )
    assert first.end == pytest.approx(3.0)
    assert second.end == pytest.approx(6.0)


def test_short_sentences_share_a_cue() -> None:
    assert [cue.lines for cue in split_into_cues(Segment(0, 3, "Yes. No. I think so.", "en"))] == [
        ("Yes. No. I think so.",)
    ]


def test_a_cue_is_displayed_for_at_most_seven_seconds() -> None:
    (cue,) = split_into_cues(Segment(0.0, 30.0, "Hello.", "en"))
    assert (cue.start, cue.end) == (0.0, MAX_CUE_S)


def test_languages_without_spaces_are_broken_by_width() -> None:
    text = "今天的天气非常好，我们一起去公园散步，然后在湖边喝茶，"
    text += "听老人讲过去的故事，直到太阳慢慢落山。"
    lines = [line for cue in split_into_cues(Segment(0.0, 12.0, text, "zh")) for line in cue.lines]
    assert "".join(lines) == text
    assert all(len(line) <= 21 for line in lines)
    assert all(line[0] not in "，。" for line in lines)


def test_a_word_that_is_longer_than_a_line_is_broken() -> None:
    lines = [
        line for cue in split_into_cues(Segment(0.0, 12.0, "a" * 100, "en")) for line in cue.lines
    ]
    assert "".join(lines) == "a" * 100
    assert max(map(len, lines)) <= 42


def test_control_characters_are_removed() -> None:
    assert single_line("a\x1b[31m\x00b\u2028c\u0085d\u200de\r\n\n f") == "a[31mb c d\u200de f"


def test_live_lines_look_like_those_of_whisper() -> None:
    assert live_line(Segment(0.0, 4.0, "Hi.", "en")) == "[00:00.000 --> 00:04.000]  Hi."
    line = live_line(Segment(3599.9996, 3661.25, "Hi.", "en"))
    assert line == "[01:00:00.000 --> 01:01:01.250]  Hi."


def test_timestamps() -> None:
    assert timestamp(0) == "00:00:00.000"
    assert timestamp(59.9996) == "00:01:00.000"
    assert timestamp(360_000.5, decimal=",") == "100:00:00,500"


# Strings that have a meaning in one of the formats, and arbitrary text.
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(["-->", "\n\n", "\r", "1\n", "00:00:00,000 --> 00:00:01,000", "WEBVTT"]),
        st.sampled_from(["<script>", "&amp;", "\u2028", "\x00", "NOTE x", "\t", "。", "漢字", "."]),
        st.text(max_size=60),
    ),
    max_size=12,
).map(" ".join)


@given(text=HOSTILE, duration_s=st.floats(0.1, 30.0))
def test_no_text_breaks_srt_or_vtt(text: str, duration_s: float) -> None:
    result = transcript(Segment(1.0, 1.0 + duration_s, text, "en"))
    expected = split_into_cues(result.segments[0])
    shown = "".join(line for cue in expected for line in cue.lines)
    assert shown.replace(" ", "") == single_line(text).replace(" ", "")
    for format in ("srt", "vtt"):
        blocks = result.render(format).split("\n\n")
        blocks = blocks[1:] if format == "vtt" else blocks
        blocks = [block for block in blocks if block]
        assert len(blocks) == len(expected)
        for block, cue in zip(blocks, expected, strict=True):
            lines = block.rstrip("\n").split("\n")
            times_line = 1 if format == "srt" else 0  # after the cue's number in srt
            assert TIMES.match(lines[times_line])
            assert len(lines) - times_line - 1 == len(cue.lines) <= 2
            assert not any("-->" in line for line in lines[times_line + 1 :])


@given(text=HOSTILE, duration_s=st.floats(0.1, 30.0))
def test_cues_are_in_order_within_the_segment(text: str, duration_s: float) -> None:
    segment = Segment(1.0, 1.0 + duration_s, text, "en")
    previous_end = segment.start
    for cue in split_into_cues(segment):
        assert previous_end - 1e-6 <= cue.start < cue.end <= segment.end + 2e-3
        previous_end = cue.end
