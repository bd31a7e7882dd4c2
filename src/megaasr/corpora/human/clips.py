"""Recordings of people in the packages, with their transcripts.

Only clips with known words are used: the package states them, or the clip is a reading of Harvard
sentences (IEEE 1969, public lists whose sentences cannot be mistaken for others). Each clip was
compared with the output of an independent recogniser; no text was taken from it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.corpora.human.packages import Package
from megaasr.corpora.human.prompts import parse_prompts, spoken_text
from megaasr.errors import CorpusError
from megaasr.text.exclusion import sentence_hash

Split = Literal["dev", "test"]

PROMPTS = "asterisk-core-sounds-en-g722"
PROMPT_TEXTS = "asterisk-core-sounds-en"
POCKETSPHINX = "pocketsphinx-testdata"
CODEC2 = "codec2-examples"
PACKAGES = (PROMPTS, PROMPT_TEXTS, POCKETSPHINX, CODEC2)

LICENCES = {
    PROMPTS: "CC-BY-SA-3.0",
    POCKETSPHINX: "BSD-2-Clause",
    CODEC2: "LGPL-2.1",
}
"""Licences of the recordings, as stated in the copyright files of the packages."""

_PROMPT_TEXTS_FILE = f"usr/share/doc/{PROMPT_TEXTS}/core-sounds-en.txt.gz"
_PROMPT_FOLDER = "usr/share/asterisk/sounds/en_US_f_Allison"
_POCKETSPHINX_FOLDER = "usr/share/pocketsphinx/test/data"
_CODEC2_FOLDER = "usr/share/codec2/raw"

# hts.raw: eight sentences of three seconds each; hts1a and hts2a are the first and the third. By
# their pitch, each voice speaks two consecutive sentences.
_HTS_SENTENCE_S = 3
_HTS = (
    "The navy attacked the big task force.",
    "The hat brim was wide and too droopy.",
    "These days a chicken leg is a rare dish.",
    "The juice of lemons makes fine punch.",
    "The wagon moved on well oiled wheels.",
    "March the soldiers past the next hill.",
    "Her purse was full of useless trash.",
    "Kick the ball straight and follow through.",
)
_MMT1 = "It's easy to tell the depth of a well."
_SPEECH_ORIG = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. "
    "It's easy to tell the depth of a well. Four hours of steady work faced us."
)

# The transcription has "a more a amiable", unlike the book and the recording.
_CORRECTIONS = {"a more a amiable woman": "a more amiable woman"}

RELATED_TEXTS = (
    "Mr. John Dashwood had then leisure to consider how much there might prudently be in his power "
    "to do for them.",
    "He was not an ill-disposed young man, unless to be rather cold hearted and rather selfish is "
    "to be ill-disposed",
)
"""Sentences of the book as printed, from which the readings differ; not for training."""

_TRANSCRIPTION = re.compile(r"<s>\s+(?P<text>.*?)\s+</s>\s+\((?P<name>[^)]+)\)")


@dataclass(frozen=True, slots=True)
class HumanClip:
    """A recording of a person.

    Attributes:
        id: id of the clip, unique in both splits.
        split: `dev` or `test`.
        text: transcript of the recording.
        speaker: name of the speaker, as far as the package distinguishes speakers.
        package: name of the package.
        waveform: audio at 16 kHz.
    """

    id: str
    split: Split
    text: str
    speaker: str
    package: str
    waveform: Waveform


def split_of(text: str) -> Split:
    """Return the split of a prompt.

    It depends on a hash of the words, so that the same words never occur in both splits.
    """
    return "dev" if int(sentence_hash(text)[:8], 16) % 2 else "test"


def human_clips(packages: Mapping[str, Package]) -> Iterator[HumanClip]:
    """Yield every usable clip of the packages, in a fixed order.

    Args:
        packages: the packages named in `PACKAGES`, by name.

    Raises:
        CorpusError: a package does not have the expected contents.
        AudioError: a recording cannot be decoded (G.722 needs ffmpeg).
    """
    yield from _prompts(packages[PROMPTS], packages[PROMPT_TEXTS])
    yield from _pocketsphinx(packages[POCKETSPHINX])
    yield from _codec2(packages[CODEC2])


def all_prompt_texts(texts: Package) -> list[str]:
    """Return the texts of all spoken prompts, used or not; none may be used for training.

    Raises:
        CorpusError: the package does not have the expected contents.
    """
    return [text for _, text in _prompt_list(texts) if spoken_text(text) is not None]


def _prompt_list(texts: Package) -> list[tuple[str, str]]:
    listing = gzip.decompress(texts.read(_PROMPT_TEXTS_FILE)).decode("utf-8")
    return list(parse_prompts(listing))


def _prompts(audio: Package, texts: Package) -> Iterator[HumanClip]:
    recordings: set[str] = set()
    for name, prompt in _prompt_list(texts):
        text = spoken_text(prompt)
        recording = audio.members.get(f"{_PROMPT_FOLDER}/{name}.g722")
        if text is None or recording is None:  # one text has no recording
            continue
        digest = hashlib.sha256(recording).hexdigest()
        if digest in recordings:
            continue
        recordings.add(digest)
        clip_id = f"asterisk-{name.replace('/', '-')}"
        waveform = files.read(_g722_as_wav(recording))
        yield HumanClip(
            id=clip_id,
            split=split_of(text),
            text=text,
            speaker="allison-smith",
            package=PROMPTS,
            waveform=waveform,
        )
    if not recordings:
        raise CorpusError(f"{audio.label} has no recording of a usable prompt")


def _pocketsphinx(package: Package) -> Iterator[HumanClip]:
    folder = _POCKETSPHINX_FOLDER
    listings = (("librivox", "transcription"), ("cards", "cards.transcription"))
    for name, listing in listings:
        lines = package.read(f"{folder}/{name}/{listing}").decode("utf-8")
        for match in _TRANSCRIPTION.finditer(lines):
            text = match["text"]
            for error, correction in _CORRECTIONS.items():
                text = text.replace(error, correction)
            clip_id = f"pocketsphinx-{name}-{match['name'].rpartition('-')[2]}"
            waveform = files.read(package.read(f"{folder}/{name}/{match['name']}.wav"))
            speaker = f"pocketsphinx-{name}"
            yield HumanClip(
                id=clip_id,
                split="test",
                text=text,
                speaker=speaker,
                package=POCKETSPHINX,
                waveform=waveform,
            )
    yield HumanClip(
        id="pocketsphinx-goforward",
        split="test",
        text="go forward ten meters",  # goforward.gram
        speaker="pocketsphinx-goforward",
        package=POCKETSPHINX,
        waveform=_raw(package.read(f"{folder}/goforward.raw"), SAMPLE_RATE),
    )


def _codec2(package: Package) -> Iterator[HumanClip]:
    length = _HTS_SENTENCE_S * SAMPLE_RATE
    sentences = _raw(package.read(f"{_CODEC2_FOLDER}/hts.raw"), 8_000).samples
    for number, text in enumerate(_HTS):
        samples = sentences[number * length : (number + 1) * length]
        yield HumanClip(
            id=f"codec2-hts-{number + 1}",
            split="test",
            text=text,
            speaker=f"codec2-hts-{number // 2 + 1}",
            package=CODEC2,
            waveform=Waveform(samples.copy(), SAMPLE_RATE),
        )
    waveform = _raw(package.read(f"{_CODEC2_FOLDER}/mmt1.raw"), 8_000)
    yield HumanClip(
        id="codec2-mmt1",
        split="test",
        text=_MMT1,
        speaker="codec2-mmt1",
        package=CODEC2,
        waveform=waveform,
    )
    waveform = files.read(package.read(f"{_CODEC2_FOLDER}/speech_orig_16k.wav"))
    yield HumanClip(
        id="codec2-speech-orig",
        split="test",
        text=_SPEECH_ORIG,
        speaker="codec2-speech-orig",
        package=CODEC2,
        waveform=waveform,
    )


def _raw(content: bytes, rate: int) -> Waveform:
    """Decode 16-bit little-endian samples without a header to 16 kHz."""
    samples = np.frombuffer(content, dtype="<i2").astype(np.int16)
    return files.from_array(samples, rate, to_rate=SAMPLE_RATE)


def _g722_as_wav(payload: bytes) -> bytes:
    """Wrap G.722 at 64 kbit/s (16 kHz, 4 bits per sample) in a WAV file, as decoders require."""
    layout = struct.pack("<HHIIHH", 0x028F, 1, 16_000, 8_000, 1, 4)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", len(body)) + body
