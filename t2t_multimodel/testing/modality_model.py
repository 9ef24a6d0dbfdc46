"""The half of `check_modality` that needs Keras: encoder, head, and a small model around them."""

import numpy as np
from keras import ops

from t2t_multimodel.testing.findings import few_of, said

_CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def faults(modality, samples, stores, hparams):
    """Yields findings; `stores`: {side: the `ExampleStore` with the samples on that side}."""
    from t2t_multimodel import metrics
    from t2t_multimodel.decode_hparams import decode_settings
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.input.padding import make_batch
    from t2t_multimodel.models.multimodel import MultiModel
    from t2t_multimodel.training.backend import adapter
    from t2t_multimodel.training.run import Run

    backend = adapter()
    by_name = {store.name: store for store in stores.values()}
    run = Run.of("multimodel", 0, "", by_name, hparams)
    model = MultiModel(hparams, run.specs)
    _disturb(model)
    step, decoder = backend.Step(model, None, hparams), BatchDecoder(model, backend)
    for side, store in stores.items():
        problem = run.problem(store.name)
        spec, reader = problem.spec, store.split("train")
        columns = reader.columns(np.arange(len(reader)))
        batch = make_batch(spec, *columns, rows=len(reader) + 1)
        if side == "inputs":
            yield from _encoder(spec.inputs, model.input_encoder(spec), columns[0], len(reader))
            mine = model.input_encoder(spec).input_variables
        else:
            yield from _head(model.head(spec), spec.targets.of_batch(batch, "targets"), hparams)
            mine = model.head(spec).output_variables
        yield from _gradients(model, step, spec, batch, mine)
        if side == "inputs":
            continue
        yield from _statistics(step.evaluate(spec, batch), model.head(spec))
        settings = decode_settings({"max_length": 4} if spec.targets.uses_vocabulary else None, {})
        answers = decoder.answers(problem, batch, store.vocabulary(), settings)[: len(reader)]
        if len(answers) != len(reader):
            yield f"answers gives {len(answers)} answers to {len(reader)} rows"
            continue
        lines = [spec.targets.to_line(spec.targets.best(answer)) for answer in answers]
        bad = [repr(line)[:60] for line in lines if not isinstance(line, str) or "\n" in line]
        yield from few_of(bad, "to_line must give one line of text, not {}", "such lines")
        stored = [example["targets"] for example in reader.examples(np.arange(len(reader)))]
        right = [[spec.targets.reference(target, store.vocabulary())] for target in stored]
        for name in spec.targets.default_metrics:
            try:
                metrics.score((name,), answers, right)
            except Exception as error:
                yield f"its metric {name} can't be computed on answers of a model: {said(error)}"
        keys = [int(example["key"]) for example in reader.examples(np.arange(len(reader)))]
        perfect = [spec.targets.as_answer(samples[key]) for key in keys]
        for name in spec.targets.default_metrics:
            value, best = metrics.score((name,), perfect, right)[name], metrics.get(name).perfect
            if name != "bleu" and best is not None and abs(value - best) > 1e-5:  # BLEU needs four words
                yield f"its metric {name} of as_answer(sample) is {value:g}, not {best:g}"


