"""Collects what `t2t-report` shows of a trained model and its data: scores, examples, attention, use of experts."""

import dataclasses

import numpy as np

from t2t_multimodel.cli.baselines import baselines
from t2t_multimodel.decoding.explanation import attention_over_source
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.input.padding import columns_of, make_batch
from t2t_multimodel.report.page import Card

_LOAD_EXAMPLES = 64  # of each problem, for the use of experts
_MOST_REFERENCES = 3  # shown


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """For each problem: its scores, baselines, example cards and expert loads; and attention maps."""

    scores: dict
    trivial: dict
    cards: dict
    loads: dict
    maps: list


def collect(model, run, hparams, stores, split, eval_batches, decode, examples, attention, attention_rows=None):
    """Scores every problem of `stores`, chooses examples, and reads attention and expert loads: a `ModelReport`.

    Args:
      model, run, hparams: from `load_model`. stores: from `open_stores`. split: None: each problem's evaluation split.
      eval_batches, decode: arguments of `Evaluator.evaluate`.
      examples: number of cards of each problem. attention: number of attention maps of each problem that writes text
        with attention; examples on the cards come first.
      attention_rows: rows of the examples for attention maps instead, from `rows_of`.
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
        answered = [example for example in decoded if example["prediction"] is not None]
        chosen = choose(store.spec.targets, answered, examples)
        if chosen:
            stored = store.split(its_split).examples([e["row"] for e in chosen])
            found.cards[name] = [_card(store, e, s) for e, s in zip(chosen, stored)]
        load = expert_load(model, hparams, store, its_split, _LOAD_EXAMPLES)
        if load:
            found.loads[name] = load
        if writes_by_attention(hparams, store):
            rows = (attention_rows or {}).get(name, [])
            if attention_rows is None:
                shown = choose(store.spec.targets, answered, max(examples, attention)) or decoded
                rows = [e["row"] for e in shown[:attention]]
            found.maps.extend(_map(model, store, s) for s in store.split(its_split).examples(rows))
        store.close()
    return found


def writes_by_attention(hparams, store):
    """Whether there are attention maps of a problem: of class labels there are none."""
    return hparams.use_attention and store.spec.targets.uses_vocabulary


def rows_of(keys, hparams, stores, split):
    """The rows of the examples with these `keys`: {problem: row numbers in the split, in the order of `keys`}.

    Raises:
      UserError: no problem with attention maps has an example with this key; the message has the nearest keys.
    """
    writing = {name: store for name, store in stores.items() if writes_by_attention(hparams, store)}
    if not writing:
        raise UserError("--attention_keys: no problem of this report writes text by attention; leave the flag out")
    known = {name: store.split(split or store.evaluation_split).keys() for name, store in writing.items()}
    rows = {name: {key: row for row, key in enumerate(of_problem)} for name, of_problem in known.items()}
    for key in keys:
        if not any(key in of_problem for of_problem in rows.values()):
            hint = f"--attention_keys: in the scored split of {' or '.join(writing)}"
            raise unknown_name("key of an example", key, set().union(*rows.values()), hint)
    return {name: [of_problem[key] for key in keys if key in of_problem] for name, of_problem in rows.items()}


def choose(modality, decoded, count):
    """`count` of the decoded examples: half of them right, half wrong, where there are; drawn the same each time."""
    order = np.random.default_rng(0).permutation(len(decoded)).tolist()
    sides = {True: [], False: []}
    for i in order:
        sides[_is_right(modality, decoded[i])].append(decoded[i])
    wrong = sides[False][: max(count // 2, count - len(sides[True]))]
    right = sides[True][: count - len(wrong)]
    return [*right, *wrong]


def _is_right(modality, example):
    return modality.is_right(example["prediction"], example["references"])


def _card(store, example, stored):
    inputs, targets = store.spec.inputs, store.spec.targets
    right = _is_right(targets, example)
    fields, media = [], dict([inputs.media(stored["inputs"]) or ("text", None)])
    if "text" in media or inputs.members:  # what is shown of several inputs is one of them
        fields.append(("input", example["input"]))
    prediction, ranked = example["prediction"], targets.ranked
    said = ", ".join(prediction[:3]) if ranked else targets.to_line(prediction)
    fields.append(("model, likeliest first" if ranked else "model", said or "(nothing)"))
    references = [targets.to_line(targets.best(targets.as_answer(each))) for each in example["references"]]
    shown = [*references[:_MOST_REFERENCES]]
    if not ranked and right and said not in shown:
        shown[-1] = said
    more = f" (and {len(references) - len(shown)} more)" if len(references) > len(shown) else ""
    fields.append((f"right{more}", "\n".join(shown)))
    verdict = "right" if right else ("wrong" if ranked else "differs")
    title = f"picture {example['key']}: {references[0]}"
    mood = "good" if right else "bad"
    return Card(example["key"], fields, media.get("picture"), media.get("sound"), title, mood, verdict)


def _map(model, store, stored):
    """The attention of one example, for `run_page.add_attention`."""
    spec, vocabulary = store.spec, store.vocabulary()
    targets = np.asarray(stored["targets"])
    batch = make_batch(spec, columns_of([stored["inputs"]]), columns_of([targets]))
    seen = model.capture(batch, spec)
    one = {
        "problem": store.name,
        "title": f"{stored['key']}: {vocabulary.decode(targets.tolist())}",
        "weights": attention_over_source(seen),
        "pieces": spec.targets.attention_axis(targets, None, vocabulary)["positions"],
    }
    return one | spec.inputs.attention_axis(stored["inputs"], seen["grid"], vocabulary)
