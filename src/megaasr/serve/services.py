"""What the handlers of a server share, from its start to its end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from megaasr.serve.admission import AdmissionQueue
from megaasr.serve.limits import AudioLimits
from megaasr.serve.metrics import Metrics
from megaasr.serve.served_model import ServedModel
from megaasr.serve.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a running server.

    Attributes:
        settings: the operator's settings.
        model: the model.
        admission: whose turn it is.
        limits: limits of recordings.
        executor: threads in which recordings are transcribed.
        metrics: what is counted.
    """

    settings: ServerSettings
    model: ServedModel
    admission: AdmissionQueue
    limits: AudioLimits
    executor: ThreadPoolExecutor
    metrics: Metrics

    @classmethod
    def create(cls, settings: ServerSettings) -> Services:
        """Return the parts of a server; the model is not loaded yet.

        Raises:
            UsageError: the model's options cannot be used.
        """
        model = ServedModel(settings.model_options(), settings.aliases)
        admission = AdmissionQueue(
            settings.max_requests, settings.max_queue, settings.max_queue_per_client
        )
        # A request that was cancelled gives up its turn at once, but its thread remains until the
        # batch that it is part of is decoded.
        threads = settings.max_requests + settings.parallel_jobs + settings.batch_size
        return cls(
            settings,
            model,
            admission,
            AudioLimits(settings.max_audio_s, settings.max_channels),
            ThreadPoolExecutor(threads, thread_name_prefix="transcription"),
            Metrics(
                model.use,
                (
                    ("running_requests", "Requests that run.", lambda: admission.running),
                    ("waiting_requests", "Requests that wait.", lambda: admission.waiting),
                ),
            ),
        )

    def close(self) -> None:
        """Cancel what is not done, and wait for the threads."""
        self.model.close()
        self.executor.shutdown(wait=True, cancel_futures=True)


def services_of(connection: HTTPConnection) -> Services:
    """Return the parts of the server that received a request."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services


def client_of(connection: HTTPConnection) -> str:
    """Return who sent a request: the name of the API key, or an address."""
    return str(connection.state.client)


def log_extra(connection: HTTPConnection, **fields: object) -> None:
    """Add fields to the log's line of a request."""
    connection.state.log.update(fields)
