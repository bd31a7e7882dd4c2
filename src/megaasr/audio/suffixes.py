"""Suffixes by which recordings in a folder are recognised.

A file that the user names individually may have any suffix.
"""

from __future__ import annotations

_SUFFIXES = """
.3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .awb .caf .dts .flac .flv .m4a .m4b
.m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .oga .ogg .ogv .opus .ra .rf64 .snd .tak .ts
.tta .w64 .wav .wave .webm .wma .wmv .wv
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes of audio and video files, in lower case, with the dot."""
