"""One model for many threads: batches, turns, bounds, failures and leaving."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from megaasr.errors import ModelBusyError, UsageError
from megaasr.model import shared_model
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.model.loading import load_model
from megaasr.model.shared_model import SharedModel


class Scripted:
    """Records its batches; each waits for permission, and chunks of 13 samples fail."""

    name = "scripted"
    has_robust_route = False

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.permitted = threading.Semaphore(0)

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.batches.append([request.samples.size for request in requests])
        self.started.release()
        assert self.permitted.acquire(timeout=30)
        if any(request.samples.size == 13 for request in requests):
            raise UsageError("thirteen")
        return [Recognition(str(request.samples.size), "en", 1, False, "") for request in requests]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        return [self.recognize([request]) * settings.samples for request in requests]

    def permit(self, count: int) -> None:
        for _ in range(count):
            self.permitted.release()


def chunk(size: int) -> Request:
    return Request(np.zeros(size, dtype=np.float32))


def wait_for(shared: SharedModel, waiting: int) -> None:
    for _ in range(3000):
        if shared.use().waiting == waiting:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{shared.use().waiting} wait, expected {waiting}")


def blocked(model: Scripted, shared: SharedModel, pool: ThreadPoolExecutor) -> None:
    """Let the model run on a request, so that later ones wait."""
    pool.submit(shared.client().recognize, [chunk(1)])
    assert model.started.acquire(timeout=30)


def test_results_equal_those_of_the_model_alone() -> None:
    model = load_model("tiny", device="cpu")
    rng = np.random.default_rng(3)
    clips = [Request(rng.normal(0, 0.05, 8000 * (1 + i % 5)).astype(np.float32)) for i in range(12)]
    expected = [model.recognize([clip])[0] for clip in clips]
    with SharedModel(model, batch_size=4) as shared, ThreadPoolExecutor(12) as pool:
        clients = [shared.client(live=i % 3 == 0) for i in range(12)]
        futures = [
            pool.submit(client.recognize, [clip])
            for client, clip in zip(clients, clips, strict=True)
        ]
        results = [future.result(timeout=120)[0] for future in futures]
        use = shared.use()
    assert [r.text for r in results] == [e.text for e in expected]
    assert use.requests == 12
    assert use.waiting == 0
    assert use.batches < 12


def test_waiting_requests_share_a_batch_and_results_keep_their_order() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=3) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        future = pool.submit(shared.client().recognize, [chunk(n) for n in (5, 6, 7, 8)])
        wait_for(shared, 4)
        model.permit(3)
        assert [r.text for r in future.result(timeout=30)] == ["5", "6", "7", "8"]
    assert model.batches == [[1], [5, 6, 7], [8]]


def test_live_requests_come_first_and_are_not_padded_to_long_ones() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=4) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        offline = pool.submit(shared.client().recognize, [chunk(10), chunk(3000)])
        wait_for(shared, 2)
        live = pool.submit(shared.client(live=True).recognize, [chunk(20)])
        wait_for(shared, 3)
        model.permit(3)
        offline.result(timeout=30)
        live.result(timeout=30)
    assert model.batches == [[1], [20, 10], [3000]]


def test_a_long_recording_does_not_delay_a_short_one() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=1) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        long = pool.submit(shared.client().recognize, [chunk(1000)] * 4)
        wait_for(shared, 4)
        short = pool.submit(shared.client().recognize, [chunk(9)])
        wait_for(shared, 5)
        model.permit(6)
        long.result(timeout=30)
        short.result(timeout=30)
    assert model.batches.index([9]) <= 2


def test_an_owner_of_many_clients_does_not_delay_another() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=1) as shared, ThreadPoolExecutor(8) as pool:
        blocked(model, shared, pool)
        many = [shared.client(owner="ann") for _ in range(4)]
        futures = [pool.submit(client.recognize, [chunk(1000)] * 3) for client in many]
        wait_for(shared, 12)
        other = shared.client(owner="bob")
        futures.append(pool.submit(other.recognize, [chunk(900)] * 3))
        wait_for(shared, 15)
        late = shared.client(owner="ann")  # an owner's short recording passes its long ones
        futures.append(pool.submit(late.recognize, [chunk(7)]))
        wait_for(shared, 16)
        model.permit(17)
        for future in futures:
            future.result(timeout=30)
        for client in (*many, other, late):
            client.close()
        assert len(shared._accounts) == 1  # of the first request, which is not closed
    turns = [index for index, batch in enumerate(model.batches) if batch == [900]]
    assert turns[-1] <= 7  # turns, although ann has four times as many
    assert model.batches.index([7]) <= 8


def test_a_request_that_fails_does_not_touch_others() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=4) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        good = pool.submit(shared.client().recognize, [chunk(5)])
        bad = pool.submit(shared.client().recognize, [chunk(13)])
        wait_for(shared, 2)
        model.permit(4)
        assert good.result(timeout=30)[0].text == "5"
        with pytest.raises(UsageError, match="thirteen"):
            bad.result(timeout=30)


def test_a_client_that_leaves_frees_its_place() -> None:
    model = Scripted()
    with SharedModel(model, batch_size=4) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        client = shared.client()
        future = pool.submit(client.recognize, [chunk(5), chunk(6)])
        wait_for(shared, 2)
        client.close()
        assert shared.use().waiting == 0
        with pytest.raises(CancelledError):
            future.result(timeout=30)
        with pytest.raises(CancelledError):
            client.recognize([chunk(5)])
        model.permit(1)
    assert model.batches == [[1]]


def test_too_many_requests_are_refused() -> None:
    model = Scripted()
    with SharedModel(model, max_waiting=2) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        future = pool.submit(shared.client().recognize, [chunk(5), chunk(6)])
        wait_for(shared, 2)
        with pytest.raises(ModelBusyError, match="2 requests wait for scripted"):
            shared.client().recognize([chunk(7)])
        model.permit(2)
        future.result(timeout=30)


def test_sampling_takes_a_turn_of_its_own() -> None:
    model = Scripted()
    model.permit(10)
    with SharedModel(model) as shared:
        client = shared.client()
        ((first, second),) = client.sample([chunk(4)], SamplingSettings(2, 1.0))
        assert (first.text, second.text) == ("4", "4")
        assert client.sample([], SamplingSettings(2, 1.0)) == []
        assert client.recognize([]) == []


def test_closing_cancels_what_waits() -> None:
    model = Scripted()
    shared = SharedModel(model)
    with ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        future = pool.submit(shared.client().recognize, [chunk(5)])
        wait_for(shared, 1)
        closing = pool.submit(shared.close)
        with pytest.raises(CancelledError):
            future.result(timeout=30)
        model.permit(1)
        closing.result(timeout=30)
    with pytest.raises(CancelledError):
        shared.client().recognize([chunk(1)])


def test_closing_ends_although_no_client_is_there() -> None:
    shared = SharedModel(Scripted())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(shared.close).result(timeout=30)


class Narrow(Scripted):
    """Has memory for two chunks."""

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        results = super().recognize(requests)
        if len(requests) > 2:
            raise MemoryError
        return results


def test_batches_are_halved_when_memory_runs_out() -> None:
    model = Narrow()
    with SharedModel(model, batch_size=4) as shared, ThreadPoolExecutor(4) as pool:
        blocked(model, shared, pool)
        future = pool.submit(shared.client().recognize, [chunk(n) for n in (5, 6, 7, 8, 9, 10)])
        wait_for(shared, 6)
        model.permit(20)
        assert [r.text for r in future.result(timeout=30)] == ["5", "6", "7", "8", "9", "10"]
    assert model.batches == [[1], [5, 6, 7, 8], [5, 6], [7, 8], [9, 10]]


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"max_waiting": 0}])
def test_bounds_are_checked(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        SharedModel(Scripted(), **arguments)


@pytest.mark.parametrize("leaves", [False, True])
def test_clients_that_return_at_once_share_the_next_batch(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_model, "_PAUSE_SHARE", 1e6)  # as long as it takes
    model = Scripted()
    with SharedModel(model, batch_size=8) as shared, ThreadPoolExecutor(8) as pool:
        early, late = shared.client(live=True), shared.client(live=True)
        model.permit(1)
        pool.submit(early.recognize, [chunk(2)]).result(timeout=30)
        assert model.started.acquire(timeout=30)
        returned = pool.submit(early.recognize, [chunk(2)])  # all that were served
        assert model.started.acquire(timeout=30)
        joined = pool.submit(late.recognize, [chunk(3)])
        wait_for(shared, 1)
        model.permit(1)
        returned.result(timeout=30)
        wait_for(shared, 1)  # it waits for the client that was served
        if leaves:
            early.close()
            expected = [3]
        else:
            returned = pool.submit(early.recognize, [chunk(2)])
            expected = [2, 3]
        assert model.started.acquire(timeout=30)
        model.permit(1)
        joined.result(timeout=30)
        returned.result(timeout=30)
    assert model.batches[:2] == [[2], [2]]
    assert sorted(model.batches[2]) == expected


def test_nobody_waits_long_for_a_client_that_does_not_return() -> None:
    model = Scripted()
    with SharedModel(model) as shared, ThreadPoolExecutor(8) as pool:
        blocked(model, shared, pool)  # by a client that asks once and stays open
        model.permit(2)
        assert pool.submit(shared.client().recognize, [chunk(2)]).result(timeout=30)
    assert model.batches == [[1], [2]]
