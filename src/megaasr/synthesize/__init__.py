"""Synthesise corpora: sentences, voices and their engines, and sounds without speech.

`plan` and `corpus` make the corpus of `tiny`, `speech_plan` and `speech_corpus` that of `small`.
`open_text` collects natural text.
"""
