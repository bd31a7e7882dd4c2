"""The records that flow between the steps: utterances in, transcripts out."""

from megaasr.records.segments import Attempt, Check, Segment, Word
from megaasr.records.transcript import FORMATS, TRANSCRIPT_SCHEMA, Transcript
from megaasr.records.utterances import Utterance, read_manifest, write_manifest

__all__ = [
    "FORMATS",
    "TRANSCRIPT_SCHEMA",
    "Attempt",
    "Check",
    "Segment",
    "Transcript",
    "Utterance",
    "Word",
    "read_manifest",
    "write_manifest",
]
