"""Text and speech for the small model: sentences, voices, sounds without speech, corpora."""
