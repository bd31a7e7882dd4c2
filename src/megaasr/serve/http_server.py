"""Runs the application on a port until it is told to stop."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable

import uvicorn

from megaasr.audio.waveform import AudioWarning
from megaasr.errors import UsageError
from megaasr.serve.access import LOOPBACK_HOSTS
from megaasr.serve.app import create_app
from megaasr.serve.realtime_protocol import MAX_EVENT_BYTES
from megaasr.serve.request_deadline import DeadlineProtocol
from megaasr.serve.request_log import configure_logging
from megaasr.serve.services import Services
from megaasr.serve.settings import ServerSettings

_BACKLOG = 512
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds and attempts after which the system notices that a peer is gone. Pings of WebSockets
would not do: the answer of a client waits behind the audio that it sends faster than it is
transcribed."""
_LOGGER = logging.getLogger(__name__)


class HttpServer:
    """A server that is bound to its port.

    Args:
        settings: the operator's settings.

    Attributes:
        services: its parts.
        url: the address at which it can be reached from this machine.

    Raises:
        UsageError: the port cannot be used, or a setting is not usable.
        ModelError: `preload` is set, and the model cannot be loaded.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._socket = _bound(settings.host, settings.port)
        try:
            self.services = Services.create(settings)
            self._server = uvicorn.Server(_config(settings, self.services))
            self.services.model.check_options()
            # Whoever waits for the model wants to be told at once that it cannot be loaded.
            self.services.model.start(retry=not settings.preload)
            if settings.preload:
                self.services.model.wait()
        except BaseException:
            self._socket.close()
            raise
        scheme = "http" if settings.tls_certificate is None else "https"
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"{scheme}://{name}:{self._socket.getsockname()[1]}"

    def run(self, on_start: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGINT or SIGTERM; requests in progress are finished first.

        Args:
            on_start: called when connections are accepted.
        """
        # What is unusual about a recording is in its transcript; warnings would fill the log.
        warnings.simplefilter("ignore", AudioWarning)
        if self._settings.api_keys is None and self._settings.host not in LOOPBACK_HOSTS:
            _LOGGER.warning(
                "%s may be reached from other machines and has no API keys: everybody may use it",
                self.url,
            )
        self._socket.listen(_BACKLOG)
        on_start()
        try:
            self._server.run([self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Let `run` return; may be called from any thread."""
        self._server.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():  # connections inherit them
        if hasattr(socket, name):  # not on every system
            bound.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason}; choose another --port, or 0 for a "
            "free one"
        ) from error
    return bound


def _config(settings: ServerSettings, services: Services) -> uvicorn.Config:
    configure_logging(settings.log_level)
    return uvicorn.Config(
        create_app(services),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        http=DeadlineProtocol,
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_max_size=MAX_EVENT_BYTES,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=round(settings.shutdown_s),
    )