def _disturb(model):
    """Random weights everywhere: what begins at zero would hide the gradients of what is behind it."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = ops.convert_to_numpy(variable)
        variable.assign(value + (0.1 * rng.standard_normal(value.shape)).astype(value.dtype))


# ---- Encoder


def _encoder(modality, encoder, columns, rows):
    plain = _encoded(encoder, modality.pad(columns, rows))
    x, mask, grid = plain
    if x.ndim != 3 or mask.shape != x.shape[:2]:
        yield f"its encoder gives x {x.shape} and a padding_mask {mask.shape}, not [B, T, d] and [B, T]"
        return
    if grid and grid[0] * grid[1] != x.shape[1]:
        yield f"its encoder gives the grid {grid} of {x.shape[1]} positions"
    if not np.isin(mask, (0, 1)).all():
        yield "its encoder's padding_mask must be 0 or 1"
    elif not mask.any(axis=1).all():
        yield "its encoder's padding_mask has a sample with no position"
    if not np.isfinite(x).all():
        yield "its encoder gives values that are not finite"
        return
    spare = _encoded(encoder, modality.pad(columns, rows + 2))
    if not np.isfinite(spare[0]).all():
        yield "its encoder gives values that are not finite for spare rows, which are zeros"
    if not _same(plain, spare, rows):
        yield "its encoder: spare rows change the others"
    sizes = [a.shape[1] for n, a in modality.pad(columns, rows).items() if a.ndim > 1]
    length = max(sizes, default=0) if modality.variable_length else 0
    if length and not _same(plain, _encoded(encoder, modality.pad(columns, rows, 2 * length + 8)), rows):
        yield "its encoder: padding leaks, a longer batch changes what real positions become"
    for i in range(rows):
        alone = _encoded(encoder, modality.pad(_row(columns, i), 1, length))
        if not _same((x[i : i + 1], mask[i : i + 1], grid), alone, 1):
            yield f"its encoder: rows are not independent, sample {i} alone becomes something else"
            return


def _encoded(encoder, arrays):
    x, mask, grid = encoder(arrays, training=False)
    return ops.convert_to_numpy(ops.cast(x, "float32")), ops.convert_to_numpy(mask), grid


def _row(columns, i):
    from t2t_multimodel.modalities.arrays import part_of

    return {name: part_of(column, slice(i, i + 1)) for name, column in columns.items()}


def _same(one, other, rows):
    """Whether two encodings agree in the first rows, wherever a position is real."""
    (x, mask), (y, other_mask) = one[:2], other[:2]
    most = min(x.shape[1], y.shape[1])
    if one[2] != other[2] or mask[:rows, most:].any() or other_mask[:rows, most:].any():
        return False
    x, y, mask, other_mask = x[:rows, :most], y[:rows, :most], mask[:rows, :most], other_mask[:rows, :most]
    real = mask.astype(bool)
    return np.array_equal(mask, other_mask) and np.allclose(x[real], y[real], **_CLOSE)


# ---- Head


def _head(head, targets, hparams):
    """A head that reads the encoder's result directly."""
    if head.autoregressive:
        return
    rows = len(next(iter(targets.values())))
    rng = np.random.default_rng(1)
    positions = 4 + np.arange(rows) % 3
    mask = (np.arange(6) < positions[:, None]).astype(np.float32)
    encoded = rng.standard_normal((rows, 6, hparams.hidden_size)).astype(np.float32) * mask[..., None]
    outputs = head(encoded, padding_mask=mask, grid=None)
    plain = ops.convert_to_numpy(outputs)
    if len(plain) != rows:
        yield f"its head gives outputs of {len(plain)} rows for {rows}"
        return
    wide, narrow = ((0, 0), (0, 3), (0, 0)), ((0, 0), (0, 3))
    longer = head(np.pad(encoded, wide), padding_mask=np.pad(mask, narrow), grid=None)
    if not np.allclose(ops.convert_to_numpy(longer), plain, **_CLOSE):
        yield "its head: padding leaks, a longer encoding changes the outputs"
    alone = head(encoded[1:2], padding_mask=mask[1:2], grid=None)
    if not np.allclose(ops.convert_to_numpy(alone), plain[1:2], **_CLOSE):
        yield "its head: rows are not independent"
    for grid in ((2, 3), (6, 1)):
        if not np.isfinite(ops.convert_to_numpy(head(encoded, padding_mask=np.ones_like(mask), grid=grid))).all():
            yield f"its head gives values that are not finite for a grid {grid}"
    if not np.isfinite(ops.convert_to_numpy(head(encoded, padding_mask=np.zeros_like(mask), grid=None))).all():
        yield "its head gives values that are not finite for rows that only fill up a shape"
    weights = (np.arange(rows) < rows - 1).astype(np.float32)
    total, found = head.loss(outputs, targets, weights)
    less = {name: array[:-1] for name, array in targets.items()}
    fewer, _ = head.loss(outputs[:-1], less, weights[:-1])
    total, fewer = float(total), float(fewer)
    if not np.isfinite(total):
        yield f"its head's loss is {total}"
    elif not np.isclose(total, fewer, **_CLOSE):
        yield "its head: a row of example weight 0 changes the loss"
    yield from _statistics({n: ops.convert_to_numpy(found[n]) for n in ("weights", *head.statistics)}, head)
    for name, array in head.predict(outputs).items():
        if len(ops.convert_to_numpy(array)) != rows:
            yield f"its head's predict gives {name} of other than {rows} rows"


def _statistics(found, head):
    shapes = {name: np.shape(found[name]) for name in ("weights", *head.statistics)}
    if len(set(shapes.values())) > 1:
        yield f"its head's statistics must have one shape, not {shapes}"
    elif not np.all([np.isfinite(array[found["weights"] > 0]).all() for array in found.values()]):
        yield "its head's statistics are not finite where a target counts"


# ---- The model


def _gradients(model, step, spec, batch, mine):
    """Compiled, as in training: a finite gradient must reach each of the variables `mine`."""
    gradients = dict(
        zip((v.path for v in model.trainable_variables_for(spec)), step.gradients(spec, batch), strict=True)
    )
    missing = [v.path for v in mine if v.path not in gradients]
    infinite = [path for path, gradient in gradients.items() if not np.isfinite(gradient).all()]
    idle = [v.path for v in mine if v.path in gradients and not np.any(gradients[v.path])]
    yield from few_of(missing, "{} is not trained", "such variables")
    yield from few_of(infinite, "the gradient of {} is not finite", "such gradients")
    yield from few_of(idle, "no gradient reaches {}", "such variables")
