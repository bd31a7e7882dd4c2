"""Text formats of transcripts: readable, and no text can break them."""

import json
import re
import unicodedata
from itertools import accumulate, groupby

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.records import FORMATS, Segment, Transcript, Word
from megaasr.records.subtitles import (
    MAX_CUE_S,
    MIN_CUE_S,
    SubtitleLayout,
    live_lines,
    single_line,
    split_into_cues,
    timestamp,
)
from megaasr.text.graphemes import columns

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
    assert text.startswith('{\n  "schema": 2,')


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
    assert live_lines(Segment(0.0, 4.0, "Hi.", "en")) == "[00:00.000 --> 00:04.000]  Hi."
    line = live_lines(Segment(3599.9996, 3661.25, "Hi.", "en"))
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


def timed(text: str, *times: tuple[float, float] | None) -> tuple[Word, ...]:
    """The words of a text, with (start, end) or None for each."""
    return tuple(
        Word(word, *(span or (None, None))) for word, span in zip(text.split(), times, strict=True)
    )


def spoken(text: str, start: float, per_word_s: float = 0.3) -> tuple[Word, ...]:
    times = [(start + i * per_word_s, start + (i + 1) * per_word_s) for i in range(99)]
    return timed(text, *times[: len(text.split())])


def segment_of(words: tuple[Word, ...], chunk: tuple[float, float]) -> Segment:
    times = [time for word in words for time in (word.start, word.end) if time is not None]
    text = " ".join(word.text for word in words)
    return Segment(
        min(times), max(times), text, "en", words=words, chunk_start=chunk[0], chunk_end=chunk[1]
    )


def test_every_format_has_the_times_of_the_words() -> None:
    result = transcript(segment_of(spoken("Good morning to you all.", 20.0), (0.0, 23.5)))
    assert "00:00:20,000 --> 00:00:21,500" in result.to_srt()
    assert "00:00:20.000 --> 00:00:21.500" in result.to_vtt()
    assert "\n20000\t21500\tGood morning to you all.\n" in result.to_tsv()
    assert live_lines(result.segments[0]) == "[00:20.000 --> 00:21.500]  Good morning to you all."
    document = json.loads(result.to_json())["segments"][0]
    assert (document["start"], document["end"]) == (20.0, 21.5)
    assert (document["chunk_start"], document["chunk_end"]) == (0.0, 23.5)


# The layout


def test_lines_are_as_wide_and_as_many_as_asked_for() -> None:
    for width, count in ((20, 1), (20, 3), (60, 2), (12, 2)):
        cues = split_into_cues(Segment(0.0, 20.0, LONG, "en"), SubtitleLayout(width, count))
        lines = [line for cue in cues for line in cue.lines]
        assert " ".join(lines) == LONG
        assert max(map(columns, lines)) <= width
        assert max(len(cue.lines) for cue in cues) <= count
    wide = split_into_cues(Segment(0.0, 5.0, "a" * 30, "en"), SubtitleLayout(10))
    assert max(columns(line) for cue in wide for line in cue.lines) <= 10


@pytest.mark.parametrize("values", [{"columns": 3}, {"lines": 0}])
def test_a_layout_without_room_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"least"):
        SubtitleLayout(**values)


def test_each_word_is_underlined_while_it_is_spoken() -> None:
    words = timed("Good <day>, all", (1.0, 1.4), (1.4, 2.0), (2.5, 3.0))
    segment = segment_of(words, (0.0, 4.0))
    layout = SubtitleLayout(highlight_words=True)
    blocks = transcript(segment).to_vtt(layout).split("\n\n")[1:]
    assert [block.strip().splitlines() for block in blocks] == [
        ["00:00:01.000 --> 00:00:01.400", "<u>Good</u> &lt;day&gt;, all"],
        ["00:00:01.400 --> 00:00:02.000", "Good <u>&lt;day&gt;,</u> all"],
        ["00:00:02.000 --> 00:00:02.500", "Good &lt;day&gt;, all"],
        ["00:00:02.500 --> 00:00:03.000", "Good &lt;day&gt;, <u>all</u>"],
    ]
    numbered = transcript(segment).to_srt(layout)
    assert "2\n00:00:01,400 --> 00:00:02,000\nGood <u><day>,</u> all\n" in numbered
    assert numbered.count("-->") == 4
    # Without times of words there is nothing to highlight.
    plain = transcript(Segment(0.0, 4.0, "Good day.", "en"))
    assert plain.to_srt(layout) == plain.to_srt()


