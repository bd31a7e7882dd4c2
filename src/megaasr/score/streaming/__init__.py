"""Measuring live transcription: error rate, latency, stability and cost (docs/streaming.md)."""
