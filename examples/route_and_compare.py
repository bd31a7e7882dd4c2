"""Show which branch the router selects, and what each writes: route_and_compare.py FILE [MODEL]"""

import sys

from megaasr import MegaASR, ReliabilityOptions


def main(path: str, model: str = "tiny") -> None:
    """Transcribe one recording with routing, with the base alone and with the robust branch."""
    for segment in MegaASR.from_pretrained(model).segments(path):
        print(
            f"{segment.start:7.2f} s  P(degraded) {segment.degraded_probability}  "
            f"{segment.route}: {segment.text!r}"
        )
    once = ReliabilityOptions(retry=False)  # no fallback to the other branch
    for route in ("base", "robust"):
        asr = MegaASR.from_pretrained(model, route=route, reliability=once)
        transcript = asr.transcribe(path)
        confidences = [w.confidence for s in transcript.segments for w in s.words if w.confidence]
        mean = sum(confidences) / max(1, len(confidences))
        print(f"{route}: {transcript.text!r}, mean confidence {mean:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
