"""Readers of public corpora, on made-up miniatures of their published layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.corpora.layouts import LAYOUTS
from megaasr.corpora.manifest import make_manifest
from megaasr.errors import RecordError, UsageError
from megaasr.records import Utterance, read_manifest
from megaasr.simulate.noise_pool import NoisePool

RATE = 16_000


def sound(path: Path, seconds: float = 0.5, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    samples = (0.1 * noise).astype(np.float32)
    writable = path.with_suffix(".flac") if path.suffix in {".mp3", ".opus"} else path
    files.write(writable, Waveform(samples, RATE))
    if writable != path:  # readers go by the listing, decoders by the content
        writable.rename(path)
    return path


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def librispeech(root: Path) -> None:
    for split in ("dev-clean", "test-other"):
        folder = root / "LibriSpeech" / split / "84" / "121"
        text(folder / "84-121.trans.txt", f"84-121-0 GO DO YOU HEAR {split[0]}", "84-121-1 NO")
        sound(folder / "84-121-0.flac")
        sound(folder / "84-121-1.flac", 0.25)
    text(root / "LibriSpeech" / "SPEAKERS.TXT", "84 | F | dev-clean | 8 | Someone")


def common_voice(root: Path) -> None:
    head = "client_id\tpath\tsentence\tup_votes\tlocale"
    text(root / "dev.tsv", head, 'abc\tone.mp3\tHe said "no\t2\tde', "abc\ttwo.mp3\tJa.\t2\tde")
    text(root / "train.tsv", head, "def\tthree.mp3\tÜber uns\t2\tde")
    text(root / "validated.tsv", head, "def\tfour.mp3\tNur hier\t2\tde")
    for name in ("one", "two", "three", "four"):
        sound(root / "clips" / f"{name}.mp3")


def aishell(root: Path) -> None:
    base = root / "data_aishell"
    text(
        base / "transcript/aishell_transcript_v0.8.txt", "BACS0002W0122 而 对 楼市", "BACS0004W1 好"
    )
    sound(base / "wav/train/S0002/BACS0002W0122.wav")
    sound(base / "wav/test/S0004/BACS0004W1.wav")
    sound(base / "wav/test/S0004/BACS0004W2.wav")  # was never transcribed


def wenetspeech(root: Path) -> None:
    segments = [
        {
            "sid": "Y1_S0",
            "begin_time": 0.25,
            "end_time": 0.75,
            "text": "你好",
            "subsets": ["L", "S"],
        },
        {"sid": "Y1_S1", "begin_time": 1.0, "end_time": 1.9, "text": "再见", "subsets": ["L"]},
    ]
    listing = {"audios": [{"aid": "Y1", "path": "audio/train/Y1.opus", "segments": segments}]}
    text(root / "WenetSpeech.json", json.dumps(listing, ensure_ascii=False))
    sound(root / "audio/train/Y1.opus", 2.0)


def musan(root: Path) -> None:
    sound(root / "musan/noise/free-sound/noise-free-sound-0000.wav")
    sound(root / "musan/music/fma/music-fma-0000.wav", seed=1)
    sound(root / "musan/speech/librivox/speech-librivox-0000.wav", seed=2)
    text(root / "musan/README", "notes")


def dns(root: Path) -> None:
    sound(root / "noise_fullband/door.wav")
    sound(root / "impulse_responses/SLR26/room.wav")


def esc50(root: Path) -> None:
    head = "filename,fold,target,category,esc10,src_file,take"
    rows = ("1-100032-A-0.wav,1,0,dog,True,100032,A", "2-1-A-10.wav,2,10,rain,True,1,A")
    text(root / "meta/esc50.csv", head, *rows)
    sound(root / "audio/1-100032-A-0.wav")
    sound(root / "audio/2-1-A-10.wav", seed=1)


def urbansound(root: Path) -> None:
    head = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    text(
        root / "metadata/UrbanSound8K.csv",
        *(head, "9-3-0-0.wav,9,0,1,1,10,3,dog_bark", "8-0-0-0.wav,8,0,1,1,2,0,air_conditioner"),
    )
    sound(root / "audio/fold10/9-3-0-0.wav")
    sound(root / "audio/fold2/8-0-0-0.wav", seed=1)


MAKERS = {
    "librispeech": librispeech,
    "common-voice": common_voice,
    "aishell-1": aishell,
    "wenetspeech": wenetspeech,
    "musan": musan,
    "dns": dns,
    "esc-50": esc50,
    "urbansound8k": urbansound,
}


@pytest.fixture
def corpora(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "corpus" / "de"
    root.mkdir(parents=True)
    MAKERS[request.param](root)
    return root


def listed(name: str, root: Path, tmp_path: Path, split: str | None = None) -> list[Utterance]:
    output = tmp_path / "out" / "manifest.jsonl"
    make_manifest(LAYOUTS[name], root, output, split=split)
    utterances = list(read_manifest(output))
    for utterance in utterances:  # what a manifest names can be read from where it is
        waveform = files.read(output.parent / utterance.audio)
        assert utterance.extra["duration_s"] == pytest.approx(waveform.duration_s, abs=1e-3)
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    return utterances


def test_every_layout_is_tested() -> None:
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize(
    ("corpora", "split", "expected"),
    [
        ("librispeech", "dev-clean", {"84-121-0": "go do you hear d", "84-121-1": "no"}),
        ("common-voice", None, {"one": 'He said "no', "two": "Ja.", "three": "Über uns"}),
        ("common-voice", "validated", {"four": "Nur hier"}),
        ("aishell-1", None, {"BACS0002W0122": "而对楼市", "BACS0004W1": "好"}),
        ("aishell-1", "test", {"BACS0004W1": "好"}),
        ("wenetspeech", None, {"Y1_S0": "你好", "Y1_S1": "再见"}),
        ("wenetspeech", "S", {"Y1_S0": "你好"}),
    ],
    indirect=["corpora"],
)
def test_speech(
    corpora: Path,
    split: str | None,
    expected: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.params["corpora"]
    utterances = listed(name, corpora, tmp_path, split)
    assert {utterance.id: utterance.text for utterance in utterances} == expected
    language = {"librispeech": "en", "common-voice": "de"}.get(name, "zh")
    assert {utterance.language for utterance in utterances} == {language}
    assert all(utterance.extra["split"] for utterance in utterances)


@pytest.mark.parametrize(
    ("corpora", "split", "expected"),
    [
        ("musan", None, {"music/fma", "noise/free-sound"}),
        ("musan", "speech", {"speech/librivox"}),
        ("dns", None, {"noise_fullband"}),
        ("dns", "impulse_responses", {"impulse_responses/SLR26"}),
        ("esc-50", None, {"dog", "rain"}),
        ("esc-50", "2", {"rain"}),
        ("urbansound8k", None, {"dog_bark", "air_conditioner"}),
        ("urbansound8k", "10", {"dog_bark"}),
    ],
    indirect=["corpora"],
)
def test_noise_and_what_the_simulator_makes_of_it(
    corpora: Path,
    split: str | None,
    expected: set[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.params["corpora"]
    utterances = listed(name, corpora, tmp_path, split)
    assert {utterance.extra["category"] for utterance in utterances} == expected
    assert {utterance.text for utterance in utterances} == {""}
    manifest = tmp_path / "out" / "manifest.jsonl"
    pool = NoisePool.from_folders([manifest], tmp_path / "store")
    assert set(pool.categories) == {f"manifest/{category}" for category in expected}


@pytest.mark.parametrize("corpora", ["wenetspeech"], indirect=True)
def test_parts_are_cut_out_once(corpora: Path, tmp_path: Path) -> None:
    listed("wenetspeech", corpora, tmp_path)
    cut = tmp_path / "out" / "manifest-clips" / "Y1_S0.flac"
    recording = files.read(corpora / "audio/train/Y1.opus")
    np.testing.assert_allclose(
        files.read(cut).samples, recording.samples[4_000:12_000], atol=2 / 32_768
    )
    before = cut.stat().st_mtime_ns
    listed("wenetspeech", corpora, tmp_path)
    assert cut.stat().st_mtime_ns == before


@pytest.mark.parametrize("corpora", ["wenetspeech"], indirect=True)
def test_parts_beyond_a_cut_off_recording_are_problems(corpora: Path, tmp_path: Path) -> None:
    sound(corpora / "audio/train/Y1.opus", 1.2)
    written = make_manifest(LAYOUTS["wenetspeech"], corpora, tmp_path / "m.jsonl")
    assert (written.clips, written.missing) == (1, 1)
    assert written.problems is not None
    assert "the recording at 1.20 s" in written.problems.read_text()


@pytest.mark.parametrize("corpora", ["librispeech"], indirect=True)
def test_a_manifest_behind_a_link_finds_its_recordings(corpora: Path, tmp_path: Path) -> None:
    real = tmp_path / "other" / "disk" / "deep"
    real.mkdir(parents=True)
    (tmp_path / "lists").symlink_to(real)
    output = tmp_path / "lists" / "m.jsonl"
    make_manifest(LAYOUTS["librispeech"], corpora, output)
    for listing in (output, real / "m.jsonl"):
        assert all(
            (listing.parent / utterance.audio).is_file() for utterance in read_manifest(listing)
        )


@pytest.mark.parametrize("corpora", ["librispeech"], indirect=True)
def test_a_link_below_the_manifest_stays_in_its_paths(corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "speech").symlink_to(corpora)
    output = tmp_path / "data" / "m.jsonl"
    make_manifest(LAYOUTS["librispeech"], tmp_path / "data" / "speech", output)
    assert all(utterance.audio.startswith("speech/") for utterance in read_manifest(output))


def test_archives_and_missing_tables_are_named(tmp_path: Path) -> None:
    aishell(tmp_path)
    wav = tmp_path / "data_aishell" / "wav"
    shutil.rmtree(wav)
    wav.mkdir()
    (wav / "S0002.tar.gz").touch()
    with pytest.raises(UsageError, match=r"archives \(S0002\.tar\.gz, …\): unpack"):
        make_manifest(LAYOUTS["aishell-1"], tmp_path, tmp_path / "m.jsonl")
    common_voice(tmp_path / "de")
    for name in ("dev", "train"):
        (tmp_path / "de" / f"{name}.tsv").unlink()
    with pytest.raises(UsageError, match="choose with --split: validated"):
        make_manifest(LAYOUTS["common-voice"], tmp_path / "de", tmp_path / "m.jsonl")


@pytest.mark.parametrize("corpora", ["librispeech"], indirect=True)
def test_a_broken_file_costs_a_line(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = corpora / "LibriSpeech/dev-clean/84/121"
    (folder / "84-121-0.flac").write_bytes(b"no audio")
    text(folder / "84-121.trans.txt", "84-121-0 A", "84-121-1 B", "84-121-2 C")
    output = tmp_path / "m.jsonl"
    command = ["manifest", "librispeech", str(corpora), "-o", str(output), "--split", "dev-clean"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert not ended.value.code
    assert [utterance.id for utterance in read_manifest(output)] == ["84-121-1"]
    lines = [json.loads(line) for line in output.with_suffix(".errors.jsonl").open()]
    assert [line["id"] for line in lines] == ["84-121-0", "84-121-2"]
    assert "2 could not be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_another_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="does not look like"):
        make_manifest(LAYOUTS[name], tmp_path / "other", tmp_path / "m.jsonl")


@pytest.mark.parametrize("corpora", list(LAYOUTS), indirect=True)
def test_an_unknown_split_is_refused(
    corpora: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["corpora"]
    with pytest.raises(UsageError, match="no split nothing, but"):
        make_manifest(LAYOUTS[name], corpora, tmp_path / "m.jsonl", split="nothing")


def test_broken_listings_are_named(tmp_path: Path) -> None:
    text(tmp_path / "WenetSpeech.json", '{"audios": [{"aid": "a", "segments": [{}]}]}')
    with pytest.raises(RecordError, match=r"WenetSpeech\.json"):
        make_manifest(LAYOUTS["wenetspeech"], tmp_path, tmp_path / "m.jsonl")
    text(tmp_path / "meta/esc50.csv", "a,b", "1,2")
    with pytest.raises(RecordError, match="category"):
        make_manifest(LAYOUTS["esc-50"], tmp_path, tmp_path / "m.jsonl")


def test_the_command_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["timit", str(tmp_path), "-o", str(tmp_path / "m.jsonl")], "librispeech"),
        (["musan", str(tmp_path), "-o", str(tmp_path / "m.json")], "ends in .jsonl"),
        (["musan", str(tmp_path / "no"), "-o", str(tmp_path / "m.jsonl")], "is not a folder"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["manifest", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("corpora", ["common-voice"], indirect=True)
def test_rows_without_a_sentence_are_told_and_ragged_rows_refused(
    corpora: Path, tmp_path: Path
) -> None:
    head = "client_id\tpath\tsentence\tlocale"
    rows = ["abc\tone.mp3\tJa\tzh-CN", "abc\ttwo.mp3\t\tzh-CN", "abc\t\tNein\tzh-CN"]
    text(corpora / "dev.tsv", head, *rows)
    output = tmp_path / "m.jsonl"
    written = make_manifest(LAYOUTS["common-voice"], corpora, output, split="dev")
    assert [(u.text, u.language) for u in read_manifest(output)] == [("Ja", "zh")]
    assert written.problems is not None
    problems = written.problems.read_text()
    assert "dev.tsv, line 3 has no sentence" in problems
    assert "dev.tsv, line 4 has no path" in problems
    text(corpora / "dev.tsv", head, *rows, "abc\tone.mp3\tJa")
    with pytest.raises(RecordError, match=r"dev.tsv, line 5: 3 cells, but the header has 4"):
        make_manifest(LAYOUTS["common-voice"], corpora, output, split="dev")
