"""LiveKit's speech-to-text plugin for OpenAI: `URL RECORDING`, prints JSON.

It runs in an environment of its own, without this project.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from livekit import rtc
from livekit.agents import stt, utils
from livekit.plugins import openai

URL, RECORDING = sys.argv[1], Path(sys.argv[2])
SAMPLES, RATE = soundfile.read(RECORDING, dtype="int16")


def frame(samples):
    return rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples))


async def recording():
    """A recording as a whole, through the transcriptions address."""
    recognizer = openai.STT(base_url=f"{URL}/v1", api_key="unused", model="whisper-1")
    event = await recognizer.recognize([frame(SAMPLES)])
    await recognizer.aclose()
    return event.alternatives[0].text


async def live(**options):
    """The turns of a recording, as they come."""
    recognizer = openai.STT(base_url=f"{URL}/v1", api_key="unused", use_realtime=True, **options)
    stream = recognizer.stream()
    samples = np.concatenate([SAMPLES, np.zeros(2 * RATE, dtype=np.int16)])
    for start in range(0, len(samples), RATE // 20):
        stream.push_frame(frame(samples[start : start + RATE // 20]))
    interim, final = [], None
    async with asyncio.timeout(100):
        async for event in stream:
            if event.type == stt.SpeechEventType.INTERIM_TRANSCRIPT:
                interim.append(event.alternatives[0].text)
            elif event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                final = event.alternatives[0].text
                break
    await stream.aclose()
    await recognizer.aclose()
    return {"interim": interim, "final": final}


async def main():
    async with utils.http_context.open():
        results = {
            "recording": await recording(),
            "server_vad": await live(model="gpt-4o-transcribe"),
            # The plugin finds the turns, and commits.
            "own_vad": await live(model="gpt-live-transcribe"),
        }
    print(json.dumps(results))


asyncio.run(main())
