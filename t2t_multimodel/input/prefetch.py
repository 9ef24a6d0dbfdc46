"""Runs an iterator ahead in one background thread."""

import queue
import threading
import weakref

_WAIT_SECONDS = 0.1  # how often a waiting thread looks whether it should end


class Prefetcher:
    """`next()` gives what the iterator gives, up to `depth` items of which are made before they are asked for.

    What the iterator raises, `next()` raises, after the items that came before. The thread starts at the first
    `next()` and ends with `close()`, when this object is no longer referenced, or when the program ends.
    """

    def __init__(self, iterator, depth=2):
        self._items = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        arguments = (iterator, self._items, self._stop)  # not `self`, which could then never be collected
        self._thread = threading.Thread(target=_run, args=arguments, name="t2t-input", daemon=True)
        self._end = weakref.finalize(self, _end, self._stop, self._thread)

    def next(self):
        if self._stop.is_set():
            raise RuntimeError("next() after close()")
        if self._thread.ident is None:
            self._thread.start()
        item, error = self._items.get()
        if error is not None:
            self.close()
            raise error
        return item

    def close(self):
        """Ends the thread and waits for it."""
        self._end()


def _run(iterator, items, stop):
    try:
        for item in iterator:
            if not _put(items, (item, None), stop):
                return
        _put(items, (None, StopIteration()), stop)
    except BaseException as error:  # whatever it is, next() raises it
        _put(items, (None, error), stop)


def _put(items, item, stop):
    while not stop.is_set():
        try:
            items.put(item, timeout=_WAIT_SECONDS)
            return True
        except queue.Full:
            pass
    return False


def _end(stop, thread):
    stop.set()
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join()
