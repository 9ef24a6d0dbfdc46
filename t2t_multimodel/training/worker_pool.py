"""Processes that do tasks beside each other, with the results in order; the end of one is the end of all.

Nothing here knows what the tasks are; `workers.py` does.
"""

import collections
import itertools
import multiprocessing
import signal
import threading
from concurrent.futures import Future
from multiprocessing import connection as connections
from multiprocessing import resource_tracker

from t2t_multimodel.errors import UserError
from t2t_multimodel.training.worker_process import DONE, READY, serve

_AT_ONCE = 2  # tasks that a worker has at most: the one that it does, and the next
_AHEAD = 4  # tasks for each worker that are made before the first result is taken


class WorkerPool:
    """`count` worker processes. Several threads may use them at once.

    They start at once and get ready while this process does something else. A worker that dies, or can't be made, ends
    all of them: whatever is waited for then, and asked later, raises the same `UserError`.
    """

    def __init__(self, count, make, setup):
        """Args:
        make, setup: each process calls `make(setup)`, a function or class that it imports, and then the method `do`
          of what that returns with each of its tasks. Both, tasks and results are pickled.
        """
        self.count = count
        self._waiting = collections.deque()  # (task, future)
        self._lock = threading.Lock()  # held where the waiting ones, or the next three, change
        self._error = None  # why there are no workers any more
        self._closed = self._woken = False
        self._wake_reader, self._wake_writer = multiprocessing.Pipe(duplex=False)
        self._workers = []
        try:
            for number in range(1, count + 1):
                self._workers.append(_Worker(number, count, make, setup))
        except BaseException:
            self._end_all()
            raise
        self._thread = threading.Thread(target=self._hand_out_and_collect, daemon=True)
        self._thread.start()

    def submit(self, task):
        """A `Future` of what a task comes to; raises the `UserError` that ended the workers."""
        future = Future()
        with self._lock:
            if self._error:
                raise self._error
            if self._closed:
                raise RuntimeError("these workers were closed")
            self._waiting.append((task, future))
        self._wake()
        return future

    def begin(self, tasks):
        """Gives all of a list of tasks to the workers; returns a function that gives an iterator over what they come
        to, in their order.
        """
        futures = list(map(self.submit, tasks))

        def results():
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        return results

    def results(self, tasks):
        """Yields what each of an iterable of tasks comes to, in their order; few of them are made ahead."""
        tasks, given = iter(tasks), collections.deque()
        try:
            for task in tasks:
                given.append(self.submit(task))
                if len(given) >= _AHEAD * self.count:
                    yield given.popleft().result()
            while given:
                yield given.popleft().result()
        finally:
            for future in given:
                future.cancel()

    def each(self, task):
        """Has every worker do a task, before those that wait; the list of what it comes to."""
        futures = [Future() for _ in self._workers]
        with self._lock:
            if self._error:
                raise self._error
            for worker, future in zip(self._workers, futures):
                worker.first.append((task, future))
        self._wake()
        return [future.result() for future in futures]

    @property
    def closed(self):
        """Whether `close` was called."""
        return self._closed

    def close(self):
        """Ends the processes, whatever they do; to call it twice is harmless."""
        with self._lock:
            self._closed = True
        self._end_all()
        self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _wake(self):
        with self._lock:
            if not self._woken:
                self._woken = True
                self._wake_writer.send_bytes(b"!")

    # ---- In the thread that speaks with the workers

    def _hand_out_and_collect(self):
        try:
            while not self._closed:
                self._hand_out()
                by_connection = {worker.connection: worker for worker in self._workers}
                sentinels = {worker.process.sentinel: worker for worker in self._workers}
                ready = connections.wait([self._wake_reader, *by_connection, *sentinels])
                if self._wake_reader in ready:
                    with self._lock:
                        self._wake_reader.recv_bytes()
                        self._woken = False
                # What a dying worker still said comes first.
                for worker in (by_connection[one] for one in ready if one in by_connection):
                    worker.hear()
                for worker in (sentinels[one] for one in ready if one in sentinels):
                    while worker.connection.poll():
                        worker.hear()
                    raise worker.death()
        except Exception as error:
            ended = error
        else:
            ended = None
        self._end_all()
        with self._lock:
            self._error = self._error or ended
            waiting = list(self._waiting)
            self._waiting.clear()
        for _, future in itertools.chain(waiting, *(worker.all_of_it() for worker in self._workers)):
            if ended is None or self._closed:
                future.cancel()
            if not future.done():
                future.set_exception(ended or RuntimeError("these workers were closed"))

    def _hand_out(self):
        """Gives every worker something to do; then the next task too, where there are enough for all."""
        for at_once in range(1, _AT_ONCE + 1):
            for worker in self._workers:
                with self._lock:
                    chosen = worker.choose(self._waiting, at_once, self._workers)
                if chosen:
                    worker.give(*chosen)

    def _end_all(self):
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()


