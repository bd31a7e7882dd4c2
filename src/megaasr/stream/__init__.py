"""Live transcription: sessions that are fed with audio and yield events.

Everything is decided on the clock of the audio, in frames of 32 ms: the same audio gives the same
events, however it is divided. `open_stream` begins; docs/streaming.md explains the events.
"""
