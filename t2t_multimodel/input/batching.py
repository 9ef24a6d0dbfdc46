"""Batches from an example store: endless ones for training, at an exact position; each example once for evaluation."""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.padding import make_batch
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.input.prefetch import Prefetcher
from t2t_multimodel.mixture.randomness import random_words
from t2t_multimodel.modalities.arrays import part_of

# The hparams that decide which examples make up which batch.
HPARAMS_OF_BATCHES = (
    "batch_tokens",
    "batch_examples",
    "audio_positions_per_second",
    "image_positions",
    "max_input_length",
    "max_target_length",
    "max_audio_seconds",
    "length_window",
)
HPARAMS_OF_VARIATION = ("audio_speeds", "audio_silence_seconds", "sorted_epochs")
WHOLE = (0, 1)  # the first of one part
_READ_BYTES = 256 * 1024  # of stored examples that are parsed together: a call costs as much as 50 short sentences


@dataclass(frozen=True)
class Batch:
    """One batch of one problem."""

    arrays: dict[str, np.ndarray]  # name → array, see docs/architecture.md, "A batch"
    problem: str
    epoch: int
    position: int  # how many batches the stream gave before this one
    examples: int  # rows that are examples; further rows only fill up a shape
    rows: np.ndarray  # their row numbers in the split
    input_tokens: int  # positions that hold something: ids with end-of-sequence, pictures' and sound's positions
    target_tokens: int


