"""Name what is wrong with a recording, and advise what to do about it.

The thresholds were chosen on 150 clips of five kinds of voices and on these under the simulator's
conditions (`python -m benchmarks.diagnosis`), and checked on clips, speakers and draws that had no
part in that; docs/inspect.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from megaasr.audio.quality import Quality

ROBUST = "transcribe it with --route robust (with a model that has an adapter, not small)"

_MAX_PEAK_DBFS = 12.0  # float files may exceed full scale by a few dB
_MAX_OFFSET = 0.02
_OFFSET_TO_SPEECH_DB = -15.0
_HUM_TO_SPEECH_DB = -20.0
_MIN_SPEECH_DBFS = -46.0
_MAX_CLIPPED_SHARE = 1e-4
_MAX_CEILING_SHARE = 0.08
_MIN_DECAY_DB_PER_S = 175.0
_MIN_ASYMMETRY = 1.42
_NOISELESS_SNR_DB = 20.0  # above it, noise does not hide that levels fall fast
_MIN_SNR_DB = 12.0
_MIN_BANDWIDTH_HZ = 4200.0
_MIN_HIGH_BAND_DB = -31.0
_MIN_LOW_BAND_DB = -20.5
_MIN_DROPOUTS = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a recording.

    Attributes:
        name: name of the problem, an identifier.
        advice: what is wrong, and what to do about it, with the option to use.
    """

    name: str
    advice: str


@dataclass(frozen=True, slots=True)
class SpeechOutlook:
    """What `mega-asr transcribe` makes of the detected speech, by its own thresholds.

    Attributes:
        skipped: no part is decoded, because speech is too improbable everywhere.
        doubtful: text would be labelled, because speech is improbable everywhere.
    """

    skipped: bool = False
    doubtful: bool = False


SPEECH_EXPECTED = SpeechOutlook()


def diagnose(quality: Quality, outlook: SpeechOutlook = SPEECH_EXPECTED) -> list[Problem]:
    """Return what is wrong with a recording, the gravest first; empty if nothing is.

    Args:
        quality: measures of the recording.
        outlook: what `mega-asr transcribe` makes of the detected speech.
    """
    return [
        *_channels(quality),
        *_scale(quality),
        *_speech(quality, outlook),
        *_overload(quality),
        *_surroundings(quality),
        *_bands(quality),
        *_dropouts(quality),
    ]


def _channels(quality: Quality) -> Iterator[Problem]:
    balance = quality.channels
    sounding = [index for index in range(balance.count) if index not in balance.silent]
    if balance.cancels:
        yield Problem(
            "cancelling_channels",
            f"The channels cancel: their mean is {balance.mix_loss_db:.0f} dB below them (one is "
            f"inverted). Transcribe a single channel: {_channel_option(balance.loudest)}.",
        )
    if balance.silent and len(sounding) == 1:
        yield Problem(
            "dead_channel",
            f"Only channel {sounding[0] + 1} of {balance.count} has sound: "
            f"{_channel_option(sounding[0])} uses it alone.",
        )
    if balance.separate:
        yield Problem(
            "separate_channels",
            "The two channels have nothing in common, like the two sides of a call: --channels "
            "each transcribes each on its own.",
        )


def _channel_option(index: int) -> str:
    return {0: "--channels left", 1: "--channels right"}.get(index, "--channels each")


def _scale(quality: Quality) -> Iterator[Problem]:
    if quality.peak_dbfs > _MAX_PEAK_DBFS:
        yield Problem(
            "over_full_scale",
            f"Samples reach {quality.peak_dbfs:+.0f} dBFS, far above full scale: a float file with "
            "integer values. transcribe scales it; for other programs: ffmpeg -i IN -af "
            f"volume={-quality.peak_dbfs - 1:.0f}dB -c:a pcm_s16le OUT.wav.",
        )
    speech = _speech_level(quality)
    if (
        quality.offset > _MAX_OFFSET
        and 20 * math.log10(quality.offset) > speech + _OFFSET_TO_SPEECH_DB
    ):
        yield Problem(
            "offset",
            f"The waveform has an offset of {quality.offset:.2f} of full scale (DC), usually from "
            "a faulty sound card or cable. transcribe removes it where it is stronger than the "
            "speech; for other programs: ffmpeg -i IN -af highpass=f=60 OUT.wav.",
        )
    hum = quality.hum
    if hum is not None and hum.dbfs > speech + _HUM_TO_SPEECH_DB:
        notches = ",".join(f"bandreject=f={tone}:width_type=h:w=4" for tone in hum.tones_hz)
        yield Problem(
            "hum",
            f"It hums at {', '.join(map(str, hum.tones_hz))} Hz (mains, {hum.mains_hz} Hz): use "
            f"another cable or power supply. To take it out: ffmpeg -i IN -af {notches} OUT.wav.",
        )