class _Worker:
    """One process as the first one sees it."""

    def __init__(self, number, count, make, setup):
        self.called = f"worker {number} of {count}"
        context = multiprocessing.get_context("spawn")
        self.connection, of_worker = context.Pipe()
        self.process = context.Process(target=serve, args=(of_worker, make, setup), name=self.called, daemon=True)
        self.first = collections.deque()  # (task, future) that are for this worker
        self._given = collections.deque()  # futures of what it does, in order
        self._ready = False
        self._known = set()  # the problems of the tasks that it was given
        _start(self.process)
        of_worker.close()

    def choose(self, waiting, at_once, workers):
        """Takes (task, future) out of `waiting`; None: it has enough to do.

        A problem that it has programs for goes first, then one that no worker has programs for, since making them takes
        as long as some batches; with nothing else to do it takes any.
        """
        if not self._ready:
            return None
        if self.first:
            return self.first.popleft()
        if len(self._given) >= at_once or (at_once > 1 and len(waiting) < len(workers)):
            return None
        known = set().union(*(worker._known for worker in workers))
        wanted = [lambda task: _problem(task) in self._known, lambda task: _problem(task) not in known]
        if not self._given:
            wanted.append(lambda task: True)
        for fits in wanted:
            for place, (task, future) in enumerate(waiting):
                if fits(task):
                    del waiting[place]
                    return task, future
        return None

    def give(self, task, future):
        if not future.set_running_or_notify_cancel():
            return
        self._given.append(future)
        self._known.add(_problem(task))
        try:
            self.connection.send(task)
        except OSError:
            pass  # it died: its sentinel says so

    def hear(self):
        """Takes what it says; raises where it could not be made."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise self.death() from None
        if kind == READY:
            self._ready = True
        elif not self._ready:
            raise value
        elif kind == DONE:
            self._given.popleft().set_result(value)
        else:
            self._given.popleft().set_exception(value)

    def death(self):
        """The `UserError` that says how it died."""
        self.process.join()
        code, process = self.process.exitcode, f"{self.called} (process {self.process.pid})"
        if code < 0:
            try:
                by = signal.Signals(-code).name
            except ValueError:
                by = f"signal {-code}"
            return UserError(f"{process} was ended by {by}; if memory ran out, give fewer workers")
        return UserError(
            f'{process} ended with status {code}; a script that uses workers needs `if __name__ == "__main__":`'
        )

    def all_of_it(self):
        """(None, future) of what it had to do."""
        return [*self.first, *((None, future) for future in self._given)]


def _start(process):
    """Starts a process that Ctrl-C never reaches, not even before it can say that it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        process.start()
        return
    resource_tracker.ensure_running()  # it lets signals through again when it starts, so it starts before
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _problem(task):
    """Tasks of one problem need the same programs."""
    return getattr(task, "problem", None)