class BatchStream:
    """Endless training batches of one problem.

    Every epoch holds each example once, in an order that follows from seed, problem and epoch; no batch mixes two
    epochs. Batches are read ahead in a thread; `state()` speaks of the batches handed out.
    """

    def __init__(
        self,
        store: Any,
        split: str,
        hparams: Any,
        seed: int,
        *,
        bucket: bool = False,
        part: tuple[int, int] = WHOLE,
    ) -> None:
        """
        Args:
          store: an `ExampleStore`.
          split: name of the split.
          hparams: the `HParams`; see "Batches and mixture" there.
          seed: of the order.
          bucket: lengths are padded up to one of few, and every batch has the rows of a full one of its lengths, and
            of the next multiple of `batch_rows_multiple`, what is left over being filled up with rows of example weight
            0: few shapes, for JAX.
          part: (i, n): only the i-th (from 0) of n equal parts of the rows of every batch is read, with the shapes that
            the whole batch has besides; what `Batch` says of examples, rows and tokens, and the position, are those of
            the whole. With `bucket`, and `batch_rows_multiple` a multiple of n.

        Raises:
          UserError: no such split, or every example is too long.
        """
        if part[1] > 1 and not (bucket and hparams.batch_rows_multiple % part[1] == 0):
            raise ValueError(
                f"batches of a multiple of {hparams.batch_rows_multiple} rows have no {part[1]} equal parts"
            )
        self.problem = store.name
        self.hparams = hparams
        self._spec = store.spec
        self._split = store.split(split)
        self._plan = BatchPlan(self._split, self._spec, hparams, seed, bucket=bucket)
        values = [getattr(hparams, name) for name in HPARAMS_OF_BATCHES]
        decides_the_order = [store.digest, split, seed, bucket, values]
        # Those that change nothing by default stand there only where they do.
        default = type(hparams)()
        added = {n: getattr(hparams, n) for n in HPARAMS_OF_VARIATION if getattr(hparams, n) != getattr(default, n)}
        decides_the_order += [added] if added else []
        is_varied = self._spec.inputs.longest_varied(self._split.input_length, hparams) is not None
        vary = (hparams, (seed, self._spec.name, split)) if is_varied else None
        self._reader = _Reader(self._plan, self._split, self._spec, bucket, part, vary)
        self._digest = hashlib.sha256(json.dumps(decides_the_order).encode()).hexdigest()[:16]
        self._position = (0, 0, 0)  # epoch, window, batch of what next() gives next
        self._given = 0
        self._prefetcher: Prefetcher | None = None

    @property
    def left_out(self) -> int:
        """Examples that are too long to be trained on."""
        return self._plan.left_out

    def __len__(self) -> int:
        """Examples that are trained on in an epoch."""
        return len(self._split) - self._plan.left_out

    def next(self) -> Batch:
        """The next `Batch`. What goes wrong while it is read is raised here, as it was raised there."""
        if self._prefetcher is None:
            self._prefetcher = Prefetcher(_batches_from(self._position, self._plan, self._reader))
        try:
            epoch, rows, arrays, following = self._prefetcher.next()
        except BaseException:
            self.close()  # a further next() tries the same batch again
            raise
        batch = _batch(arrays, self._plan, self._split, rows, epoch, self._given)
        self._position = following
        self._given += 1
        return batch

    def largest(self) -> Batch:
        """The batch of the first epoch with the most positions; the stream stays where it is."""
        windows = (self._plan.window(0, window) for window in range(self._plan.windows))
        rows = max((rows for batches in windows for rows in batches), key=self._plan.padded_positions)
        _, arrays = next(self._reader.read([rows]))
        return _batch(arrays, self._plan, self._split, rows, 0, 0)

    def shapes_ahead(self) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """Yields what `BatchPlan.shape` says of the batches that `next()` will give, endlessly; nothing is read."""
        plan = copy.copy(self._plan)  # which keeps the order of one epoch, here another one than the reader's
        epoch, window, start = self._position
        while True:
            yield from map(plan.shape, plan.window(epoch, window)[start:])
            epoch, window, start = (epoch, window + 1, 0) if window + 1 < plan.windows else (epoch + 1, 0, 0)

    def blank(self, shape: tuple[int, tuple[int, ...], tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The arrays of a batch of one of `shapes_ahead` in which no row is an example."""
        return self._reader.blank(shape)

    def state(self) -> dict[str, Any]:
        """The position after the batches handed out so far, as plain values for JSON."""
        epoch, window, batch = self._position
        return {"epoch": epoch, "window": window, "batch": batch, "batches": self._given, "order": self._digest}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state()` was taken.

        Raises:
          UserError: the state is of other data, another seed or other batch settings, where it would mean nothing.
        """
        if state["order"] != self._digest:
            raise UserError(
                f"{self.problem}: the checkpoint's place in the data is of other data, another seed or other batch "
                f"settings; give the old ones to continue that run, or another --output_dir to start a new one"
            )
        self.close()
        self._position = (state["epoch"], state["window"], state["batch"])
        self._given = state["batches"]

    def close(self) -> None:
        """Ends the thread that reads ahead; `next()` may be called again and goes on."""
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None


def evaluation_batches(
    store: Any, split: str, hparams: Any, most_examples: int = 0, *, bucket: bool = False
) -> Iterator[Batch]:
    """Yields `Batch`es that hold every example of a split once, the long ones too, sorted by length.

    `Batch.rows` says which examples they are, to put results back in order. `most_examples`: only the first so
    many of the files (in random order); 0 = all. `bucket`: as of `BatchStream`.
    """
    examples = store.split(split)
    plan = BatchPlan(examples, store.spec, hparams, 0, bucket=bucket, training=False)
    count = min(most_examples, len(examples)) if most_examples else len(examples)
    reader = _Reader(plan, examples, store.spec, bucket)
    for position, (rows, arrays) in enumerate(reader.read(plan.cut(np.arange(count)))):
        yield _batch(arrays, plan, examples, rows, 0, position)


def _batches_from(position, plan, reader):
    """Yields (epoch, rows, arrays, the position that follows), endlessly."""
    epoch, window, start = position
    while True:
        batches = plan.window(epoch, window)
        after_window = (epoch, window + 1, 0) if window + 1 < plan.windows else (epoch + 1, 0, 0)
        for i, (rows, arrays) in enumerate(reader.read(batches[start:], epoch), start):
            yield epoch, rows, arrays, (epoch, window, i + 1) if i + 1 < len(batches) else after_window
        epoch, window, start = after_window


def _varied(spec, vary, epoch, columns, rows):
    """The inputs of `rows` as an epoch reads them, by `Modality.varied`; `vary`: the hparams and the key of draws."""
    hparams, key = vary
    words = [int(random_words(1, "varied", *key, epoch, row)[0]) for row in rows.tolist()]
    return spec.inputs.varied(columns, hparams, words)


@dataclass(frozen=True)
class _Reader:
    """Reads planned batches, or a part of each.

    `vary`: (the hparams, a key of draws) by which each epoch reads the inputs otherwise; None: as they are stored.
    """

    plan: Any
    split: Any
    spec: Any
    bucket: bool
    part: tuple[int, int] = WHOLE
    vary: Any = None

    def read(self, batches, epoch=0):
        """Yields (rows, arrays) for each of `batches` (row numbers); small ones are read and parsed several at a time.

        The rows are those of the whole batch, the arrays hold this reader's part of them.
        """
        own = [self._own(rows) for rows in batches]
        sizes = [self.split.stored_bytes(mine) for mine, _ in own]
        while batches:
            count = max(1, int(np.searchsorted(np.cumsum(sizes), _READ_BYTES, side="right")))
            together, batches, own_rows, own, sizes = (
                batches[:count],
                batches[count:],
                own[:count],
                own[count:],
                sizes[count:],
            )
            inputs, targets = self._columns([mine for mine, _ in own_rows], together[0][:1])
            ends = np.cumsum([len(mine) for mine, _ in own_rows]).tolist()
            # Few shapes are as long as the longest that may be made; others as long as what is there.
            shortest = self.vary is not None and not self.bucket
            for rows, (mine, filled), end in zip(together, own_rows, ends):
                part = slice(end - len(mine), end)
                own_inputs = {name: part_of(column, part) for name, column in inputs.items()}
                if self.vary is not None:
                    own_inputs = _varied(self.spec, self.vary, epoch, own_inputs, mine)
                yield (
                    rows,
                    make_batch(
                        self.spec,
                        own_inputs,
                        {name: part_of(column, part) for name, column in targets.items()},
                        rows=filled,
                        input_length=0 if shortest else self.plan.input_padded[rows].max(axis=0),
                        target_length=self.plan.target_padded[rows].max(axis=0),
                    ),
                )

    def blank(self, shape):
        """The arrays that `read` makes of a batch of such a shape (`BatchPlan.shape`), without an example."""
        filled, *lengths = shape
        sides = (self.plan.input_padded, self.plan.target_padded)
        lengths = [np.array(each) if side.ndim > 1 else each[0] for side, each in zip(sides, lengths)]
        columns = [
            {name: part_of(column, slice(0, 0)) for name, column in side.items()}
            for side in self._columns([np.zeros(0, np.int64)], np.zeros(1, np.int64))
        ]
        input_length, target_length = lengths
        rows = filled // self.part[1]
        return make_batch(self.spec, *columns, rows=rows, input_length=input_length, target_length=target_length)

    def _own(self, rows):
        """(the examples of this part of a batch, how many rows they are filled up to)."""
        index, count = self.part
        filled = self.plan.filled_rows(rows) if self.bucket else len(rows)
        size = filled // count
        return rows[index * size : (index + 1) * size], size

    def _columns(self, parts, any_row):
        """The columns of all `parts`; where there is no example in them, those of another one, which no part has."""
        rows = np.concatenate(parts)
        return self.split.columns(rows if len(rows) else any_row)


def _batch(arrays, plan, split, rows, epoch, position):
    return Batch(
        arrays=arrays,
        problem=split.store.name,
        epoch=epoch,
        position=position,
        examples=len(rows),
        rows=rows,
        input_tokens=int(plan.input_lengths.tokens(split.input_length[rows]).sum()),
        target_tokens=int(plan.target_lengths.tokens(split.target_length[rows]).sum()),
    )
