"""The one model of a server, and recognizers that share it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from megaasr import strict_json
from megaasr.errors import ModelError
from megaasr.model.hub import SHIPPED_LANGUAGES, find_local_model, find_model
from megaasr.model.interface import SpeechModel
from megaasr.model.shared_model import ModelUse, SharedModel, SharedModelClient
from megaasr.serve.error_responses import RequestError
from megaasr.serve.model_loading import LoadingStatus, ModelLoading
from megaasr.serve.transcription_form import TranscriptionRequest
from megaasr.transcribe.bundle import ModelBundle, ModelOptions, check_bundle, open_bundle
from megaasr.transcribe.chunking import SpeechDetector
from megaasr.transcribe.recognizer import MegaASR

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model that was loaded.

    Attributes:
        bundle: the model with what belongs to it.
        shared: the model, for many clients.
        identity: what distinguishes its recognitions from those of other models.
    """

    bundle: ModelBundle
    shared: SharedModel
    identity: str


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
        self._loading: ModelLoading[_Loaded] = ModelLoading(options.name, self._load)

    def check_options(self) -> None:
        """Check what the operator asks of the model: what waiting cannot mend ends the start.

        A model that can only be on the hub is checked when it is loaded, and one that is not there
        is not: it may still come.

        Raises:
            UsageError: see `check_bundle`.
        """
        if find_local_model(self.options.name) is None:
            return
        try:
            check_bundle(self.options)
        except ModelError as error:
            _LOGGER.warning("%s cannot be checked: %s", self.options.name, error)

    def start(self, *, retry: bool = True) -> None:
        """Begin to load the model in a thread; what needs it waits.

        Args:
            retry: whether loading it is tried again after a failure.
        """
        self._loading.start(retry=retry)

    def wait(self) -> None:
        """Wait until the model is loaded.

        Raises:
            ModelError, UsageError: it cannot be loaded.
        """
        self._loading.wait()

    @property
    def status(self) -> LoadingStatus:
        """Whether requests can be decoded, and if not, why."""
        return self._loading.status

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
        loaded = self._loading.loaded
        return None if loaded is None else loaded.bundle.model.has_robust_route

    def use(self) -> ModelUse:
        """Return what the model has decoded so far."""
        loaded = self._loading.loaded
        return ModelUse() if loaded is None else loaded.shared.use()

    def identity(self) -> str:
        """Return what distinguishes the model's recognitions; waits until the model is loaded.

        It is made of the contents of the model's files and of how they are used, not of names.

        Raises:
            ModelNotLoadedError: the model cannot be loaded.
            CancelledError: the server is shutting down.
        """
        return self._loading.require().identity

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

    def require_route(self, route: str | None) -> None:
        """Check the route that a request names; one that is not loaded yet may have any.

        Raises:
            RequestError: 400, the request needs an adapter and the model has none.
        """
        if route in ("robust", "both") and self.has_robust_route() is False:
            raise RequestError(
                400,
                f"{self.options.name} has no adapter, so there is no route {route}; use base or "
                "auto",
                param="route",
                code="invalid_value",
            )

    def client(self, owner: str, *, live: bool = False) -> SharedModelClient:
        """Return the use of the model by a new client; waits until the model is loaded.

        Args:
            owner: who sent the request; all of them have the same share of the model.
            live: whether its chunks are decoded before those of recordings.

        Raises:
            ModelNotLoadedError: the model cannot be loaded.
            CancelledError: the server is shutting down.
        """
        return self._loading.require().shared.client(live=live, owner=owner)

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
            RequestError: 400, the request needs an adapter and the model has none.
            ModelNotLoadedError: the model cannot be loaded.
        """
        bundle = self._loading.require().bundle
        route = request.route or self.options.route
        self.require_route(route)
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
        self._loading.close()
        if (loaded := self._loading.loaded) is not None:
            loaded.shared.close()

    def _load(self) -> _Loaded:
        # A router is loaded whatever the server's own route is: requests may name another.
        bundle = open_bundle(replace(self.options, route="auto"))
        shared = SharedModel(bundle.model, batch_size=self.options.max_batch_size)
        return _Loaded(bundle, shared, self._identity_of(bundle.model))

    def _identity_of(self, model: SpeechModel) -> str:
        options = replace(
            self.options,
            # A model of the hub is a folder now, whose contents can be compared.
            name=str(find_model(self.options.name, self.options.hub)),
            route="auto",  # requests name their branch
            threshold=None,
        )
        dtype = str(getattr(model, "dtype", options.dtype))  # the machine's, if none is stated
        return strict_json.dumps([options.identity(), dtype], sort_keys=True)
