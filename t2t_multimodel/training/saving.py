"""A checkpoint of a run in training, saved and found: by one process, or by several together."""

import os

import keras

from t2t_multimodel.errors import UserError
from t2t_multimodel.training import arrays_file, checkpoints, shards
from t2t_multimodel.training.checks import check_weights


def save(folder, step, train_step, model, state, processes):
    """Writes the checkpoint of a step; when this returns, it is on the disk.

    Several processes write a file each, one variable after the other; the first one says what the checkpoint is.

    Args:
      folder: of all checkpoints of the run, the same one for all processes. state: plain values for JSON.
      train_step, model: whose variables are saved. processes: `Alone` or `Group`.

    Raises:
      UserError: a weight is not finite, the disk is full, or the processes have other states.
    """
    variables = train_step.variables()
    paths = [variable.path for variable in variables]
    if len({*paths}) != len(paths):
        raise RuntimeError(f"two variables are called {next(path for path in paths if paths.count(path) > 1)}")
    weights = [variable.path for variable in model.trainable_variables]
    if not processes.several:
        arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in variables}
        for path in weights:
            check_weights(step, path, arrays[path])
        checkpoints.save(folder, step, arrays, state)
        return
    doing = f"the checkpoint of step {step}"
    processes.same(f"{doing}: comparing where the data is", {"place in the data": state["stream"], "state": state})
    if processes.first:
        with checkpoints.writing(folder, step, state) as (unfinished, facts):
            processes.told(f"{doing}: making its folder", unfinished.name)
            facts |= _written_by_all(unfinished, step, variables, weights, processes, doing)
    else:
        unfinished = folder / processes.told(f"{doing}: making its folder", None)
        try:
            _written_by_all(unfinished, step, variables, weights, processes, doing)
        except OSError as error:
            raise checkpoints.unwritable(folder, step, error) from error
    processes.barrier(f"{doing}: the end")


def newest(folder, processes):
    """The newest whole `Checkpoint`, None where there is none; of several processes the first one decides which.

    Raises:
      UserError: as of `checkpoints.load_latest`.
    """
    if not processes.several:
        return checkpoints.load_latest(folder)
    doing = "looking for the newest checkpoint"
    for tries_left in reversed(range(checkpoints.TRIES)):
        step = processes.told(doing, checkpoints.latest(folder) if processes.first else None)
        if step is None:
            return None
        found = failed = None
        try:
            found = checkpoints.load(folder, step, verify=not processes.first)
        except UserError as error:
            failed = error
            if not tries_left or os.path.lexists(checkpoints.folder_of(folder, step)):
                raise
        # A trainer may have removed it meanwhile, for some of the processes; then all look again.
        missed = processes.gathered(doing, failed is not None)
        if not processes.told(doing, processes.first and any(missed)):
            return found
    return None


def _written_by_all(folder, step, variables, weights, processes, doing):
    """Writes this process's file; {name: facts} of the files of all, at the first process."""
    names = shards.file_names(processes.count)
    path = folder / names[processes.index]

    def checked(piece):
        processes.stage(f"{doing}: writing {piece.path}")
        array = keras.ops.convert_to_numpy(piece.array)
        if piece.path in weights:
            check_weights(step, piece.path, array)
        return array

    weights = {*weights}
    pieces = shards.pieces_of(variables)
    entries = [(p.name, p.dtype, p.shape, lambda p=p: checked(p)) for p in pieces]
    arrays_file.write_streamed(path, entries)
    found = processes.gathered(f"{doing}: waiting for the files of all", checkpoints.flushed_facts(path))
    facts = dict(zip(names, found or ()))
    for number, (name, about) in enumerate(facts.items()):
        if not (folder / name).is_file() or (folder / name).stat().st_size != about["bytes"]:
            raise UserError(
                f"process 0 does not see what process {number} has written to {folder.parent}; give all of them one "
                "--output_dir, on a disk that they share"
            )
    return facts
