"""Conditions beside the paper's seven, as data: codecs, losses, rooms, talkers and devices.

They are no part of the 54 scenarios, but form scenarios with them and with each other by the same
rules. As for the seven, the first value of a range is the easy end, and `mild` continues it to what
is hardly noticed. The comments name the source of each range.
"""

from __future__ import annotations

from megaasr.simulate.codec_ladder import LADDER
from megaasr.simulate.conditions import CONDITIONS, ChainStep, Condition
from megaasr.simulate.severity import DiscreteSweep, Sweep

_LOUDNESS = ChainStep("loudness", {"target_lufs": -23})
# Before the microphone there is no recording level yet: that of a later condition counts.
_YIELDING_LOUDNESS = ChainStep("loudness", {"target_lufs": -23}, yields=True)

EXTRA_CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "competing_talker",
        "modifier",
        (
            # From a voice in the background to two equally loud ones, the centre of the mixtures
            # by which speech separation is measured (Cosentino et al. 2020, LibriMix).
            ChainStep("competing_talker", {"sir_db": Sweep(20, 0, core=True, mild=30)}),
            _YIELDING_LOUDNESS,
        ),
    ),
    Condition(
        "music",
        "modifier",
        (
            # Recipes on MUSAN (Snyder et al. 2015) add music at 15 to 5 dB; the hard end is that of
            # the paper's noise.
            ChainStep("noise", {"category": "music", "snr_db": Sweep(15, -5, core=True, mild=30)}),
            _YIELDING_LOUDNESS,
        ),
    ),
    # Two kinds of noise that a router trained on mixed noises misses: short and sparse sounds, and
    # one gliding tone. Ranges as for music, with a harder end, since they leave most words alone.
    *(
        Condition(
            name,
            "modifier",
            (
                ChainStep(
                    "noise", {"category": category, "snr_db": Sweep(10, -10, core=True, mild=25)}
                ),
                _YIELDING_LOUDNESS,
            ),
        )
        for name, category in (("impulses", "knocks"), ("siren", "siren"))
    ),
    Condition(
        "room",
        "anchor",
        (
            # From a furnished small room with a near microphone to a lecture hall with a far one;
            # the rooms of the ACE challenge (Eaton et al. 2016) have about 0.3 to 1.2 s.
            ChainStep(
                "room",
                {
                    "rt60_s": Sweep(0.2, 1.0, core=True, mild=0.12),
                    "drr_db": Sweep(10, -6, core=True, mild=20),
                },
            ),
            _LOUDNESS,
        ),
    ),
    Condition(
        "agc",
        "modifier",
        (
            # Our choice by the physics, since devices do not state theirs: with more gain and a
            # release shorter than the pauses, the noise rises between words, and with a slower
            # attack the first syllable after a pause is overdriven.
            ChainStep("noise", {"category": "pool", "snr_db": Sweep(30, 10, mild=45)}),
            ChainStep(
                "gain_control",
                {
                    "target_dbfs": -20,
                    "max_gain_db": Sweep(12, 40, core=True, mild=6),
                    "attack_ms": Sweep(5, 50),
                    "release_ms": Sweep(1000, 100, core=True, mild=2000),
                },
            ),
            _LOUDNESS,
        ),
    ),
    Condition(
        "gate",
        "modifier",
        (
            # Consonants are 20 to 30 dB softer than vowels (Fletcher 1953): the easy end cuts
            # pauses only, the hard end all but the loud vowels.
            ChainStep(
                "noise_gate",
                {
                    "threshold_db": Sweep(-40, -12, core=True, mild=-60),
                    "attack_ms": Sweep(1, 10),
                    "hold_ms": Sweep(200, 20),
                    "release_ms": Sweep(200, 20),
                },
            ),
        ),
    ),
    Condition(
        "bandlimit",
        "modifier",
        (
            # The band of the telephone (ITU-T G.712), down to that of a megaphone or a toy radio.
            ChainStep(
                "band_limit",
                {
                    "low_hz": Sweep(300, 500, mild=100),
                    "high_hz": Sweep(3400, 1500, core=True, mild=6000),
                },
            ),
            _LOUDNESS,
        ),
    ),
    Condition(
        "wow",
        "modifier",
        (
            # Consumer cassette decks have 0.1 to 0.3 % (IEC 60386); the hard end is ten times as
            # much, as of a worn or eccentric medium.
            ChainStep(
                "wow_flutter",
                {
                    "wow_depth": Sweep(0.003, 0.03, core=True, mild=0.001),
                    "flutter_depth": Sweep(0.001, 0.015, core=True, mild=0.0005),
                },
            ),
        ),
    ),
    Condition(
        "speed",
        "modifier",
        (
            # Faster or slower by 10 %, as in speed perturbation (Ko et al. 2015), to 40 %, slightly
            # more than between record speeds (33 and 45 turns).
            ChainStep("playback_speed", {"change": Sweep(0.1, 0.4, core=True, mild=0.03)}),
        ),
    ),
    Condition(
        "codec",
        "modifier",
        (
            # The ladder's order follows the error rates of recognisers on clean speech behind
            # each codec, where we measured them, and the bit rate otherwise.
            ChainStep("codec", {"rung": DiscreteSweep(tuple(range(len(LADDER))), core=True)}),
            _LOUDNESS,
        ),
    ),
    Condition(
        "packet_loss",
        "modifier",
        (
            # Packets of 20 to 60 ms are usual in RTP. 3 % is about where speech over networks
            # starts to suffer; the hard end is our choice.
            ChainStep(
                "packet_loss",
                {
                    "packet_ms": DiscreteSweep((20, 40, 60)),
                    "loss_share": Sweep(0.03, 0.3, core=True, mild=0.005),
                    "mean_bad": Sweep(1.2, 3.0, mild=1.0),
                    "loss_in_bad": 0.8,
                    "repetition_prob": 0.8,
                },
            ),
            _LOUDNESS,
        ),
    ),
)
"""The extra conditions in canonical order."""

_ORDER = (
    "competing_talker",
    "music",
    "impulses",
    "siren",
    "obstructed",
    "far_field",
    "echo",
    "room",
    "recording",
    "distortion",
    "dropout",
    "noise",
    "agc",
    "gate",
    "bandlimit",
    "wow",
    "speed",
    "codec",
    "packet_loss",
)
_ANY = {condition.name: condition for condition in (*CONDITIONS, *EXTRA_CONDITIONS)}

ALL_CONDITIONS = tuple(_ANY[name] for name in _ORDER)
"""The seven conditions and the extra ones in canonical order: sources, place, device, network."""
