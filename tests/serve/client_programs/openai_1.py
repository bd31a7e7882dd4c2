"""What a program of 2025 does with version 1 of OpenAI's client: `URL RECORDING`, prints JSON.

It runs in an environment of its own, without this project.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

import openai
import soundfile

URL, RECORDING = sys.argv[1], Path(sys.argv[2])
client = openai.OpenAI(base_url=f"{URL}/v1", api_key="unused", max_retries=0)
results = {"version": openai.__version__}


def transcribe(**fields):
    with RECORDING.open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="whisper-1", **fields)


results["json"] = transcribe().text
for name in ("text", "srt", "vtt"):
    results[name] = transcribe(response_format=name)
verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"])
results["verbose_json"] = verbose.text
results["words"] = [word.word for word in verbose.words]
results["segments"] = " ".join(segment.text.strip() for segment in verbose.segments)
results["route"] = verbose.segments[0].route
results["models"] = [model.id for model in client.models.list()]
try:
    client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="whisper-1")
except openai.BadRequestError as error:
    results["error"] = error.code

# Version 1.60 has no stream=True of its own; the events are read as they came.
with RECORDING.open("rb") as file:
    stream = client.post(
        "/audio/transcriptions",
        body={"model": "whisper-1", "stream": "true"},
        files={"file": file},
        options={"headers": {"Content-Type": "multipart/form-data"}},
        cast_to=object,
        stream=True,
        stream_cls=openai.Stream[object],
    )
    results["events"] = [event["type"] for event in stream]


async def live():
    # Without the second address, this version asks for TLS.
    addresses = {"base_url": f"{URL}/v1", "websocket_base_url": f"{URL}/v1".replace("http", "ws")}
    asynchronous = openai.AsyncOpenAI(**addresses, api_key="unused")
    samples, rate = soundfile.read(RECORDING, dtype="int16")
    async with asynchronous.beta.realtime.connect(model="whisper-1") as connection:
        audio = {"format": {"type": "audio/pcm", "rate": rate}, "turn_detection": None}
        session = {"type": "transcription", "audio": {"input": audio}}
        await connection.send({"type": "session.update", "session": session})
        for start in range(0, len(samples), rate // 10):
            frame = samples[start : start + rate // 10].tobytes()
            await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())
        await connection.input_audio_buffer.commit()
        async for event in connection:
            if event.type.endswith("transcription.completed"):
                return event.transcript
    return None


results["live"] = asyncio.run(live())
print(json.dumps(results))
