"""One run of `mega-asr transcribe`: recordings to the recognizer, results to files and screen."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from megaasr.cli.audio_arguments import UnusableFolder
from megaasr.cli.interruption import Interruption
from megaasr.cli.screen import STOPPED, Screen
from megaasr.transcribe.bundle import LazyModel
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput, OutputFolder

if TYPE_CHECKING:
    from megaasr.transcribe.audio_stream import Audio
    from megaasr.transcribe.options import TranscribeOptions
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.session import Outcome


class TranscriptionRun:
    """One call of the command: passes recordings to the recognizer and reports what it returns.

    Args:
        inputs: recordings and unusable folders, in order.
        folder: output folder, or None.
        screen: shows progress and results in the order of the inputs.
        resume: skip recordings whose transcript is complete in `folder`.
    """

    def __init__(
        self,
        inputs: Sequence[AudioInput | UnusableFolder],
        folder: OutputFolder | None,
        screen: Screen,
        *,
        resume: bool,
    ) -> None:
        self._inputs = inputs
        self._folder = folder
        self._screen = screen
        self._resume = resume
        # Not reported yet, each with whether it was passed to the recognizer.
        self._started: deque[tuple[AudioInput | UnusableFolder, bool]] = deque()

    def __call__(self, options: TranscribeOptions) -> None:
        """Transcribe everything; a summary is shown however the run ends."""
        from megaasr.transcribe.recognizer import MegaASR

        status = STOPPED
        model = LazyModel(
            options.model, lambda plan: self._screen.note(f"{options.model.name} {plan}")
        )
        try:
            with self._screen, Interruption() as interruption:
                asr = MegaASR.from_bundle(
                    model.bundle(), options.model, options.reliability, options.search
                )
                for outcome in self._outcomes(asr, options):
                    self._report(outcome)
                    interruption.check()
                self._report_skipped()
            status = ""
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self._screen.summarize(status, loading_s=model.loading_s)

    def _outcomes(self, asr: MegaASR, options: TranscribeOptions) -> Iterator[Outcome]:
        """Yield the results in the order of the inputs; segments are shown before them."""
        language, context = options.decode.language, options.decode.context
        if not options.each_channel:
            yield from asr.transcribe_many(
                self._audios(),
                language=language,
                context=context,
                selection=options.selection,
                on_segment=lambda _, segment: self._screen.segment(self._current(), segment),
            )
            return
        track = options.selection.track
        for audio in self._audios():
            outcome = asr.channel_outcome(audio, track=track, language=language, context=context)
            for transcript in outcome.transcripts() if outcome.error is None else ():
                for segment in transcript.segments:
                    self._screen.segment(f"{self._current()} ({transcript.channel})", segment)
            yield outcome

    def _audios(self) -> Iterator[Audio]:
        """Yield the recordings that have to be transcribed."""
        for recording in self._inputs:
            if isinstance(recording, UnusableFolder):
                self._started.append((recording, False))
                continue
            skip = self._resume and self._folder is not None and self._folder.is_done(recording)
            if not skip and self._folder is not None:
                self._folder.hash_input(recording)
            self._started.append((recording, not skip))
            if not skip:
                path = recording.audio
                yield sys.stdin.buffer if path == STANDARD_INPUT else path

    def _current(self) -> str:
        """Return the path of the recording being transcribed: the first one not reported yet."""
        self._report_skipped()
        return self._started[0][0].audio

    def _report_skipped(self) -> None:
        """Report the recordings next in order that the recognizer did not receive."""
        while self._started and not self._started[0][1]:
            recording, _ = self._started.popleft()
            if isinstance(recording, UnusableFolder):
                self._screen.fail(recording.audio, recording.reason)
            else:
                self._screen.skip(recording.audio)

    def _report(self, outcome: Outcome) -> None:
        """Write and show the result of the recording that is next in order."""
        self._report_skipped()
        recording, _ = self._started.popleft()
        if outcome.error is not None:
            self._screen.fail(recording.audio, outcome.error.reason)
            return
        transcripts = [
            transcript.with_audio(recording.audio) for transcript in outcome.transcripts()
        ]
        if self._folder is not None and isinstance(recording, AudioInput):
            try:
                self._folder.write(recording, transcripts)
            except OSError as error:
                file = f"{error.filename}: " if error.filename else ""
                reason = f"the transcript cannot be written: {file}{error.strerror or error}"
                self._screen.fail(recording.audio, reason)
                return
        self._screen.transcripts(recording.audio, transcripts)
