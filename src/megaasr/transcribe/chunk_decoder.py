"""Chunks to segments: select the branch, decode, time the words, assemble."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import SpeechModel, WordAligner
from megaasr.records import Segment
from megaasr.route.decision import NO_ROUTER, RouteChoice, RouteDecision
from megaasr.transcribe.align import align_best
from megaasr.transcribe.assemble import assemble_segment, skipped_segment
from megaasr.transcribe.bundle import RouterLike
from megaasr.transcribe.checks import ChunkStats
from megaasr.transcribe.chunk_source import FlaggedChunk
from megaasr.transcribe.chunking import Chunk, skip_flags
from megaasr.transcribe.fallback import ChunkDecoding, DecodeTask, FallbackDecoder
from megaasr.transcribe.language_switch import expected_language, resolve_language_switch
from megaasr.transcribe.options import DecodeOptions, ReliabilityOptions
from megaasr.transcribe.segment_facts import Calibrate


@dataclass(frozen=True, slots=True)
class ChunkDecoder:
    """Turns chunks into segments; keeps nothing from one call to the next.

    Attributes:
        fallback: decodes a chunk, and again where its text fails a check.
        route: `auto` (the router selects the branch), `base`, `robust`, or `both`.
        router: selects the branch for each chunk; None without one.
        reliability: quality checks and their consequences.
        calibration: maps the model's probability of a word to its confidence.
        aligner: forced aligner that times the words; None without one.
    """

    fallback: FallbackDecoder
    route: RouteChoice
    router: RouterLike | None
    reliability: ReliabilityOptions
    calibration: Calibrate
    aligner: WordAligner | None

    def using(self, model: SpeechModel) -> ChunkDecoder:
        """Return a decoder with the same settings for another model."""
        return replace(self, fallback=self.fallback.using(model))

    def decide(self, samples: Samples) -> RouteDecision:
        """Return which branch decodes a chunk, and why.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono, at least one sample.
        """
        if self.route in ("base", "robust"):
            return RouteDecision(self.route, reason=f"selected by route={self.route}")
        return NO_ROUTER if self.router is None else self.router.decide(samples)

    def decode(
        self, chunk: Chunk, options: DecodeOptions, languages: Sequence[str | None], prefix: str
    ) -> Segment:
        """Return the final segment of a chunk, which is skipped if it holds no speech.

        Args:
            chunk: the audio.
            options: what the model is told about the speech.
            languages: languages of the segments with text before it, the latest last.
            prefix: text that the segment's text begins with; needs a language.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        if skipped := skip_flags(chunk):
            return skipped_segment(chunk, skipped)
        flagged = FlaggedChunk(chunk)
        ((segment, _),) = self.decode_batch([flagged], options, prefix)
        return self.resolve_language(segment, flagged, languages, options)

    def decode_batch(
        self, chunks: Sequence[FlaggedChunk], options: DecodeOptions, prefix: str = ""
    ) -> list[tuple[Segment, ChunkDecoding]]:
        """Route, decode and assemble chunks in one batch.

        Args:
            chunks: the chunks, none of which may be skipped.
            options: what the model is told about the speech.
            prefix: text that every segment's text begins with; needs a language.

        Returns:
            The segment of each chunk and all attempts at it, in the same order.

        Raises:
            ModelError: the model fails.
            UsageError: an argument cannot be used.
        """
        decisions = [self.decide(item.chunk.trimmed()) for item in chunks]
        decodings = self.fallback.decode(
            [
                _task(item.chunk, decision, options, prefix)
                for item, decision in zip(chunks, decisions, strict=True)
            ]
        )
        if self.aligner is not None:
            decodings = [
                align_best(decoding, item.chunk.trimmed(), self.aligner)
                for item, decoding in zip(chunks, decodings, strict=True)
            ]
        segments = [
            assemble_segment(
                item.chunk,
                decoding,
                decision,
                reliability=self.reliability,
                calibration=self.calibration,
                flags=item.flags,
            )
            for item, decision, decoding in zip(chunks, decisions, decodings, strict=True)
        ]
        return list(zip(segments, decodings, strict=True))

    def resolve_language(
        self,
        segment: Segment,
        chunk: FlaggedChunk | None,
        languages: Sequence[str | None],
        options: DecodeOptions,
    ) -> Segment:
        """Return a segment, decoded again if its language does not fit the languages before it.

        Args:
            segment: the segment.
            chunk: the chunk that it was decoded from; None if it was not decoded.
            languages: languages of the segments with text before it, the latest last.
            options: what the model was told about the speech.

        Raises:
            ModelError: the model fails.
        """
        expected = expected_language(languages, segment)
        if options.language is not None or expected is None or chunk is None:
            return segment
        forced_options = DecodeOptions(expected, options.context)
        ((forced, decoding),) = self.decode_batch([chunk], forced_options)
        return resolve_language_switch(segment, forced, decoding)


def _task(chunk: Chunk, decision: RouteDecision, options: DecodeOptions, prefix: str) -> DecodeTask:
    samples = chunk.trimmed()
    duration_s = len(samples) / SAMPLE_RATE
    stats = ChunkStats(duration_s, options.context, chunk.speech_s, chunk.speech_probability)
    seed = zlib.crc32(samples.tobytes())  # the same audio always gives the same samples
    return DecodeTask(
        samples,
        decision.route,
        stats,
        language=options.language,
        seed=seed,
        degraded_probability=decision.degraded_probability,
        prefix=prefix,
    )
