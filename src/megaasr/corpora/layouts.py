"""The supported corpora."""

from __future__ import annotations

from megaasr.corpora.entries import Layout
from megaasr.corpora.noise import dns, esc50, musan, urbansound
from megaasr.corpora.speech import aishell, common_voice, librispeech, wenetspeech

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("librispeech", "speech", "train-clean-100, dev-other …", librispeech),
        Layout("common-voice", "speech", "train, dev, test, validated …", common_voice),
        Layout("aishell-1", "speech", "train, dev, test", aishell),
        Layout("wenetspeech", "speech", "L, M, S, W, DEV, TEST_NET, TEST_MEETING", wenetspeech),
        Layout("musan", "noise", "music, noise, speech", musan),
        Layout("dns", "noise", "noise_fullband, impulse_responses", dns),
        Layout("esc-50", "noise", "1 to 5", esc50),
        Layout("urbansound8k", "noise", "1 to 10", urbansound),
    )
}
"""Layouts by the names that users type."""
