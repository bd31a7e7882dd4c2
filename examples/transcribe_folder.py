"""Write subtitles for every recording in a folder: transcribe_folder.py FOLDER [MODEL]"""

import sys
from pathlib import Path

from megaasr import MegaASR


def main(folder: Path, model: str = "tiny") -> None:
    """Transcribe all WAV, FLAC and MP3 files; a broken file does not stop the others."""
    asr = MegaASR.from_pretrained(model)
    recordings = sorted(p for p in folder.iterdir() if p.suffix in {".wav", ".flac", ".mp3"})
    for path, outcome in zip(recordings, asr.transcribe_many(recordings), strict=True):
        if outcome.transcript is None:
            print(f"{path.name}: {outcome.error}", file=sys.stderr)
            continue
        transcript = outcome.transcript
        transcript.save(path.with_suffix(".srt"))
        doubtful = sum("unreliable" in segment.flags for segment in transcript.segments)
        print(f"{path.name}: {transcript.text or transcript.reason} ({doubtful} doubtful segments)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
