"""The server: OpenAI's interfaces for transcription over HTTP. The only place that knows HTTP."""
