"""Whose turn it is: bounds, fairness, and leaving."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve.admission import AdmissionQueue
from megaasr.serve.error_responses import RequestError


class Requests:
    """Requests that hold their turn until they are released."""

    def __init__(self, queue: AdmissionQueue) -> None:
        self.queue = queue
        self.order: list[str] = []
        self.releases: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, client: str, name: str) -> None:
        self.releases[name] = asyncio.Event()

        async def work() -> None:
            async with self.queue.turn(client):
                self.order.append(name)
                await self.releases[name].wait()

        self.tasks[name] = asyncio.create_task(work())
        await settled()

    async def release(self, name: str) -> None:
        self.releases[name].set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_clients_take_turns() -> None:
    async def scenario() -> list[str]:
        requests = Requests(AdmissionQueue(1, 10, 10))
        for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")):
            await requests.send(client, name)
        for name in ("a1", "a2", "b1", "a3", "b2"):
            await requests.release(name)
        assert requests.queue.running == requests.queue.waiting == 0
        return requests.order

    assert asyncio.run(scenario()) == ["a1", "a2", "b1", "a3", "b2"]


def test_too_many_are_refused_with_a_time_to_wait() -> None:
    async def scenario() -> None:
        queue = AdmissionQueue(1, 2, 1)
        requests = Requests(queue)
        for client in ("a", "a", "b"):
            await requests.send(client, f"{client}{len(requests.order)}{queue.waiting}")
        for client in ("a", "c"):  # its own queue is full; the queue of all is full
            with pytest.raises(RequestError) as caught:
                async with queue.turn(client):
                    pass
            assert caught.value.status == 429
            assert float(caught.value.headers()["retry-after"]) >= 1
        for task in requests.tasks.values():
            task.cancel()
        await settled()
        assert queue.running == queue.waiting == 0

    asyncio.run(scenario())


def test_who_leaves_while_waiting_does_not_keep_a_turn() -> None:
    async def scenario() -> None:
        requests = Requests(AdmissionQueue(1, 10, 10))
        for name in ("a", "b", "c"):
            await requests.send(name, name)
        requests.tasks["b"].cancel()
        await settled()
        assert requests.queue.waiting == 1
        await requests.release("a")
        assert requests.order == ["a", "c"]
        # It is given its turn and cancelled at the same moment.
        await requests.send("d", "d")
        requests.releases["c"].set()
        await asyncio.sleep(0)
        requests.tasks["d"].cancel()
        await settled()
        assert requests.queue.running == requests.queue.waiting == 0

    asyncio.run(scenario())
