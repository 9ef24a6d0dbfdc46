"""How processes agree, notice what differs, and find the one that is stuck; threads with a small service stand in."""

import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from t2t_multimodel.errors import UserError
from t2t_multimodel.training import processes, saving, watch
from t2t_multimodel.training.processes import ALONE, Group, Launch


class Service:
    """What the coordination service of `jax.distributed` does, for threads."""

    def __init__(self, count):
        self._values, self._changed = {}, threading.Condition()
        self._barriers = {}
        self._count = count
        self.waited = Counter()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self._changed:
            if key in self._values and not allow_overwrite:
                raise RuntimeError(f"ALREADY_EXISTS: {key}")
            self._values[key] = value
            self._changed.notify_all()

    def key_value_try_get(self, key):
        with self._changed:
            if key not in self._values:
                raise RuntimeError(f"NOT_FOUND: {key}")
            return self._values[key]

    def blocking_key_value_get(self, key, milliseconds):
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._values, timeout=60)
            return self._values[key]

    def key_value_dir_get(self, prefix):
        with self._changed:
            return [(key, value) for key, value in self._values.items() if key.startswith(prefix)]

    def wait_at_barrier(self, name, milliseconds):
        with self._changed:
            barrier = self._barriers.setdefault(name, threading.Barrier(self._count))
        barrier.wait(timeout=60)


def in_each(count, function):
    """What `function(group)` of each process returned or raised."""
    service, found = Service(count), [None] * count

    def run(index):
        try:
            found[index] = function(Group(index, count, service))
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return found


def test_a_value_of_the_first_process_is_told_to_all():
    assert in_each(3, lambda group: group.told("x", {"mine": group.index})) == [{"mine": 0}] * 3


def test_the_values_of_all_are_gathered_in_order_at_the_first():
    found = in_each(3, lambda group: [group.gathered("x", 10 * group.index), group.gathered("y", -group.index)])
    assert found == [[[0, 10, 20], [0, -1, -2]], [None, None], [None, None]]


def test_all_wait_at_a_barrier():
    came = []

    def run(group):
        came.append(group.index)
        group.barrier("here")
        return len(came)

    assert in_each(3, run) == [3, 3, 3]


def test_the_same_values_are_the_same():
    values = {"step": 3, "place": {"epoch": 1, "mean": 0.1 + 0.2}}
    assert in_each(2, lambda group: group.same("x", values)) == [None, None]


def test_a_place_in_the_data_that_differs_is_one_line_before_anything_is_saved(tmp_path):
    """The barrier that the others wait at breaks here; where it is JAX's, the watch ends them."""
    step, model = SimpleNamespace(variables=lambda: []), SimpleNamespace(trainable_variables=[])
    service, errors = Service(2), {}

    def run(index):
        group = Group(index, 2, service)
        try:
            saving.save(tmp_path, 4, step, model, {"stream": {"batches": 4 + index}}, group)
        except Exception as error:
            errors[index] = error
            service._barriers.setdefault("t2t/barrier/1", threading.Barrier(2)).abort()

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert isinstance(errors[1], UserError)
    assert str(errors[1]) == (
        'process 1 has another place in the data than process 0: {"batches": 5}, not {"batches": 4}'
    )
    assert isinstance(errors[0], threading.BrokenBarrierError) and list(tmp_path.iterdir()) == []


def test_a_process_alone_agrees_with_itself():
    assert (ALONE.told("x", 3), ALONE.gathered("x", 4), ALONE.same("x", {"y": 1})) == (3, [4], None)
    assert ALONE.first and not ALONE.several and processes.current() is ALONE


# ---- Who is stuck


def noted(service, index, met, doing, beat=1):
    note = {"beat": beat, "met": met, "doing": doing, "seconds": 9, "host": "h", "process": 70 + index}
    service.key_value_set(f"t2t/notes/{index}", json.dumps(note), True)


@pytest.fixture
def ended(monkeypatch):
    """What was said at the end, with the status; no time passes."""
    said = []
    monkeypatch.setattr(watch.os, "_exit", lambda status: said.append(status))
    monkeypatch.setattr(watch.os, "write", lambda file, text: said.append(text.decode().strip()))
    monkeypatch.setattr(watch, "_SILENT_AFTER", 0)
    monkeypatch.setattr(watch, "_GOODBYE", 0)
    return said


def stuck(service, index, silent=()):
    found = watch.Watch(service, index, 2, stuck_after=5)
    found._since -= 9
    found.silent = lambda: list(silent)
    found._end_stuck()


