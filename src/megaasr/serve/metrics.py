"""What Prometheus reads at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from megaasr.model.shared_model import ModelUse
from megaasr.records import Segment, Transcript

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Type of what `Metrics.text` returns."""

_LATENCY_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)


class Metrics:
    """Counts what a server does.

    Args:
        use: returns what the model has decoded so far.
        gauges: name, description and current value of what goes up and down.
    """

    def __init__(
        self,
        use: Callable[[], ModelUse],
        gauges: Sequence[tuple[str, str, Callable[[], float]]],
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, CPU time, open files
        PlatformCollector(registry=self._registry)
        self._registry.register(_ModelCollector(use, gauges))
        self._requests = Counter(
            "mega_asr_requests",
            "Requests that were answered.",
            ("path", "method", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "mega_asr_request_seconds",
            "Seconds from the beginning of a request to the end of its answer.",
            ("path",),
            buckets=_LATENCY_S,
            registry=self._registry,
        )
        self._transcribed = Counter(
            "mega_asr_transcribed_audio_seconds",
            "Seconds of audio in the transcripts that were returned.",
            registry=self._registry,
        )
        self._segments = Counter(
            "mega_asr_segments",
            "Segments by the branch that decoded them; none if they were not decoded.",
            ("route",),
            registry=self._registry,
        )
        self._flags = Counter(
            "mega_asr_segment_flags",
            "Segments by flag: failed checks, missing speech, damaged audio.",
            ("flag",),
            registry=self._registry,
        )

    def on_answer(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(path, method, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def on_segment(self, segment: Segment) -> None:
        """Count a segment that was returned."""
        self._segments.labels(segment.route or "none").inc()
        for flag in segment.flags:
            self._flags.labels(flag).inc()

    def on_transcripts(self, transcripts: Iterable[Transcript]) -> None:
        """Count transcripts that were returned, with their segments."""
        for transcript in transcripts:
            self._transcribed.inc(transcript.duration_s)
            for segment in transcript.segments:
                self.on_segment(segment)

    def text(self) -> bytes:
        """Return all values in Prometheus' format."""
        return generate_latest(self._registry)


class _ModelCollector(Collector):
    """Reads the state of the model and of the queues when it is asked for it."""

    def __init__(
        self,
        use: Callable[[], ModelUse],
        gauges: Sequence[tuple[str, str, Callable[[], float]]],
    ) -> None:
        self._use = use
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        use = self._use()
        counters = (
            ("batches", "Batches that the model has decoded.", use.batches),
            ("batched_chunks", "Chunks in them; divided by the batches, their size.", use.requests),
            ("decoded_audio_seconds", "Seconds of audio in them, retries included.", use.audio_s),
            (
                "busy_seconds",
                "Seconds that the model ran; the real-time factor is this by the audio's.",
                use.busy_s,
            ),
        )
        for name, description, value in counters:
            yield CounterMetricFamily(f"mega_asr_model_{name}", description, value=value)
        yield GaugeMetricFamily(
            "mega_asr_model_waiting_chunks", "Chunks that wait for the model.", value=use.waiting
        )
        for name, description, read in self._gauges:
            yield GaugeMetricFamily(f"mega_asr_{name}", description, value=read())
