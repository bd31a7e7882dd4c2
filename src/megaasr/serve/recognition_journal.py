"""A speech model that keeps what it has decoded for a job, and does not decode it again.

Transcription is deterministic: after a restart, the same recording makes the same requests, whose
results are read instead of computed, up to the one at which the process ended. If the server has
another model then, everything is decoded by that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields

from megaasr.model.interface import Recognition, Request, SamplingSettings, SpeechModel
from megaasr.serve.job_store import JobStore


class JournaledModel:
    """The use of a model by a job; implements `SpeechModel`.

    Args:
        model: the model.
        store: keeps the results.
        job_id: the job.
        identity: what distinguishes the model from others. After a restart the server may have
            another one, which must not be credited with what the first one decoded.
    """

    def __init__(self, model: SpeechModel, store: JobStore, job_id: str, identity: str) -> None:
        self._model = model
        self._store = store
        self._job_id = job_id
        self._identity = identity

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self._model.has_robust_route

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the results are in the order of the requests."""
        keys = [self._key(request) for request in requests]
        results = {key: self._store.recognitions(self._job_id, key) for key in keys}
        missing = {
            key: request
            for key, request in zip(keys, requests, strict=True)
            if results[key] is None
        }
        recognitions = self._model.recognize(list(missing.values()))
        decoded = {
            key: [[recognition]] for key, recognition in zip(missing, recognitions, strict=True)
        }
        self._store.keep_recognitions(self._job_id, list(decoded.items()))
        complete = results | decoded
        return [groups[0][0] for key in keys if (groups := complete[key]) is not None]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk, in the order of the requests."""
        key = hashlib.sha256(repr((settings, *map(self._key, requests))).encode()).hexdigest()
        results = self._store.recognitions(self._job_id, key)
        if results is None:
            results = self._model.sample(requests, settings)
            self._store.keep_recognitions(self._job_id, [(key, results)])
        return results

    def _key(self, request: Request) -> str:
        """Return a hash of everything that a request's result depends on."""
        names = [field.name for field in fields(request) if field.name != "samples"]
        values = [(name, getattr(request, name)) for name in names]
        digest = hashlib.sha256(repr((self._identity, values)).encode())
        digest.update(request.samples.tobytes())
        return digest.hexdigest()
