"""Gathers inputs of many requests into batches for the one thread that decodes.

A batch is decoded at once when nothing else is; while one is decoded, what arrives is gathered for the next.
"""

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from t2t_multimodel.serving.refusals import Refused, refuse_too_many

_GATHER_SECONDS = 0.001  # waited behind a batch of several: the clients that it answered send their next ones


@dataclasses.dataclass(eq=False)
class _Waiting:
    """An input in the queue."""

    number: int  # of its arrival
    sample: Any
    row: int  # its number, by which random numbers differ
    future: asyncio.Future


class Batcher:
    """A queue for each group of inputs that may be decoded together, and the task that empties them."""

    def __init__(
        self,
        decode: Callable[[Any, list, list], list],
        executor: Any,
        max_batch: int,
        max_queue: int,
        observe: Callable[[int, int], None],
        alone: Callable[[Any], bool] = lambda group: False,
    ) -> None:
        """
        Args:
          decode: function of (group, samples, row numbers) to answers; it runs in `executor`, which has one thread.
          max_batch: inputs decoded at once. max_queue: inputs that may wait.
          observe: is given the size of each batch (0: none) and how many wait behind it.
          alone: whether the inputs of a group are not decoded together.
        """
        self._decode, self._executor, self._observe = decode, executor, observe
        self._max_batch, self._max_queue, self._alone = max_batch, max_queue, alone
        self._queues: dict[Any, collections.deque[_Waiting]] = {}
        self._arrived = 0
        self._filled = asyncio.Event()
        self._task: asyncio.Task | None = None
        self._decoding = False
        self.waiting = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def busy(self) -> bool:
        """Whether an input waits or is decoded."""
        return self._decoding or self.waiting > 0

    def put(self, group: Any, samples: list, first_row: int = 0) -> list[asyncio.Future]:
        """Queues inputs, numbered from `first_row` on; the future of each gives its answer.

        Raises:
          Refused: 429, too many wait already; 413, there are more than may ever wait.
        """
        refuse_too_many(len(samples), self._max_queue)
        if self.waiting + len(samples) > self._max_queue:
            raise Refused(429, "too many inputs are waiting; try again later", {"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future] = [loop.create_future() for _ in samples]
        queue = self._queues.setdefault(group, collections.deque())
        for row, (sample, future) in enumerate(zip(samples, futures), first_row):
            queue.append(_Waiting(self._arrived, sample, row, future))
            self._arrived += 1
        self.waiting += len(samples)
        self._observe(0, self.waiting)
        self._filled.set()
        return futures

    async def _run(self) -> None:
        several = False
        while True:
            await self._filled.wait()
            if several and self.waiting < self._max_batch:
                await asyncio.sleep(_GATHER_SECONDS)
            group, batch = self._take()
            several = len(batch) > 1
            if batch:
                self._decoding = True
                await self._answer(group, batch)
                self._decoding = False

    def _take(self) -> tuple[Any, list[_Waiting]]:
        """The next batch, of the group whose first input has waited longest; without those whose clients have gone."""
        group = min(self._queues, key=lambda group: self._queues[group][0].number)
        queue, batch = self._queues[group], []
        most = 1 if self._alone(group) else self._max_batch
        while queue and len(batch) < most:
            item = queue.popleft()
            self.waiting -= 1
            if not item.future.done():
                batch.append(item)
        if not queue:
            del self._queues[group]
        if not self._queues:
            self._filled.clear()
        self._observe(len(batch), self.waiting)
        return group, batch

    async def _answer(self, group: Any, batch: list[_Waiting]) -> None:
        try:
            answers = await self._decoded(group, batch)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0].future, error)
                return
            for item in batch:  # one by one, so that none fails with another's error
                await self._answer(group, [item])
            return
        for item, answer in zip(batch, answers, strict=True):
            if not item.future.done():
                item.future.set_result(answer)

    async def _decoded(self, group: Any, batch: list[_Waiting]) -> list:
        samples, rows = [item.sample for item in batch], [item.row for item in batch]
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._decode, group, samples, rows)


def _fail(future: asyncio.Future, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: a client that has gone leaves no complaint behind
