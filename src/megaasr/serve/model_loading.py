"""Loads the model of a server in a thread, and tries again after a failure.

What keeps a model from being loaded may pass: a disk that is not mounted yet, a hub that does not
answer, memory that another process holds. Only a mistake in the settings stays one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from megaasr.errors import MegaASRError, UsageError
from megaasr.serve.error_responses import RequestError

ModelState = Literal["loading", "retrying", "ready", "failed", "closed"]
"""Whether requests can be decoded; `failed` is final."""

FIRST_RETRY_S, MAX_RETRY_S = 5.0, 60.0
"""Seconds before the first further attempt, which are doubled after each, and the most."""
_LOGGER = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


class ModelNotLoadedError(RequestError):
    """503: the model cannot be loaded, now or at all.

    Attributes:
        since: when the first attempt failed, in seconds since 1970.
        is_final: whether it is not tried again.
    """

    def __init__(self, name: str, reason: str, *, since: float, retry_s: float | None) -> None:
        super().__init__(
            503,
            f"{name} cannot be loaded: {reason}",
            code="model_not_loaded",
            retry_after_s=retry_s,
        )
        self.since = since
        self.is_final = retry_s is None


@dataclass(frozen=True, slots=True)
class LoadingStatus:
    """How far the loading of a model has come.

    Attributes:
        state: whether requests can be decoded.
        reason: why the last attempt failed; None if none did, or the model is loaded.
        retry_s: seconds until the next attempt; None if there is none.
    """

    state: ModelState
    reason: str | None = None
    retry_s: float | None = None


class ModelLoading(Generic[Loaded]):
    """Calls a function in a thread until it succeeds.

    Those who need its result wait during the first attempt; after a failure they are told at once.

    Args:
        name: name of the model, for messages.
        load: loads it.
    """

    def __init__(self, name: str, load: Callable[[], Loaded]) -> None:
        self._name = name
        self._load = load
        self._changed = threading.Condition()
        self._loaded: Loaded | None = None
        self._error: Exception | None = None
        self._failed_at = 0.0  # the first time, in seconds since 1970
        self._next_at = 0.0  # the next attempt, of the monotonic clock
        self._is_final = self._closed = False

    @property
    def loaded(self) -> Loaded | None:
        """What was loaded; None as long as nothing is."""
        return self._loaded

    @property
    def status(self) -> LoadingStatus:
        """How far the loading has come."""
        with self._changed:
            if self._closed:
                return LoadingStatus("closed")
            if self._loaded is not None:
                return LoadingStatus("ready")
            if self._error is None:
                return LoadingStatus("loading")
            if self._is_final:
                return LoadingStatus("failed", _reason(self._error))
            return LoadingStatus("retrying", _reason(self._error), self._retry_s())

    def start(self, *, retry: bool) -> None:
        """Begin to load.

        Args:
            retry: whether it is tried again after a failure.
        """
        threading.Thread(target=self._run, args=(retry,), name="load model", daemon=True).start()

    def wait(self) -> None:
        """Wait until the first attempt has ended.

        Raises:
            MegaASRError: it failed, with this error or another one of the function.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._loaded is not None or self._error is not None)
            if self._loaded is None and self._error is not None:
                raise self._error

    def require(self) -> Loaded:
        """Return what was loaded; waits during the first attempt.

        Raises:
            ModelNotLoadedError: the last attempt failed.
            CancelledError: it was closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._loaded is not None or self._error is not None
            )
            if self._closed:
                raise CancelledError("the server is shutting down")
            if self._loaded is not None:
                return self._loaded
            assert self._error is not None
            raise ModelNotLoadedError(
                self._name,
                _reason(self._error),
                since=self._failed_at,
                retry_s=None if self._is_final else max(1.0, self._retry_s()),
            ) from self._error

    def close(self) -> None:
        """Try no more; those who wait get a `CancelledError`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _retry_s(self) -> float:
        return round(max(0.0, self._next_at - time.monotonic()), 1)

    def _run(self, retry: bool) -> None:
        pause_s = FIRST_RETRY_S
        while not self._attempt(retry, pause_s):
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=pause_s)
                if self._closed:
                    return
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    def _attempt(self, retry: bool, pause_s: float) -> bool:
        """Try to load; return whether it is done or given up."""
        try:
            loaded = self._load()
        except Exception as error:
            is_final = not retry or isinstance(error, UsageError)
            following = "" if is_final else f"; next attempt in {pause_s:.0f} s"
            _LOGGER.error("%s cannot be loaded: %s%s", self._name, error, following)
            with self._changed:
                self._failed_at = self._failed_at or time.time()
                self._next_at = time.monotonic() + pause_s
                self._error, self._is_final = error, is_final
                self._changed.notify_all()
            return is_final
        _LOGGER.info("%s is loaded", self._name)
        with self._changed:
            self._loaded, self._error = loaded, None
            self._changed.notify_all()
        return True


def _reason(error: Exception) -> str:
    """Return what is told to clients about an error, which may be of any kind."""
    return str(error) if isinstance(error, MegaASRError) else "see the server's log"
