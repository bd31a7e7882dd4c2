"""From recordings to transcripts: chunks, decoding with fallback, checks, and output files."""
