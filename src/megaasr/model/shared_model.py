"""One model for many threads: their requests are decoded in common batches.

The threads of a server's clients each use a `SharedModelClient`, which is a `SpeechModel`. A single
thread runs the model. It takes live requests first, and otherwise those of the owner whose audio
has had the least of its time, and among the clients of an owner in the same way, so that neither
many recordings nor a long one delay the others.

Clients that have their results tend to have more to ask at once. Without a pause after a batch, the
first of them would be decoded alone, and all others in the next batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import ModelBusyError, ModelError, UsageError
from megaasr.model.interface import Recognition, Request, SamplingSettings, SpeechModel

_LOGGER = logging.getLogger(__name__)

_PAUSE_SHARE = 0.1
"""Longest pause after a batch in which its clients may return, as a share of the batch's time."""
MAX_WAIT_S = 10.0
"""A request that has waited for so many seconds is decoded with the live ones."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What a shared model has done since it was made.

    Attributes:
        batches: number of batches that were decoded.
        requests: number of requests in them.
        audio_s: seconds of audio in them.
        busy_s: seconds that the model ran.
        waiting: number of requests that wait now.
    """

    batches: int = 0
    requests: int = 0
    audio_s: float = 0.0
    busy_s: float = 0.0
    waiting: int = 0


@dataclass(eq=False, slots=True)
class _Work:
    """What is decoded as a whole: one request, or requests that are sampled."""

    requests: tuple[Request, ...]
    settings: SamplingSettings | None  # None decodes greedily, or at the request's temperature
    since: float = field(default_factory=time.monotonic)
    future: Future[list[list[Recognition]]] = field(default_factory=Future)

    @property
    def audio_s(self) -> float:
        return sum(request.samples.size for request in self.requests) / SAMPLE_RATE

    @property
    def may_share(self) -> bool:
        return self.settings is None and not self.requests[0].temperature


@dataclass(eq=False, slots=True)
class _Account:
    """How much an owner of clients has had.

    Attributes:
        audio_s: seconds of audio decoded so far, or credited on arrival: the measure of fairness.
        clients: number of its clients.
    """

    audio_s: float = 0.0
    clients: int = 0


class SharedModelClient:
    """The use of a shared model by one client; implements `SpeechModel`.

    Its methods wait until the results are there, and may be called from several threads.

    Args:
        shared: the shared model.
        live: whether somebody waits for each result as it comes.
        owner: whose client it is.
        account: how much the owner has had.
    """

    def __init__(
        self, shared: SharedModel, *, live: bool, owner: object, account: _Account
    ) -> None:
        self.live = live
        self.owner = owner
        self.account = account
        self.audio_s = 0.0  # as of the account, but of this client alone
        self.queue: deque[_Work] = deque()
        self.closed = False
        self._shared = shared

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._shared.model.name

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self._shared.model.has_robust_route

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the results are in the order of the requests.

        Raises:
            ModelBusyError: too many requests wait.
            CancelledError: the client was closed.
            UsageError, ModelError: as the model's method.
        """
        works = [_Work((request,), None) for request in requests]
        self._shared.submit(self, works)
        return [work.future.result()[0][0] for work in works]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk, in the order of the requests.

        Raises:
            ModelBusyError: too many requests wait.
            CancelledError: the client was closed.
            UsageError, ModelError: as the model's method.
        """
        if not requests:
            return []
        work = _Work(tuple(requests), settings)
        self._shared.submit(self, [work])
        return work.future.result()

    def close(self) -> None:
        """Cancel what waits; whoever waits for it gets a `CancelledError`."""
        self._shared.remove(self)