@given(
    st.lists(
        st.tuples(
            st.text("abc<&", min_size=1, max_size=9),
            st.floats(0.0, 0.6),
            st.floats(0.001, 1.0),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(4, 30),
)
def test_highlighted_cues_have_the_same_text_and_do_not_overlap(
    parts: list[tuple[str, float, float]], width: int
) -> None:
    words, time = [], 0.0
    for text, pause, length in parts:
        words.append(Word(text, time + pause, time + pause + length))
        time += pause + length
    segment = segment_of(tuple(words), (0.0, time + 1.0))
    plain = split_into_cues(segment, SubtitleLayout(width))
    layout = SubtitleLayout(width, highlight_words=True)
    blocks = transcript(segment).to_srt(layout).strip().split("\n\n")
    displayed = [block.split("\n", 2) for block in blocks]
    seconds = [
        sum(float(x) * 60**i for i, x in enumerate(reversed(stamp.replace(",", ".").split(":"))))
        for _, times, _ in displayed
        for stamp in times.split(" --> ")
    ]
    assert seconds == sorted(seconds)
    assert seconds[0] == pytest.approx(plain[0].start, abs=0.03)
    assert seconds[-1] == pytest.approx(plain[-1].end, abs=0.03)
    texts = [text.replace("<u>", "").replace("</u>", "") for _, _, text in displayed]
    expected = ["\n".join(cue.lines) for cue in plain]
    assert [key for key, _ in groupby(texts)] == [key for key, _ in groupby(expected)]
    for _, _, text in displayed:
        assert text.count("<u>") == text.count("</u>")


def test_no_cue_spans_a_long_pause() -> None:
    words = spoken("I see. Well then, good bye", 1.0) + spoken("for now.", 12.0)
    segment = segment_of(words, (0.0, 30.0))
    cues = [(cue.start, cue.end, cue.lines) for cue in split_into_cues(segment)]
    assert cues == [
        (1.0, pytest.approx(2.8), ("I see. Well then, good bye",)),
        (12.0, pytest.approx(12.83), ("for now.",)),  # long enough to be read
    ]
    assert live_lines(segment).splitlines() == [
        "[00:01.000 --> 00:02.800]  I see. Well then, good bye",
        "[00:12.000 --> 00:12.600]  for now.",
    ]
    assert transcript(segment).to_tsv().splitlines()[1:] == [
        "1000\t2800\tI see. Well then, good bye",
        "12000\t12600\tfor now.",
    ]


def test_sentences_begin_and_end_with_their_words() -> None:
    first, second = "Nobody has seen the old man since.", "He must have gone back to the sea."
    words = spoken(first, 2.0) + spoken(second, 5.0, 0.4)
    cues = split_into_cues(segment_of(words, (0.0, 9.0)))
    assert [(cue.start, round(cue.end, 6)) for cue in cues] == [(2.0, 4.1), (5.0, 8.2)]


def test_slow_speech_is_divided_and_not_cut_off_after_seven_seconds() -> None:
    words = spoken("one two three four five six seven eight", 0.0, 1.4)
    cues = split_into_cues(segment_of(words, (0.0, 12.0)))
    assert [cue.lines for cue in cues] == [("one two three four",), ("five six seven eight",)]
    assert [(cue.start, cue.end) for cue in cues] == [(0.0, 5.6), (5.6, pytest.approx(11.2))]
    characters = tuple(
        Word(char, 1.0 * i, 1.0 * i + 1) for i, char in enumerate("今天的天气非常好我们去")
    )
    segment = Segment(0.0, 11.0, "今天的天气非常好我们去", "zh", words=characters)
    cues = split_into_cues(segment)
    assert "".join("".join(cue.lines) for cue in cues) == segment.text
    assert cues[-1].end == 11.0
    assert max(cue.end - cue.start for cue in cues) <= MAX_CUE_S


def test_words_without_times_lie_between_their_neighbours() -> None:
    words = timed("aa bb cc dd ee", (4.0, 5.0), None, None, (8.0, 9.0), None)
    segment = Segment(4.0, 9.5, "aa bb cc dd ee", "en", words=words)
    (cue,) = split_into_cues(segment)
    assert (cue.start, cue.end) == (4.0, pytest.approx(9.5))
    text = "One two three four five six seven. Then four more words came."
    words = timed(text, (4.0, 5.0), *([None] * 10), (8.0, 9.0))
    cues = split_into_cues(Segment(4.0, 9.0, text, "en", words=words))
    assert [cue.start for cue in cues] == [4.0, pytest.approx(6.5, abs=0.5)]
    unknown = tuple(Word(word, None, None) for word in text.split())
    cues = split_into_cues(Segment(20.0, 26.0, text, "en", words=unknown))
    assert (cues[0].start, cues[-1].end) == (20.0, 26.0)


def test_words_that_differ_from_the_text_still_give_its_times() -> None:
    words = timed("twenty one pilots came", (1.0, 2.0), (2.0, 3.0), (9.0, 10.0), (10.0, 11.0))
    cues = split_into_cues(Segment(1.0, 11.0, "21 pilots, came.", "en", words=words))
    assert (cues[0].start, cues[-1].end) == (1.0, 11.0)
    assert " ".join(line for cue in cues for line in cue.lines) == "21 pilots, came."
    for cue in cues:
        assert not (cue.start < 3.0 and cue.end > 9.5)


def test_a_short_cue_is_displayed_longer_where_there_is_time() -> None:
    words = timed("Yes. Perhaps.", (5.0, 5.2), (9.0, 9.4))
    cues = split_into_cues(segment_of(words, (0.0, 9.6)))
    assert [(cue.start, cue.end) for cue in cues] == [(5.0, 5.83), (9.0, 9.6)]


@pytest.mark.parametrize(
    "text",
    [
        "ผมคิดว่าคุณยายของผมกำลังแปลบทความเกี่ยวกับการนัดหยุดงานของคนงานในโรงงานผลิตรถยนต์แห่งหนึ่ง",
        "ຂ້ອຍຄິດວ່າແມ່ຕູ້ຂອງຂ້ອຍກຳລັງແປບົດຄວາມກ່ຽວກັບການປະທ້ວງຂອງຄົນງານໃນໂຮງງານຜະລິດລົດ",
        "ខ្ញុំគិតថាជីដូនរបស់ខ្ញុំកំពុងបកប្រែអត្ថបទអំពីកូដកម្មរបស់កម្មករនៅក្នុងរោងចក្រផលិតរថយន្ត",
        "ကျွန်တော်ထင်တာကအဖွားကသပိတ်မှောက်တာနဲ့ပတ်သက်တဲ့ဆောင်းပါးကိုဘာသာပြန်နေတယ်လို့ထင်ပါတယ်" * 2,
        "मुझे लगता है कि मेरी दादी हड़ताल के बारे में एक लेख का अनुवाद कर रही हैं और क्षत्रिय शक्ति।",
        "আমার মনে হয় আমার দাদি ধর্মঘট সম্পর্কে একটি নিবন্ধ অনুবাদ করছেন এবং স্ত্রী শক্তি।",
        "என் பாட்டி வேலைநிறுத்தம் பற்றிய கட்டுரையை மொழிபெயர்க்கிறார் என்று நினைக்கிறேன்",
        "क्षत्रियस्त्रीशक्ति" * 6,
        "\u1112\u1161\u11ab\u1100\u1173\u11af" * 30,  # conjoining jamo
        "👨‍👩‍👧‍👦🇩🇪👍🏽❤️" * 12,
        "e\u0301\u0323" * 90,
    ],
)
def test_lines_break_between_grapheme_clusters(text: str) -> None:
    segment = Segment(0.0, 14.0, text, None)
    lines = [line for cue in split_into_cues(segment) for line in cue.lines]
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    clusters = regex.findall(r"\X", text.replace(" ", ""))
    boundaries = set(accumulate(map(len, clusters)))
    assert set(accumulate(len(line.replace(" ", "")) for line in lines)) <= boundaries
    assert all(columns(line) <= 42 for line in lines)
    # No line begins with what belongs to the cluster before it, or ends with a leading vowel.
    assert not any(unicodedata.category(line[0]).startswith("M") for line in lines)
    assert not any(line[-1] in "เแโใไເແໂໃໄ\u17d2\u1039" for line in lines)


def test_thai_without_spaces_is_broken_near_the_middle() -> None:
    text = "ผมคิดว่าคุณยายของผมกำลังแปลบทความเกี่ยวกับการนัดหยุดงาน"
    assert 42 < columns(text) < 60
    ((first, second),) = (cue.lines for cue in split_into_cues(Segment(0.0, 5.0, text, "th")))
    assert abs(columns(first) - columns(second)) <= 4
    with_space = "ผมคิดว่าคุณยายของผมกำลังแปลบทความ เกี่ยวกับการนัดหยุดงานของคนงาน"
    ((first, second),) = (cue.lines for cue in split_into_cues(Segment(0.0, 5.0, with_space, "th")))
    assert [first, second] == with_space.split(" ")


def test_korean_is_broken_at_spaces() -> None:
    text = "제 할머니가 파업에 관한 기사를 번역하고 계신다고 생각합니다 그리고 우리는 기다립니다"
    lines = [line for cue in split_into_cues(Segment(0.0, 8.0, text, "ko")) for line in cue.lines]
    assert " ".join(lines) == text
    assert len(lines) > 1


def test_columns() -> None:
    assert columns("abc") == 3
    assert columns("早上好") == 6
    assert columns("กำลัง") == 4  # vowels and tones above and below have no width
    assert columns("한") == columns("\u1112\u1161\u11ab") == 2
    assert columns("👨‍👩‍👧") == columns("🇩🇪") == columns("❤️") == 2
    assert columns("e\u0301") == 1
    assert columns("दादी") == 2


@given(text=st.text(alphabet="ก็ําเแ้ย ้ក្ខ្មក्षत्िa漢👩\u200d👧", min_size=1, max_size=150))
def test_no_text_is_broken_within_a_cluster(text: str) -> None:
    shown = single_line(text).replace(" ", "")
    boundaries = set(accumulate(map(len, regex.findall(r"\X", shown))))
    lines = [line for cue in split_into_cues(Segment(0.0, 9.0, text, None)) for line in cue.lines]
    lengths = [len(line.replace(" ", "")) for line in lines]
    # A space that is removed may join a mark to the text before it, so these may differ.
    if " " not in single_line(text):
        assert set(accumulate(lengths)) <= boundaries
    assert "".join(lines).replace(" ", "") == shown


WORD_TIMES = st.lists(
    st.tuples(
        st.text(alphabet="abc.漢ก็", min_size=1, max_size=9),
        st.one_of(st.none(), st.floats(0, 30)),
        st.one_of(st.none(), st.floats(0, 30)),
    ),
    min_size=1,
    max_size=30,
)


@given(rows=WORD_TIMES)
def test_any_times_give_cues_in_order_that_are_never_earlier_than_the_words(
    rows: list[tuple[str, float | None, float | None]],
) -> None:
    words = tuple(Word(text, start, end) for text, start, end in rows)
    text = " ".join(word.text for word in words)
    times = [time for _, start, end in rows for time in (start, end) if time is not None]
    segment = Segment(
        min(times, default=0.0),
        max(times, default=30.0),
        text,
        None,
        words=words,
        chunk_start=0.0,
        chunk_end=30.0,
    )
    cues = split_into_cues(segment)
    assert "".join("".join(cue.lines) for cue in cues).replace(" ", "") == text.replace(" ", "")
    previous_end = segment.start
    for cue in cues:
        assert previous_end - 1e-6 <= cue.start < cue.end
        assert cue.end - cue.start <= MAX_CUE_S + 1e-6
        previous_end = cue.end
    json.loads(transcript(segment).to_json())
