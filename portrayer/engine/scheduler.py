"""Which requests run next. Pure: no torch, no threads, the clock is passed in."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container
from dataclasses import dataclass, field

PATIENCE = 30.0  # seconds of waiting that weigh as much as one level of priority


@dataclass(frozen=True, slots=True)
class Request:
    """One sample for one model. Lives milliseconds."""

    id: int
    model: str
    arrived: float
    priority: int = 0
    deadline: float | None = None

    @property
    def rank(self) -> tuple[float, int]:
        """Lower goes first. Priority is a head start in time, so that nobody waits for ever."""
        return (self.arrived - self.priority * PATIENCE, self.id)


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one model that share a forward, in rank order."""

    model: str
    requests: tuple[Request, ...]

    def __len__(self) -> int:
        return len(self.requests)


@dataclass(slots=True)
class Scheduler:
    """Queues by model; the best-ranked request picks the model, others of that model join.

    Law: every submitted request leaves exactly once, through :meth:`take`, :meth:`expire` or
    :meth:`cancel`.
    """

    _queues: dict[str, list[tuple[tuple[float, int], Request]]] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)  # canceled, still in a heap
    _waiting: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, request: Request) -> None:
        """Queue a request; one that was taken may come back, to the place its rank gives it."""
        if request.id in self._waiting:
            raise ValueError(f"request {request.id} is already waiting")
        self._waiting.add(request.id)
        heapq.heappush(self._queues.setdefault(request.model, []), (request.rank, request))

    def cancel(self, id: int) -> bool:
        """Forget a waiting request; False where it no longer waits."""
        if id not in self._waiting:
            return False
        self._waiting.remove(id)
        self._gone.add(id)
        return True

    def waiting(self, model: str) -> int:
        return sum(request.id in self._waiting for _, request in self._queues.get(model, ()))

    def next_model(self, without: Container[str] = ()) -> str | None:
        """The model of the best-ranked request, leaving out the models in ``without``."""
        heads = [
            (queue[0][0], model)
            for model in self._queues
            if model not in without and (queue := self._cleaned(model))
        ]
        return min(heads)[1] if heads else None

    def take(self, room: Callable[[str], int], without: Container[str] = ()) -> Batch | None:
        """The next batch: at most ``room(model)`` requests of the best-ranked request's model.

        None when nothing waits, or when there is no room for that model (nobody overtakes it then).
        """
        model = self.next_model(without)
        if model is None:
            return None
        queue, chosen = self._queues[model], []
        for _ in range(room(model)):
            if not self._cleaned(model):
                break
            request = heapq.heappop(queue)[1]
            self._waiting.remove(request.id)
            chosen.append(request)
        return Batch(model, tuple(chosen)) if chosen else None

    def expire(self, now: float) -> list[Request]:
        """Remove and return the requests whose deadline has passed."""
        late = [
            request
            for queue in self._queues.values()
            for _, request in queue
            if request.id in self._waiting
            and request.deadline is not None
            and request.deadline <= now
        ]
        for request in late:
            self.cancel(request.id)
        return late

    def _cleaned(self, model: str) -> list[tuple[tuple[float, int], Request]]:
        queue = self._queues[model]
        while queue and queue[0][1].id in self._gone:
            self._gone.remove(heapq.heappop(queue)[1].id)
        return queue
