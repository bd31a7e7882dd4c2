"""Write the human test list: two manifests, their audio, and hashes of all their sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio import files
from megaasr.corpora.human.clips import (
    LICENCES,
    PACKAGES,
    PROMPT_TEXTS,
    RELATED_TEXTS,
    HumanClip,
    Split,
    all_prompt_texts,
    human_clips,
)
from megaasr.corpora.human.packages import Package, read_package
from megaasr.corpora.stale_audio import remove_stale_audio
from megaasr.errors import RecordError
from megaasr.records import Utterance, write_manifest
from megaasr.text.exclusion import sentence_hashes, write_hashes

SPLITS: tuple[Split, ...] = ("dev", "test")
EXCLUDED_FILE = "excluded.sha256"
SOURCES_FILE = "sources.json"


@dataclass(frozen=True, slots=True)
class HumanList:
    """The human test list.

    Attributes:
        manifests: paths of the manifests by split.
        clips: clips by split, in the order of the manifest.
        excluded: path of the file with hashes of sentences that must not be used for training.
    """

    manifests: dict[Split, Path]
    clips: dict[Split, tuple[Utterance, ...]]
    excluded: Path


def build_human_list(
    output: Path, *, cache: Path | None = None, also_excluded: Sequence[Path] = ()
) -> HumanList:
    """Build `dev.jsonl`, `test.jsonl`, `excluded.sha256`; the same packages give the same bytes.

    Also writes `sources.json` (versions and hashes of the packages) and `licences/` (the packages'
    own statements). Audio of earlier builds that is no longer used is deleted.

    Args:
        output: folder of the list.
        cache: folder of the `.deb` files; None for `packages` in `output`. Missing packages are
            downloaded with apt-get.
        also_excluded: JSONL files of further test sets (`text` or `answer`) whose sentences must
            not be used for training.

    Raises:
        PackageError: a package cannot be downloaded or opened.
        CorpusError: a package does not have the expected contents.
        AudioError: a recording cannot be decoded or written.
        RecordError: a line in `also_excluded` is not a record with a text.
        OSError: a file cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    excluded_texts = [text for path in also_excluded for text in _texts(path)]
    packages = {name: read_package(name, cache or output / "packages") for name in PACKAGES}
    clips = list(human_clips(packages))
    _write_sources(output, packages.values())
    prompt_texts = all_prompt_texts(packages[PROMPT_TEXTS])
    utterances = {split: _write_audio(output, split, clips, packages) for split in SPLITS}
    remove_stale_audio(output, [u for split in SPLITS for u in utterances[split]])
    manifests: dict[Split, Path] = {}
    for split in SPLITS:
        manifests[split] = output / f"{split}.jsonl"
        write_manifest(manifests[split], utterances[split])
    texts = [clip.text for clip in clips]
    excluded = output / EXCLUDED_FILE
    write_hashes(
        excluded, sentence_hashes([*texts, *prompt_texts, *RELATED_TEXTS, *excluded_texts])
    )
    return HumanList(manifests, utterances, excluded)


def _write_audio(
    output: Path, split: Split, clips: Iterable[HumanClip], packages: dict[str, Package]
) -> tuple[Utterance, ...]:
    (output / "audio" / split).mkdir(parents=True, exist_ok=True)
    utterances = []
    for clip in clips:
        if clip.split != split:
            continue
        audio = f"audio/{split}/{clip.id}.flac"
        files.write(output / audio, clip.waveform)
        extra = {
            "speaker": clip.speaker,
            "source": packages[clip.package].label,
            "licence": LICENCES[clip.package],
            "duration_s": round(clip.waveform.duration_s, 3),
        }
        utterances.append(
            Utterance(id=clip.id, audio=audio, text=clip.text, language="en", extra=extra)
        )
    return tuple(utterances)


def _write_sources(output: Path, packages: Iterable[Package]) -> None:
    licences = output / "licences"
    licences.mkdir(exist_ok=True)
    sources = []
    for package in packages:
        file = package.file
        (licences / f"{file.name}.txt").write_bytes(package.copyright)
        sources.append({"package": file.name, "version": file.version, "sha256": file.sha256})
    write_atomically(output / SOURCES_FILE, strict_json.dumps(sources, indent=2) + "\n")


def _texts(path: Path) -> list[str]:
    """Return the reference texts of a JSONL test set."""
    texts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            text = record.get("text", record.get("answer"))
        except (ValueError, AttributeError) as error:
            raise RecordError(f"{path}, line {number}: not a JSON object") from error
        if not isinstance(text, str):
            raise RecordError(f"{path}, line {number}: neither text nor answer is a string")
        texts.append(text)
    return texts
