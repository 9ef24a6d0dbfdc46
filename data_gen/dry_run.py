"""The plan of data generation for `--dry_run`: estimates sizes and times from the first samples; writes nothing."""

import itertools
import time

from t2t_multimodel.data_gen import examples
from t2t_multimodel.data_gen.fingerprint import fingerprint
from t2t_multimodel.data_gen.progress import count_samples
from t2t_multimodel.data_gen.store import VOCABULARY_FOLDER, uses_text, why_not_current
from t2t_multimodel.errors import UserError

_MOST_SAMPLES = 200  # of a split, that are prepared
_COUNTING_SECONDS = 3.0  # spent on counting the samples of a split


def describe_plan(problems, data_dir, vocabulary, vocabulary_size, settings, log):
    """Logs, line by line, what `generate` would do with the same arguments."""
    log(f"dry run: nothing is written to {data_dir}")
    made = 0
    for problem in problems:
        own_vocabulary = vocabulary if uses_text(problem) else None
        why = why_not_current(data_dir / problem.name, fingerprint(problem, own_vocabulary, settings))
        if why == []:
            log(f"{problem.name}: complete and unchanged, nothing to do")
            continue
        made += 1
        if why:
            log(f"{problem.name}: must be generated again with --overwrite: {'; '.join(why[:5])}")
        for split in problem.splits:
            log(f"{problem.name} {split}: {_estimate(problem, split, own_vocabulary)}")
    if made and any(uses_text(problem) for problem in problems):
        if vocabulary is None:
            log(f"vocabulary: would be trained on the text of these problems, {vocabulary_size:,} ids")
        else:
            log(f"vocabulary: the {vocabulary.size:,} ids of {data_dir / VOCABULARY_FOLDER} are reused")


def _estimate(problem, split, vocabulary):
    samples = iter(problem.samples(split))
    first = list(itertools.islice(samples, _MOST_SAMPLES))
    if not first:
        return "no examples, which is an error"
    start = time.monotonic()
    sizes, bad = [], []
    for number, raw in enumerate(first):
        try:
            if "bad" in raw:
                raise ValueError(raw["bad"])
            sizes.append(_size(problem, problem.prepare(raw), vocabulary))
        except (ValueError, OSError, UserError) as error:
            bad.append(f"{raw.get('key', f'{split}-{number}')}: {error}")
    seconds_each = (time.monotonic() - start) / len(first)
    more, counted_all = count_samples(samples, _COUNTING_SECONDS)
    count = len(first) + more
    text = f"{'' if counted_all else 'more than '}{count:,} examples"
    if sizes:
        megabytes = count * sum(sizes) / len(sizes) / 1e6
        seconds = count * seconds_each
        text += f", about {megabytes:,.1f} MB, {f'{seconds:,.0f} s' if seconds >= 1 else 'under 1 s'} on one processor"
    if bad:
        text += f"; {len(bad)} of the first {len(first)} are bad records, the first is {bad[0]}"
    return text


def _size(problem, sample, vocabulary):
    """The estimated size of a prepared sample in bytes."""
    size = 80  # keys, names and checksums
    for side in examples.SIDES:
        feature, value = getattr(problem, side), sample.get(side)
        feature.check(value)
        size += feature.stored_bytes(value, vocabulary)
    return size + sum(len(reference.encode()) for reference in sample.get("references", ()))
