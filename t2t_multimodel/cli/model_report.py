"""What `t2t-report` collects of a trained model with data: scores, chosen examples, attention, the use of experts."""

import dataclasses

import numpy as np

from t2t_multimodel.cli.baselines import baselines
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.input.padding import make_batch
from t2t_multimodel.report.page import Card

_LOAD_EXAMPLES = 64  # of each problem, whose use of experts is counted
_MOST_REFERENCES = 3  # shown
_END = "⟨end⟩"


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """By problem: scores and baselines of `evaluate_run` and `baselines`, cards, loads; and attention maps."""

    scores: dict
    trivial: dict
    cards: dict
    loads: dict
    maps: list


def collect(model, run, hparams, stores, split, eval_batches, decode, examples, attention, attention_rows=None):
    """Scores every problem of `stores`, chooses examples and looks inside.

    Args:
      model, run, hparams: of `load_model`. stores: of `open_stores`. split: None: each problem's own.
      eval_batches, decode: as `Evaluator.evaluate` takes them.
      examples: cards of each problem. attention: maps of so many examples, of problems that write text by attention;
        those on the cards first.
      attention_rows: maps of these examples instead, as `rows_of` gives them.
    """
    from t2t_multimodel.training.evaluation import Evaluator
    from t2t_multimodel.training.expert_usage import expert_load

    evaluator = Evaluator(model, run, hparams)
    found = ModelReport({}, {}, {}, {}, [])
    for name, store in stores.items():
        print(f"{name}: scoring", flush=True)
        its_split, decoded = split or store.evaluation_split, []
        found.scores[name] = evaluator.evaluate(store, its_split, eval_batches, decode, decoded)
        found.trivial[name] = baselines(store.data_dir, name, its_split)
        chosen = choose(decoded, examples)
        if chosen:
            stored = store.split(its_split).examples([e["row"] for e in chosen])
            found.cards[name] = [_card(store, e, s) for e, s in zip(chosen, stored)]
        load = expert_load(model, hparams, store, its_split, _LOAD_EXAMPLES)
        if load:
            found.loads[name] = load
        if writes_by_attention(hparams, store):
            rows = (attention_rows or {}).get(name, [])
            if attention_rows is None:
                rows = [e["row"] for e in choose(decoded, max(examples, attention))[:attention]]
            found.maps.extend(_map(model, store, s) for s in store.split(its_split).examples(rows))
        store.close()
    return found


def writes_by_attention(hparams, store):
    """Whether there are attention maps of a problem: of class labels there are none."""
    return hparams.use_attention and store.spec.targets.modality == "text"


def rows_of(keys, hparams, stores, split):
    """Where the examples called `keys` are: {problem: row numbers in the split, in the order of `keys`}.

    Raises:
      UserError: no problem that has attention maps has an example of that key; the near ones.
    """
    writing = {name: store for name, store in stores.items() if writes_by_attention(hparams, store)}
    if not writing:
        raise UserError("--attention_keys: no problem of this report writes text by attention; leave the flag out")
    known = {name: store.split(split or store.evaluation_split).keys() for name, store in writing.items()}
    rows = {name: {key: row for row, key in enumerate(of_problem)} for name, of_problem in known.items()}
    for key in keys:
        if not any(key in of_problem for of_problem in rows.values()):
            hint = f"--attention_keys: of the split that is scored of {' or '.join(writing)}"
            raise unknown_name("key of an example", key, set().union(*rows.values()), hint)
    return {name: [of_problem[key] for key in keys if key in of_problem] for name, of_problem in rows.items()}


def choose(decoded, count):
    """`count` of the decoded examples: half of them right, half wrong, where there are; drawn the same each time."""
    order = np.random.default_rng(0).permutation(len(decoded)).tolist()
    sides = {True: [], False: []}
    for i in order:
        sides[is_right(decoded[i])].append(decoded[i])
    wrong = sides[False][: max(count // 2, count - len(sides[True]))]
    right = sides[True][: count - len(wrong)]
    return [*right, *wrong]


def is_right(example):
    """Whether the prediction, or the likeliest class, equals a reference."""
    prediction = example["prediction"]
    best = prediction if isinstance(prediction, str) else next(iter(prediction), "")
    return best in example["references"]


def _card(store, example, stored):
    spec, right = store.spec, is_right(example)
    label = spec.targets.modality == "label"
    fields, picture, sound = [], None, None
    if spec.inputs.modality == "text":
        fields.append(("input", example["input"]))
    elif spec.inputs.modality == "image":
        picture = stored["inputs"]
    else:
        sound = (stored["inputs"], spec.inputs.rate)
    prediction = ", ".join(example["prediction"][:3]) if label else example["prediction"]
    fields.append(("model, likeliest first" if label else "model", prediction or "(nothing)"))
    references = example["references"]
    shown = [*references[:_MOST_REFERENCES]]
    if not label and right and example["prediction"] not in shown:
        shown[-1] = example["prediction"]
    more = f" (and {len(references) - len(shown)} more)" if len(references) > len(shown) else ""
    fields.append((f"right{more}", "\n".join(shown)))
    verdict = "right" if right else ("wrong" if label else "differs")
    return Card(
        example["key"],
        fields,
        picture,
        sound,
        f"picture {example['key']}: {references[0]}",
        "good" if right else "bad",
        verdict,
    )


def _map(model, store, stored):
    """One example's attention, as `run_page.add_attention` takes it."""
    spec, vocabulary = store.spec, store.vocabulary()
    targets = np.asarray(stored["targets"])
    seen = model.observe(make_batch(spec, [np.asarray(stored["inputs"])], [targets]), spec)
    real = int(seen["source_real"][0].sum())
    over_source = {name: array[0] for name, array in seen["attention"].items() if "self_attention" not in name}
    one = {
        "problem": store.name,
        "title": f"{stored['key']}: {vocabulary.decode(targets.tolist())}",
        "weights": {name: array.mean(axis=0)[:, :real] for name, array in over_source.items()},
        "pieces": [*_pieces(vocabulary, targets), _END],
    }
    if spec.inputs.modality == "text":
        return one | {"positions": [*_pieces(vocabulary, stored["inputs"]), _END]}
    if spec.inputs.modality == "image":
        return one | {"picture": stored["inputs"], "grid": seen["grid"]}
    return one | {"sound": (stored["inputs"], spec.inputs.rate)}


def _pieces(vocabulary, ids):
    """Pieces as people read them: the sign for a space in front is left out where something follows."""
    return [piece.replace("▁", " ").strip() or "␣" for piece in vocabulary.pieces(np.asarray(ids).tolist())]
