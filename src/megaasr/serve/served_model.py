"""The one model of a server, and recognizers that share it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Literal

from megaasr.errors import ModelError
from megaasr.model.hub import SHIPPED_LANGUAGES
from megaasr.model.interface import SpeechModel
from megaasr.model.shared_model import ModelUse, SharedModel, SharedModelClient
from megaasr.serve.error_responses import RequestError
from megaasr.serve.transcription_form import TranscriptionRequest
from megaasr.transcribe.bundle import ModelBundle, ModelOptions, open_bundle
from megaasr.transcribe.chunking import SpeechDetector
from megaasr.transcribe.recognizer import MegaASR

ModelState = Literal["loading", "ready", "failed", "closed"]
"""Whether requests can be decoded."""

_LOGGER = logging.getLogger(__name__)


class ServedModel:
    """Loads a model once, in a thread, and decodes the requests of all clients in common batches.

    Args:
        options: the model to load.
        aliases: other names that clients may give it.

    Attributes:
        options: the model to load.
        aliases: other names that clients may give it.
    """

    def __init__(self, options: ModelOptions, aliases: Sequence[str] = ()) -> None:
        self.options = options
        self.aliases = tuple(aliases)
        self._loaded: Future[tuple[ModelBundle, SharedModel]] = Future()
        self._closed = False
        self._thread = threading.Thread(target=self._load, name="load model", daemon=True)

    def start(self) -> None:
        """Begin to load the model in a thread; what needs it waits."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until the model is loaded.

        Raises:
            ModelError, UsageError: it cannot be loaded.
        """
        self._loaded.result()

    @property
    def state(self) -> ModelState:
        """Whether requests can be decoded."""
        if self._closed:
            return "closed"
        if not self._loaded.done():
            return "loading"
        return "failed" if self._loaded.exception() else "ready"

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and then its aliases."""
        return (self.options.name, *self.aliases)

    @property
    def languages(self) -> tuple[str, ...] | None:
        """ISO codes of the languages that it was trained on; None if they are not known."""
        return SHIPPED_LANGUAGES.get(self.options.name)

    def has_robust_route(self) -> bool | None:
        """Return whether it has an adapter; None as long as it is not loaded."""
        if self.state != "ready":
            return None
        return self._loaded.result()[0].model.has_robust_route

    def use(self) -> ModelUse:
        """Return what the model has decoded so far."""
        return self._loaded.result()[1].use() if self.state == "ready" else ModelUse()

    def require_name(self, name: str | None) -> None:
        """Check the model that a request names.

        Raises:
            RequestError: 404, it is another one.
        """
        if name is not None and name not in self.names:
            raise RequestError(
                404,
                f"there is no model {name!r} here; this server has {self.options.name}, also "
                "called " + (", ".join(self.aliases) or "nothing else"),
                param="model",
                code="model_not_found",
            )

    def client(self, *, live: bool = False) -> SharedModelClient:
        """Return the use of the model by a new client; waits until the model is loaded.

        Raises:
            RequestError: 503, the model cannot be loaded.
            CancelledError: the server is shutting down.
        """
        return self._parts()[1].client(live=live)

    def recognizer(
        self,
        model: SpeechModel,
        request: TranscriptionRequest,
        detector: SpeechDetector,
    ) -> MegaASR:
        """Return a recognizer for one request.

        Args:
            model: the client's use of the model, or what wraps it.
            request: what it asks for.
            detector: voice-activity detection.

        Raises:
            RequestError: 400, the request needs an adapter and the model has none; 503, the model
                cannot be loaded.
        """
        bundle = self._parts()[0]
        route = request.route or self.options.route
        if route in ("robust", "both") and not bundle.model.has_robust_route:
            raise RequestError(
                400,
                f"{self.options.name} has no adapter, so there is no route {route}; use base or "
                "auto",
                param="route",
                code="invalid_value",
            )
        router = bundle.router
        if request.threshold is not None:
            from megaasr.route.router import Router

            if isinstance(router, Router):
                router = router.with_threshold(request.threshold)
        return MegaASR.from_bundle(
            replace(bundle, model=model, router=router),
            replace(self.options, route=route),
            request.reliability,
            request.search,
            detector,
        )

    def close(self) -> None:
        """Cancel what waits; the batch that is being decoded ends first."""
        self._closed = True
        if self._loaded.done() and not self._loaded.exception():
            self._loaded.result()[1].close()

    def _load(self) -> None:
        try:
            # A router is loaded whatever the server's own route is: requests may name another.
            bundle = open_bundle(replace(self.options, route="auto"))
            shared = SharedModel(bundle.model, batch_size=self.options.max_batch_size)
        except BaseException as error:
            _LOGGER.error("%s cannot be loaded: %s", self.options.name, error)
            self._loaded.set_exception(error)
            return
        _LOGGER.info("%s is loaded", self.options.name)
        self._loaded.set_result((bundle, shared))

    def _parts(self) -> tuple[ModelBundle, SharedModel]:
        if self._closed:
            raise CancelledError("the server is shutting down")
        try:
            return self._loaded.result()
        except Exception as error:
            message = str(error) if isinstance(error, ModelError) else "see the server's log"
            raise RequestError(
                503, f"{self.options.name} cannot be loaded: {message}", code="model_not_loaded"
            ) from error