@pytest.mark.parametrize("index", [0, 1])
def test_the_one_that_the_others_wait_for_is_named(ended, index):
    service = Service(2)
    noted(service, 0, 8, "the update of step 4")
    noted(service, 1, 7, "the batches of step 4")
    stuck(service, index)
    line, status = ended
    assert status == watch.STUCK and line.startswith(
        "t2t-trainer: error: process 1 (process 71 on h) is stuck in the batches of step 4; process 0 waits in the "
        "update of step 4: nothing went on for 5 s (--stuck_after)"
    )
    assert watch.Watch(service, 0, 2).failure().line in line


def test_one_that_is_silent_is_named(ended):
    service = Service(2)
    noted(service, 0, 8, "the update of step 4")
    noted(service, 1, 8, "the update of step 4")
    stuck(service, 0, silent=[1])
    assert "process 1 (process 71 on h) does not answer any more, last in the update of step 4" in ended[0]


def test_where_all_are_in_the_same_all_are_named(ended):
    service = Service(2)
    for index in (0, 1):
        noted(service, index, 8, "the update of step 4")
    stuck(service, 0)
    assert "process 0 (process 70 on h) is stuck in the update of step 4; process 1" in ended[0]


def test_one_that_notes_nothing_any_more_is_gone(ended, monkeypatch):
    """Also where nothing says how long others may be held up; after a minute without a note, not before."""
    now, service = [100.0], Service(2)
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    first = watch.Watch(service, 0, 2)
    first.stage("the checkpoint of step 4", together=True)
    for beat, later in enumerate((0.0, 59.0, 59.0, 2.0, 59.0, 0.5)):
        now[0] += later
        noted(service, 1, 8, "the file of step 4", beat=min(beat, 3))
        first._note()
        first._end_if_gone()
        assert not ended
    now[0] += 1.0
    first._end_if_gone()
    assert ended[1:] == [watch.GONE] and ended[0].startswith(
        "t2t-trainer: error: process 1 (process 71 on h) is gone, or can't be reached, last in the file of step 4; "
        "process 0 waits in the checkpoint of step 4; start all processes again"
    )


def test_who_goes_on_meanwhile_ends_nothing(ended):
    found = watch.Watch(Service(2), 0, 2, stuck_after=5)
    found._since -= 9
    found.silent = lambda: found.stage("another", together=False) or []
    found._end_stuck()
    assert not ended


def test_the_first_error_is_heard():
    service = Service(2)
    watch.Watch(service, 1, 2).end_all("no data", 2)
    watch.Watch(service, 0, 2).end_all("a broken connection", 1)
    failed = watch.Watch(service, 0, 2).failure()
    assert failed.line.startswith("process 1 on ") and failed.line.endswith(": no data") and failed.status == 2


# ---- Flags


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"distributed": "auto", "process_id": 0}, "--distributed=auto finds out what --process_id says"),
        ({"coordinator": "a:1"}, "--coordinator needs --num_processes and --process_id; give all three"),
        ({"num_processes": 2, "process_id": 1}, "--num_processes and --process_id need --coordinator"),
        ({"coordinator": "a", "num_processes": 2, "process_id": 1}, "--coordinator=a must be HOST:PORT"),
        ({"coordinator": "a:65536", "num_processes": 2, "process_id": 1}, "must be HOST:PORT"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "--process_id=2 must be one of 0 to 1"),
    ],
)
def test_flags_that_contradict_each_other_are_one_line(asked, said):
    with pytest.raises(UserError, match=said):
        Launch(**asked)


def test_one_process_is_asked_for_by_nothing():
    assert not Launch() and Launch(distributed="auto") and Launch("", "a:1", 2, 1)
    with processes.together(Launch()) as group:
        assert group is ALONE


def test_tensorflow_refuses_several(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UserError, match="--distributed needs --backend=jax"):
        with processes.together(Launch(distributed="auto")):
            pass


def test_the_command_checks_the_flags_before_anything_slow(run_command):
    from t2t_multimodel.cli import trainer

    needed = ["--problem=tiny_ende", "--data_dir=nowhere", "--output_dir=nowhere_else"]
    status, _, said = run_command(trainer.main, *needed, "--coordinator=a:1")
    assert status == 2 and "--coordinator needs --num_processes and --process_id" in said
    status, _, said = run_command(trainer.main, *needed, "--distributed=auto", "--dry_run")
    assert status == 2 and "--dry_run counts the memory of one process" in said
