"""The human test list: choice and split of prompts, and a list built from small packages."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import Waveform, files
from megaasr.corpora.human.build import build_human_list
from megaasr.corpora.human.clips import (
    CODEC2,
    PACKAGES,
    POCKETSPHINX,
    PROMPT_TEXTS,
    PROMPTS,
    split_of,
)
from megaasr.corpora.human.packages import Package, read_package
from megaasr.corpora.human.prompts import parse_prompts, spoken_text
from megaasr.errors import CorpusError, PackageError, RecordError
from megaasr.packages import PackageFile
from megaasr.records import Utterance, read_manifest
from megaasr.text.exclusion import Exclusion, sentence_hash

PROMPT_LIST = """; Core Asterisk Sounds in English

agent-loginok: Agent logged in.
conf-full: That conference is full.
tt-somethingwrong: Something is terribly wrong
something-terribly-wrong: Something is terribly wrong!
dir-multi2: ... for ...
followme/sorry: I'm sorry, but I was unable to locate  the person you are calling
conf-leave-in: To leave the conference...
conf-leave-out: ...to leave the conference.
vm-next: Press 6 to play the next message.
beep: [this is a simple beep tone]
pls-try-call-later: Please try your call again later.
"""


def test_the_list_of_prompts_is_read() -> None:
    prompts = dict(parse_prompts(PROMPT_LIST))
    assert len(prompts) == 11
    assert prompts["followme/sorry"].startswith("I'm sorry, but")
    assert prompts["dir-multi2"] == "... for ..."


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("That conference is full.", "That conference is full."),
        ("...to leave  the conference.", "to leave the conference."),
        ("To leave the conference...", "To leave the conference"),
        ('a polite "don\'t call" menu', 'a polite "don\'t call" menu'),
        ("Un-indentified or witheld and therefore", "Unidentified or withheld and therefore"),
        ("Agent logged in.", None),
        ("Press 6 to play the next message.", None),
        ("press # to enter a name", None),
        ("[this is a simple beep tone]", None),
        ("after the tone. (simple tone plays)", None),
        ("For more, visit www.asterisk.org today.", None),
        ("M I S D N", None),
        ("This message lasts ...", None),
    ],
)
def test_which_prompts_are_speech_whose_words_are_known(listed: str, text: str | None) -> None:
    assert spoken_text(listed) == text


def test_the_halves_depend_on_the_words_alone() -> None:
    texts = [f"please dial extension number {word}" for word in ("ab", "cd", "ef", "gh", "ij")]
    assert {split_of(text) for text in texts} == {"dev", "test"}
    assert split_of("To leave the conference...") == split_of("to leave the conference")
    assert split_of("That conference is full.") == "dev"
    assert split_of("Something is terribly wrong") == "test"


def _noise(seed: int, seconds: float, rate: int) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * rate)) / 20
    return (samples * 32767).astype("<i2")


def _g722(path: Path, seed: int) -> None:
    raw = _noise(seed, 1.0, 16_000).tobytes()
    options = ["-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "-", "-f", "g722", "-y", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", *options], input=raw, check=True)


def _fill(package: str, root: Path) -> None:
    """Make the files of a package as Debian's has them, with noise for speech."""
    if package == PROMPTS:
        folder = root / "usr/share/asterisk/sounds/en_US_f_Allison"
        (folder / "followme").mkdir(parents=True)
        for seed, (name, _) in enumerate(parse_prompts(PROMPT_LIST)):
            if name != "pls-try-call-later":
                _g722(folder / f"{name}.g722", seed)
        shutil.copy(folder / "tt-somethingwrong.g722", folder / "something-terribly-wrong.g722")
    elif package == PROMPT_TEXTS:
        path = root / f"usr/share/doc/{PROMPT_TEXTS}/core-sounds-en.txt.gz"
        path.write_bytes(gzip.compress(PROMPT_LIST.encode(), mtime=0))
    elif package == POCKETSPHINX:
        folder = root / "usr/share/pocketsphinx/test/data"
        for name, listing, line in (
            ("librivox", "transcription", "<s> a more a amiable woman </s> (austen-0920)"),
            ("cards", "cards.transcription", "<s> five five  </s> (004)"),
        ):
            (folder / name).mkdir(parents=True)
            (folder / name / listing).write_text(f"{line}\n")
            clip = line.rpartition("(")[2].rstrip(")")
            samples = _noise(len(name), 1.0, 16_000).astype(np.float32) / 32768
            files.write(folder / name / f"{clip}.wav", Waveform(samples, 16_000))
        (folder / "goforward.raw").write_bytes(_noise(1, 1.0, 16_000).tobytes())
    elif package == CODEC2:
        folder = root / "usr/share/codec2/raw"
        folder.mkdir(parents=True)
        (folder / "hts.raw").write_bytes(_noise(2, 24.0, 8_000).tobytes())
        (folder / "mmt1.raw").write_bytes(_noise(3, 4.0, 8_000).tobytes())
        samples = _noise(4, 2.0, 16_000).astype(np.float32) / 32768
        files.write(folder / "speech_orig_16k.wav", Waveform(samples, 16_000))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four packages, small, as real `.deb` files."""
    for program in ("dpkg-deb", "ffmpeg"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("cache")
    for package in PACKAGES:
        root = tmp_path_factory.mktemp(package)
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN" / "control").write_text(
            f"Package: {package}\nVersion: 1.2-3\nArchitecture: all\n"
            "Maintainer: Nobody <nobody@example.org>\nDescription: for a test\n"
        )
        copyright_file = root / f"usr/share/doc/{package}/copyright"
        copyright_file.parent.mkdir(parents=True)
        copyright_file.write_text(f"licence of {package}\n")
        _fill(package, root)
        target = folder / f"{package}_1.2-3_all.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", str(root), str(target)],
            check=True,
            capture_output=True,
        )
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_list_is_built_from_packages(cache: Path, tmp_path: Path) -> None:
    test_set = tmp_path / "other.jsonl"
    test_set.write_text(json.dumps({"answer": "My aunt is learning video calls."}) + "\n")
    built = build_human_list(tmp_path / "human", cache=cache, also_excluded=[test_set])
    clips = {
        clip.id: clip for split in built.manifests for clip in read_manifest(built.manifests[split])
    }
    prompts = {name for name in clips if name.startswith("asterisk-")}
    assert prompts == {
        "asterisk-conf-full",
        "asterisk-tt-somethingwrong",  # once, though two prompts have the same recording
        "asterisk-followme-sorry",
        "asterisk-conf-leave-in",
        "asterisk-conf-leave-out",
    }
    assert len(clips) == len(prompts) + 3 + 10
    assert clips["pocketsphinx-librivox-0920"].text == "a more amiable woman"
    assert {clip.id for clip in built.clips["dev"]} <= prompts
    _check_clip(tmp_path / "human", clips["asterisk-conf-full"], 1.0)
    _check_clip(tmp_path / "human", clips["codec2-hts-8"], 3.0)
    excluded = Exclusion.read(built.excluded)
    for text in (
        *(clip.text for clip in clips.values()),
        "Please try your call again later.",  # has no recording; no training text all the same
        "My aunt is learning video calls",
        "Mr. John Dashwood had then leisure to consider how much there might prudently be in his "
        "power to do for them.",
    ):
        assert sentence_hash(text) in excluded.hashes
    assert sentence_hash("Press 6 to play the next message.") not in excluded.hashes
    licences = tmp_path / "human" / "licences"
    assert (licences / f"{CODEC2}.txt").read_text() == f"licence of {CODEC2}\n"


def _check_clip(folder: Path, clip: Utterance, duration_s: float) -> None:
    package = PROMPTS if clip.id.startswith("asterisk") else CODEC2
    assert clip.language == "en"
    assert clip.extra["source"] == f"{package} 1.2-3"
    assert clip.extra["licence"] == ("CC-BY-SA-3.0" if package == PROMPTS else "LGPL-2.1")
    assert clip.extra["duration_s"] == duration_s
    assert clip.extra["speaker"]
    sound = files.read(folder / clip.audio)
    assert sound.sample_rate == 16_000
    assert sound.duration_s == duration_s
    assert float(np.sqrt(np.mean(sound.samples**2))) > 0.02


def test_the_same_packages_give_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    build_human_list(tmp_path / "a", cache=cache)
    stale = tmp_path / "b" / "audio" / "dev" / "of-an-earlier-version.flac"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"fLaC")
    for _ in range(2):
        build_human_list(tmp_path / "b", cache=cache)
    first = _content(tmp_path / "a")
    assert first == _content(tmp_path / "b")
    assert not [name for name in first if Path(name).name.startswith(".")]


def test_what_apt_cannot_do_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("apt-get"):
        with pytest.raises(PackageError, match=r"apt-get .* no-such-package-.*apt-get update"):
            read_package("no-such-package-at-all", tmp_path)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="apt-get is not on the PATH"):
        read_package(CODEC2, tmp_path)


def test_several_versions_of_a_package_are_refused(tmp_path: Path) -> None:
    for version in ("1.0-1", "1.1-1"):
        (tmp_path / f"{CODEC2}_{version}_all.deb").touch()
    with pytest.raises(PackageError, match=f"2 files of {CODEC2}"):
        read_package(CODEC2, tmp_path)


def test_a_package_without_an_expected_file_is_named() -> None:
    package = Package(PackageFile(Path("a.deb"), CODEC2, "9-1", "0" * 64), {"usr/a": b"a"})
    assert package.read("usr/a") == b"a"
    with pytest.raises(CorpusError, match=rf"{CODEC2} 9-1 has no usr/b; .*Debian 12"):
        package.read("usr/b")


def test_another_list_without_texts_is_refused(tmp_path: Path) -> None:
    test_set = tmp_path / "other.jsonl"
    test_set.write_text('{"answer": "fine"}\n{"audio": "a.wav"}\n')
    with pytest.raises(RecordError, match=r"other\.jsonl, line 2"):
        build_human_list(tmp_path / "human", cache=tmp_path, also_excluded=[test_set])


DEBIAN_12 = {
    PROMPTS: "1.6.1-1",
    PROMPT_TEXTS: "1.6.1-1",
    POCKETSPHINX: "0.8+5prealpha+1-15",
    CODEC2: "1.0.5-1",
}


@pytest.mark.slow
def test_the_list_of_debian(tmp_path: Path) -> None:
    for program in ("apt-get", "dpkg-deb", "ffmpeg"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    try:
        built = build_human_list(tmp_path)
    except PackageError as error:
        if "apt-get" in str(error):
            pytest.skip(f"apt-get cannot download packages here: {error}")
        raise
    clips = [clip for split in built.clips.values() for clip in split]
    assert len({clip.id for clip in clips}) == len(clips)
    assert len({clip.extra["speaker"] for clip in built.clips["test"]}) >= 8
    for clip in clips:
        words = len(clip.text.split())
        assert 0.8 < words / float(clip.extra["duration_s"]) < 6, clip.id
    versions = {
        source["package"]: source["version"]
        for source in json.loads((tmp_path / "sources.json").read_text())
    }
    if versions == DEBIAN_12:
        assert (len(built.clips["dev"]), len(built.clips["test"])) == (92, 117)
