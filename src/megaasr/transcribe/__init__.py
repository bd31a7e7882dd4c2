"""Recordings to transcripts: cutting, recognizing, writing."""
