"""A thread beside the training of several processes: tells the others where this one is, and ends it with them.

Every process notes in the coordination service what it does. Where one fails, the others read why, say it and end:
their main threads may be waiting for it inside a collective operation, for ever. The same happens where nothing goes
on for too long; the process that the others wait for is named then.
"""

import json
import os
import socket
import threading
import time
from typing import NamedTuple

from t2t_multimodel.errors import printable

FOREVER = 7 * 24 * 3600 * 1000  # milliseconds
STUCK, GONE = 1, 2  # exit statuses
_TICK = 0.5  # seconds
_SILENT_AFTER = 4 * _TICK  # a process that is alive notes something in that time
_GONE_AFTER = 60.0  # and one that is only held up, by Python's lock say, in that; JAX would abort all after 100
_GOODBYE = 5.0  # seconds that a process which failed waits for the others to have read why
HINT = "start all processes again: training goes on from the last checkpoint"
_FAILURE, _NOTES, _ENDING = "t2t/failure", "t2t/notes/", "t2t/ending/"


class Failure(NamedTuple):
    """Why all processes end: what is said, and the exit status."""

    line: str
    status: int


class Watch:
    """The notes of this process, and the thread that writes them and reads those of the others."""

    def __init__(self, client, index, count, stuck_after=0, command="t2t-trainer"):
        self._client, self._index, self._count = client, index, count
        self._stuck_after, self._command = stuck_after, command
        self._host = socket.gethostname()
        # What all do together is counted: a process that has begun less of it is the one that the others wait for.
        self._met, self.doing, self._since = 0, "starting", time.monotonic()
        self._beat, self._answered = 0, time.monotonic()
        self._heard = {}  # {process: (its newest beat, when that was read)}
        self._ended = threading.Event()  # nothing is to be done by the thread any more
        self._failing, self._threads = False, []

    def start(self):
        for run in (self._run, self._look_after):
            self._threads.append(threading.Thread(target=run, name="t2t-watch", daemon=True))
            self._threads[-1].start()

    def close(self):
        """Ends the threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=_SILENT_AFTER)

    def stage(self, doing, together):
        """This process begins to do something, alone or together with the others."""
        self._met += together
        self.doing, self._since = doing, time.monotonic()

    def failure(self):
        """The `Failure` that ends all processes; None as long as there is none."""
        found = self._read(_FAILURE)
        return None if found is None else Failure(*json.loads(found))

    def end_all(self, said, status):
        """Has the others end, and this process's thread leave it alone; `goodbye` is to follow, and the end."""
        self._failing = True
        self._publish(Failure(f"process {self._index} on {self._host}: {said}", status))

    def goodbye(self):
        """To be called last. Process 0 waits a little for the others: with it the service ends that tells them why."""
        self._failing = True
        try:
            self._client.key_value_set(f"{_ENDING}{self._index}", "", True)
        except Exception:  # the service is gone
            return
        until = time.monotonic() + _GOODBYE
        while not self._index and time.monotonic() < until and len(self._all(_ENDING)) < self._count:
            time.sleep(0.05)

    def silent(self):
        """The numbers of the other processes that note nothing any more; waits for some seconds."""
        before = self._notes()
        time.sleep(_SILENT_AFTER)
        now = self._notes()
        return [i for i in range(self._count) if i != self._index and now.get(i, {}) == before.get(i, {})]

    # ---- The thread

    def _run(self):
        while not self._ended.wait(_TICK):
            try:
                self._note()
                self._answered = time.monotonic()
                failed = self.failure()
                if failed is not None and not self._failing:
                    self._end(failed)
                if not self._index and not self._failing:  # it has the service: it hears what anyone hears
                    self._end_if_gone()
                if self._stuck_after and self._seconds() > self._stuck_after and not self._failing:
                    self._end_stuck()
            except Exception:  # the service is gone, and with it process 0: JAX ends this one, or `_look_after`
                continue

    def _look_after(self):
        """Ends this process where the service does not answer any more, which holds up the other thread."""
        while self._stuck_after and not self._ended.wait(_TICK):
            if min(self._seconds(), time.monotonic() - self._answered) > self._stuck_after + _SILENT_AFTER + _TICK:
                said = f"process 0 does not answer any more; process {self._index} waits in {self.doing}"
                self._say(Failure(f"{said}: nothing went on for {self._stuck_after} s (--stuck_after); {HINT}", STUCK))
                os._exit(STUCK)

    def _note(self):
        self._beat += 1
        note = {"beat": self._beat, "met": self._met, "doing": self.doing, "seconds": round(self._seconds())}
        place = {"host": self._host, "process": os.getpid()}
        self._client.key_value_set(f"{_NOTES}{self._index}", json.dumps(note | place), True)

    def _end_if_gone(self):
        """Ends all where another process notes nothing any more: it was killed, or its machine is lost. Those that
        wait for it in an update learn it from their connections; elsewhere nothing tells them.
        """
        now, notes = time.monotonic(), self._notes()
        for index, note in notes.items():
            beat, since = self._heard.get(index, (None, now))
            if beat != note["beat"]:
                self._heard[index] = (note["beat"], now)
            elif index != self._index and now - since > _GONE_AFTER:
                said = f"{_place(index, note)} is gone, or can't be reached, last in {note['doing']}"
                self._publish(Failure(f"{said}; process {self._index} waits in {self.doing}; {HINT}", GONE))
                self._end(self.failure())

    def _end_stuck(self):
        silent, notes = self.silent(), self._notes()
        if self._seconds() <= self._stuck_after or self._ended.is_set():  # it went on meanwhile
            return
        least = min(note["met"] for note in notes.values())
        late = silent or [i for i, note in notes.items() if note["met"] == least]
        said = "; ".join(self._said_of(i, notes.get(i), i in silent) for i in late)
        waiting = next((i for i in notes if i not in late), None)
        if waiting is not None:
            said += f"; process {waiting} waits in {notes[waiting]['doing']}"
        self._publish(Failure(f"{said}: nothing went on for {self._stuck_after} s (--stuck_after); {HINT}", STUCK))
        self._end(self.failure())

    def _said_of(self, index, note, silent):
        if note is None:
            return f"process {index} never came"
        return f"{_place(index, note)} {'does not answer any more, last' if silent else 'is stuck'} in {note['doing']}"

    def _end(self, failed):
        """Ends this process, whatever its main thread waits for."""
        if self._ended.is_set():
            return
        self._say(failed)
        self.goodbye()
        os._exit(failed.status)

    def _say(self, failed):
        """To standard error, past Python's buffers."""
        os.write(2, f"\n{self._command}: error: {printable(failed.line)}\n".encode(errors="replace"))

    # ---- The coordination service

    def _seconds(self):
        return time.monotonic() - self._since

    def _notes(self):
        """{process: its newest note}."""
        return {int(key.rpartition("/")[2]): json.loads(value) for key, value in self._all(_NOTES)}

    def _publish(self, failure):
        """Notes why all end; the first one to say it is heard."""
        try:
            self._client.key_value_set(_FAILURE, json.dumps(failure), False)
        except Exception:  # one is there already, or the service is gone
            pass

    def _all(self, prefix):
        try:
            return self._client.key_value_dir_get(prefix)
        except Exception:  # the service is gone, or nothing is there
            return []

    def _read(self, key):
        try:
            return self._client.key_value_try_get(key)
        except Exception as error:
            if "NOT_FOUND" in str(error):
                return None
            raise


def _place(index, note):
    return f"process {index} (process {note['process']} on {note['host']})"


def one_line(error):
    """The text of an error without line breaks."""
    return " ".join(str(error).split())