class SharedModel:
    """A model with a thread that decodes the requests of many clients in common batches.

    Args:
        model: the model; nothing else may use it.
        batch_size: largest number of requests in a batch, at least 1.
        max_waiting: largest number of requests that wait; further ones are refused.

    Attributes:
        model: the model.

    Raises:
        UsageError: an argument is less than 1.
    """

    def __init__(self, model: SpeechModel, *, batch_size: int = 8, max_waiting: int = 1024) -> None:
        if batch_size < 1 or max_waiting < 1:
            raise UsageError("batch_size and max_waiting must be at least 1")
        self.model = model
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._clients: list[SharedModelClient] = []
        self._accounts: dict[object, _Account] = {}
        self._use = ModelUse()
        self._closed = False
        self._served: set[SharedModelClient] = set()  # the clients of the last batch
        self._pause_end = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="shared model", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def client(self, *, live: bool = False, owner: object = None) -> SharedModelClient:
        """Return the use of the model by a new client.

        Args:
            live: whether its requests are decoded before those of clients that are not.
            owner: whose client it is; hashable. Owners have the same share of the model, however
                many clients they have. None is an owner with this one client.
        """
        with self._changed:
            key = object() if owner is None else owner
            account = self._accounts.get(key)
            if account is None:
                # It joins where the others are, and has no advantage from having been away.
                least_s = min((other.audio_s for other in self._accounts.values()), default=0.0)
                account = self._accounts[key] = _Account(least_s)
            account.clients += 1
            client = SharedModelClient(self, live=live, owner=key, account=account)
            siblings = [other.audio_s for other in self._clients if other.owner == key]
            client.audio_s = min(siblings, default=0.0)
            self._clients.append(client)
        return client

    def use(self) -> ModelUse:
        """Return what the model has done so far."""
        with self._changed:
            return replace(self._use, waiting=self._waiting())

    def close(self) -> None:
        """Cancel all requests that wait, and end the thread when the present batch is decoded."""
        with self._changed:
            self._closed = True
            clients = list(self._clients)
            self._changed.notify()
        for client in clients:
            client.close()
        self._thread.join()

    def submit(self, client: SharedModelClient, works: Sequence[_Work]) -> None:
        """Queue work of a client.

        Raises:
            ModelBusyError: too many requests wait.
            CancelledError: the client or the shared model is closed.
        """
        with self._changed:
            if client.closed or self._closed:
                raise CancelledError("the client of the shared model is closed")
            waiting = self._waiting()
            if waiting and waiting + len(works) > self._max_waiting:
                raise ModelBusyError(
                    f"{waiting} requests wait for {self.model.name} and at most "
                    f"{self._max_waiting} may; try again later"
                )
            self._credit(client)
            client.queue.extend(works)
            self._changed.notify()

    def remove(self, client: SharedModelClient) -> None:
        """Forget a client and cancel what it waits for."""
        with self._changed:
            client.closed = True
            self._served.discard(client)
            waiting = list(client.queue)
            client.queue.clear()
            if client in self._clients:
                self._clients.remove(client)
                client.account.clients -= 1
                if not client.account.clients:
                    del self._accounts[client.owner]
            self._changed.notify()
        for work in waiting:
            work.future.cancel()

    def _credit(self, client: SharedModelClient) -> None:
        """Let a client that had nothing to do have no advantage from it."""
        busy = [other for other in self._clients if other.queue]
        account = client.account
        if not any(other.account is account for other in busy):
            least_s = min((other.account.audio_s for other in busy), default=0.0)
            account.audio_s = max(account.audio_s, least_s)
        if not client.queue:
            siblings = [other.audio_s for other in busy if other.account is account]
            client.audio_s = max(client.audio_s, min(siblings, default=0.0))

    def _waiting(self) -> int:
        return sum(len(client.queue) for client in self._clients)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting() or self._closed):
                    self._changed.wait()
                self._await_served()
                if self._closed:
                    return
                if not self._waiting():  # it was cancelled
                    continue
                batch = self._next_batch()
            start = time.monotonic()
            self._decode(batch)
            with self._changed:
                end = time.monotonic()
                self._pause_end = end + _PAUSE_SHARE * (end - start)
                use = self._use
                self._use = ModelUse(
                    use.batches + 1,
                    use.requests + sum(len(work.requests) for work in batch),
                    use.audio_s + sum(work.audio_s for work in batch),
                    use.busy_s + end - start,
                )

    def _await_served(self) -> None:
        """Wait for the clients of the last batch until the pause ends or a batch is full."""
        while (
            not self._closed
            and self._waiting() < self._batch_size
            and any(not client.queue for client in self._served)
            and (left_s := self._pause_end - time.monotonic()) > 0
        ):
            self._changed.wait(left_s)

    def _next_batch(self) -> list[_Work]:
        """Take the work of the next batch out of the queues; at least one is not empty."""
        now = time.monotonic()
        self._served.clear()
        first, urgent = self._take(now)
        batch = [first]
        while first.may_share and len(batch) < self._batch_size:
            # Padding to a longer chunk would delay those that are urgent.
            longest_s = max(work.audio_s for work in batch) if urgent else None
            if (work := self._take_fitting(now, longest_s)) is None:
                break
            batch.append(work)
        return batch

    def _take(self, now: float) -> tuple[_Work, bool]:
        client = min((c for c in self._clients if c.queue), key=lambda c: _rank(c, now))
        urgent = _is_urgent(client, now)
        return self._pop(client), urgent

    def _take_fitting(self, now: float, longest_s: float | None) -> _Work | None:
        fitting = [
            client
            for client in self._clients
            if client.queue
            and client.queue[0].may_share
            and (
                longest_s is None or _is_urgent(client, now) or client.queue[0].audio_s <= longest_s
            )
        ]
        return self._pop(min(fitting, key=lambda c: _rank(c, now))) if fitting else None

    def _pop(self, client: SharedModelClient) -> _Work:
        work = client.queue.popleft()
        client.audio_s += work.audio_s
        client.account.audio_s += work.audio_s
        self._served.add(client)
        return work

    def _decode(self, batch: Sequence[_Work]) -> None:
        """Decode a batch; one that fails is decoded in parts, so that only some requests fail."""
        self._decode_running([work for work in batch if work.future.set_running_or_notify_cancel()])

    def _decode_running(self, batch: Sequence[_Work]) -> None:
        try:
            results = self._results(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            size = 1
            if _is_out_of_memory(error):  # later batches are smaller, too
                size = self._batch_size = -(-len(batch) // 2)
                _LOGGER.warning("out of memory; batches have at most %d requests now", size)
            for start in range(0, len(batch), size):
                self._decode_running(batch[start : start + size])
            return
        for work, result in zip(batch, results, strict=True):
            work.future.set_result(result)

    def _results(self, batch: Sequence[_Work]) -> list[list[list[Recognition]]]:
        """Return the results of each work: for each of its requests a list."""
        if batch and (settings := batch[0].settings) is not None:
            return [self.model.sample(batch[0].requests, settings)]
        recognitions = self.model.recognize([work.requests[0] for work in batch])
        if len(recognitions) != len(batch):
            raise ModelError(f"{len(recognitions)} results for {len(batch)} requests")
        return [[[recognition]] for recognition in recognitions]


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out, on the CPU or in torch, which is not imported for it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _is_urgent(client: SharedModelClient, now: float) -> bool:
    return client.live or now - client.queue[0].since > MAX_WAIT_S


def _rank(client: SharedModelClient, now: float) -> tuple[int, float, float]:
    """Return the order in which clients have their turn, the lowest first."""
    return (0 if _is_urgent(client, now) else 1), client.account.audio_s, client.audio_s