def _speech(quality: Quality, outlook: SpeechOutlook) -> Iterator[Problem]:
    if outlook.skipped:
        yield Problem(
            "no_speech",
            "No speech was found, and transcribe decodes nothing: this may be the wrong recording "
            "or track (--track 2), or speech that cannot be told from noise (--no-vad decodes all "
            "of it).",
        )
    elif outlook.doubtful:
        yield Problem(
            "doubtful_speech",
            "Hardly any speech was found: transcribe labels its text as unreliable "
            "(--drop-unreliable removes it). This may be the wrong recording or track (--track 2).",
        )
    elif quality.speech_dbfs is not None and quality.speech_dbfs < _MIN_SPEECH_DBFS:
        yield Problem(
            "quiet",
            f"The speech is very quiet ({quality.speech_dbfs:.0f} dBFS): move closer to the "
            f"microphone, or raise the recording level; until then, {ROBUST}.",
        )


def _overload(quality: Quality) -> Iterator[Problem]:
    if quality.clipped_share > _MAX_CLIPPED_SHARE or is_overdriven(quality):
        yield Problem(
            "clipping",
            "It is overloaded (clipped): lower the recording level, for gain cannot repair it; "
            f"{ROBUST}.",
        )


def is_overdriven(quality: Quality) -> bool:
    """Return whether peaks are flattened so often that other measures fail: the quiet parts of
    overdriven sound are raised towards the ceiling, like noise."""
    return quality.ceiling_share > _MAX_CEILING_SHARE


def is_reverberant(quality: Quality) -> bool:
    """Return whether levels fall slowly where sounds end, although they rise fast, or although
    there is no noise that could hide how they fall."""
    if quality.decay_db_per_s is None or quality.decay_asymmetry is None:
        return False
    if is_overdriven(quality) or quality.decay_db_per_s >= _MIN_DECAY_DB_PER_S:
        return False
    is_noiseless = quality.snr_db is not None and quality.snr_db > _NOISELESS_SNR_DB
    return quality.decay_asymmetry >= _MIN_ASYMMETRY or is_noiseless


def _surroundings(quality: Quality) -> Iterator[Problem]:
    if is_reverberant(quality):
        yield Problem(
            "reverberation",
            f"The room is reverberant (about {quality.reverberation_s:.1f} s): move closer to the "
            f"microphone, or use a close-talking one; {ROBUST}.",
        )
    elif not is_overdriven(quality) and quality.snr_db is not None and quality.snr_db < _MIN_SNR_DB:
        yield Problem(
            "noise",
            f"There is a lot of noise (about {quality.snr_db:.0f} dB below the speech): {ROBUST}. "
            "Denoising first usually makes recognition worse.",
        )


def _bands(quality: Quality) -> Iterator[Problem]:
    if quality.bandwidth_hz < _MIN_BANDWIDTH_HZ:
        yield Problem(
            "narrow_band",
            f"It is narrow-band (nothing above {quality.bandwidth_hz:.0f} Hz, as on the "
            f"telephone): use the original file if there is one; {ROBUST}.",
        )
    elif quality.high_band_db < _MIN_HIGH_BAND_DB:
        yield Problem(
            "muffled",
            "It is muffled (hardly anything above 3000 Hz, as through a wall or far away): bring "
            f"the microphone out into the open; {ROBUST}.",
        )
    if quality.low_band_db < _MIN_LOW_BAND_DB:
        yield Problem(
            "thin",
            "It is thin (hardly anything below 300 Hz, as from a small loudspeaker): use the "
            f"original file rather than a recording of its playback; {ROBUST}.",
        )


def _dropouts(quality: Quality) -> Iterator[Problem]:
    if quality.dropouts >= _MIN_DROPOUTS:
        yield Problem(
            "dropouts",
            f"Sound is missing inside speech ({quality.dropouts} dropouts, "
            f"{quality.dropouts_per_min:.0f} a minute): record locally instead of over the "
            f"network; {ROBUST}.",
        )


def _speech_level(quality: Quality) -> float:
    return -30.0 if quality.speech_dbfs is None else quality.speech_dbfs
