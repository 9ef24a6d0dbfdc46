"""A suite: its opened problems, the timing of its kinds of runs, its plan and its jobs."""

import dataclasses
import json
from pathlib import Path

from t2t_multimodel import metrics
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import balancing, choices, estimate, plan, queue, results, roles, stored
from t2t_multimodel.experiments import grid as grids
from t2t_multimodel.experiments.quality import in_points
from t2t_multimodel.files import write_file
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training import arithmetic

TIMED_STEPS = 1000  # train_steps of a timed run, for its learning rate schedule


@dataclasses.dataclass(frozen=True)
class Suite:
    """The resolved request of the command line."""

    name: str
    output_dir: Path
    mixture: object  # Mixture
    resolved: object  # Resolved hparams; train_steps is ignored
    flags: tuple  # of t2t-trainer, common to all runs: model, hparams set, data_dir, …
    settings: str  # --hparams
    stores: dict  # problem → ExampleStore
    roles: dict
    kinds: list
    shares: dict
    seeds: int
    identity: dict  # what determines a result besides hparams and seed
    places: list  # of the queue
    grid: dict = dataclasses.field(default_factory=dict)  # {name of a kind: {hparam: value}}, see grid.py
    grid_values: dict = dataclasses.field(default_factory=dict)  # {hparam: its values, in the order of --grid}
    tries: tuple = ()  # `Try`s, see choices.py
    found: dict = dataclasses.field(default_factory=dict)  # the outcome of the tries
    collected: frozenset = frozenset()  # digests of runs whose results are in the suite's files

    @property
    def all_kinds(self):
        """The kinds of runs, including the tries."""
        return [*(one.tried for one in self.tries), *self.kinds]

    @property
    def number_of_runs(self):
        return len(self.tries) + len(self.kinds) * self.seeds

    @property
    def metrics(self):
        """{problem: names of its metrics that can be compared by example, the headline one first}."""
        return {name: list(metrics.comparable(store.metrics)) for name, store in self.stores.items()}

    @property
    def sizes(self):
        """{problem: (dev examples evaluated at a point, test examples)}."""
        most = plan.EVALUATION_BATCHES * self.resolved.hparams.batch_examples
        sizes = {}
        for name, store in self.stores.items():
            splits = store.manifest["splits"]
            dev = splits[store.dev_split]["examples"]
            sizes[name] = (min(most, dev), splits[store.evaluation_split]["examples"])
        return sizes

    # ---- Timing

    def timing_jobs(self):
        """{structure: the `Job` that times it}; cached by everything that determines the speed."""
        jobs = {}
        for kind in self.kinds:
            if kind.structure in jobs or (kind.problems != tuple(self.stores) and kind.structure != plan.ALONE):
                continue
            hparams = self._hparams_of(kind.changes, TIMED_STEPS)
            decides = {**self.identity, "hparams": hparams, "places": [len(cores or ()) for _, cores in self.places]}
            folder = self.output_dir / "timings" / plan.digest(decides)
            trainer = self._trainer_flags(
                self._mixture(tuple(self.stores)), dict(kind.changes), TIMED_STEPS, 0, folder / "run"
            )
            measure = "speed of updates" if kind.structure else "speed"
            jobs[kind.structure] = queue.Job(
                f"timing {kind.structure or 'the model'}",
                folder,
                folder / "timings.json",
                (*trainer, "--schedule=train"),
                measure,
                0,
            )
        return jobs

    def timings(self):
        """{structure: measured times}, or None if some are not measured."""
        jobs = self.timing_jobs()
        if not all(job.done for job in jobs.values()):
            return None
        advice = "remove it: the same command measures again"
        return {structure: stored.opened(job.result, stored.TIMINGS, advice) for structure, job in jobs.items()}

    def at_equal_time(self, timings):
        """The suite with runs that take as long as the joint run, where it compares runs at equal time."""
        if self.name not in plan.AT_EQUAL_TIME:
            return self
        seconds = [estimate.update_seconds(kind, self.shares, timings) for kind in self.kinds]
        lengths = [round(seconds[0] / each, 3) for each in seconds]  # the first is the joint run
        return dataclasses.replace(
            self, kinds=[dataclasses.replace(kind, length=length) for kind, length in zip(self.kinds, lengths)]
        )

    # ---- The plan

    def steps_for(self, budget, timings):
        """The steps of the joint run that fit into `budget` seconds, which include the timing itself."""
        spent = queue.makespan([t["seconds"]["all"] for t in timings.values()], len(self.places))
        return estimate.steps_for(
            budget, self.all_kinds, self.seeds, self.shares, timings, self.sizes, len(self.places), spent
        )

    def seconds(self, joint_steps, timings):
        """(expected seconds of the whole suite, {kind's name: expected seconds of a run})."""
        return estimate.suite_seconds(
            self.all_kinds, self.seeds, joint_steps, self.shares, timings, self.sizes, len(self.places)
        )

    def steps_of(self, earlier, budget):
        """The steps of the joint run in an earlier plan that differs only in seeds or parallel runs, so that its
        finished runs are reused; None without such a plan.
        """
        return earlier["joint_steps"] if budget and self._continues(earlier, budget) else None

    def as_long_as(self, earlier, budget, joint_steps):
        """The suite with runs as long as in such an earlier plan, where it compares runs at equal time: speed measured
        beside another number of runs would give other lengths, and so other runs.
        """
        if self.name not in plan.AT_EQUAL_TIME or not self._continues(earlier, budget):
            return self
        if earlier["joint_steps"] != joint_steps:
            return self
        lengths = {run["kind"]: run["steps"] / joint_steps for run in earlier["runs"]}
        kinds = [dataclasses.replace(kind, length=lengths.get(kind.name, kind.length)) for kind in self.kinds]
        return dataclasses.replace(self, kinds=kinds)

    def _continues(self, earlier, budget):
        """Whether an earlier plan differs only in seeds, parallel runs or, if they are given, steps."""
        mine = {
            "suite": self.name,
            "budget_seconds": budget,
            "flags": list(self.flags),
            "hparams": self.settings,
            "shares": self.shares,
            "identity": self._public_identity,
        }
        return bool(earlier) and all(earlier.get(name) == value for name, value in mine.items())

    @property
    def _public_identity(self):
        return {name: value for name, value in self.identity.items() if name != "data"}

    def runs(self, joint_steps, seconds):
        """Every `RunPlan` except tries, in queue order, and the `Job` of each.

        Args:
          seconds: {name of the kind: expected seconds}.
        """
        return self._planned(self.kinds, range(self.seeds), joint_steps, seconds)

    def tried(self, joint_steps, seconds):
        """The same for the tries."""
        return self._planned([one.tried for one in self.tries], [choices.SEED], joint_steps, seconds)

    def settled(self, runs, jobs):
        """The suite with the best changes for each kind, if all tries are done; else the unchanged suite.

        Args:
          runs, jobs: from `tried`.
        """
        if not jobs or not all(job.done for job in jobs):
            return self
        jobs_of = {run.kind.name: job for run, job in zip(runs, jobs)}
        found = choices.outcome(self.tries, [jobs_of[one.tried.name] for one in self.tries], self.metrics)
        return dataclasses.replace(self, kinds=choices.chosen(self.kinds, self.tries, found), found=found)

    def settled_before(self, earlier, joint_steps):
        """The suite with the choices of an earlier plan, and without tries, if that plan tried the same for the same
        runs; else the unchanged suite. So a copy of a suite's files is enough to go on.
        """
        found, tried = (earlier or {}).get("choices") or {}, {}
        for one in self.tries:
            tried.setdefault(one.kind.name, []).append(one.words)
        if not found or {kind: list(of["tries"]) for kind, of in found.items()} != tried:
            return self
        chosen = choices.chosen(self.kinds, self.tries, found)
        after = dataclasses.replace(self, kinds=chosen, tries=(), found=found)
        digests = {(run.kind.name, run.seed): run.digest for run in after.runs(joint_steps, {})[0]}
        theirs = {(run["kind"], run["seed"]): run["digest"] for run in earlier["runs"]}
        return after if all(digests[run] == theirs[run] for run in digests.keys() & theirs.keys()) else self

    def _planned(self, kinds, seeds, joint_steps, seconds):
        runs = plan.run_plans(
            kinds, seeds, joint_steps, self.mixture, self.shares, self.resolved.hparams, self.identity
        )
        jobs = {}  # tries with the same effective hparams are the same run
        return runs, [jobs.setdefault(r.digest, self._job(r, seconds.get(r.kind.name, 0.0))) for r in runs]

    def store_plan(self, runs, joint_steps, budget):
        """Writes `plan.json`: what the report needs besides the results."""
        values = {
            "suite": self.name,
            "problems": list(self.stores),
            "roles": self.roles,
            "joint_steps": joint_steps,
            "seeds": self.seeds,
            "shares": self.shares,
            "budget_seconds": budget,
            "flags": list(self.flags),
            "hparams": self.settings,
            "workers": len(self.places),
            "threads": [len(c) if c else 0 for _, c in self.places],
            "metrics": self.metrics,
            "choices": self.found,
            **({"grid": self.grid, "grid_values": self.grid_values} if self.grid else {}),
            **({"arithmetic": counted} if (counted := self._arithmetic()) else {}),
            "train_examples": {n: s.manifest["splits"]["train"]["examples"] for n, s in self.stores.items()},
            "identity": self._public_identity,
            "runs": [
                {
                    "kind": run.kind.name,
                    "problems": list(run.kind.problems),
                    "seed": run.seed,
                    "steps": run.steps,
                    "digest": run.digest,
                    "changes": run.hparams,
                }
                for run in runs
            ],
        }
        write_file(self.output_dir / stored.PLAN_FILE, json.dumps(stored.sealed(values), indent=1) + "\n")
        return values

    def _arithmetic(self):
        """{kind: {problem: operations of an update if all its draws are of that problem}}, for suites that weigh
        quality against it; without problems whose arithmetic is not counted.
        """
        if self.name not in plan.WEIGHED:
            return {}
        counted = {}
        for kind in self.kinds:
            hparams = dataclasses.replace(self.resolved.hparams, **dict(kind.changes))
            draws = hparams.gradient_accumulation_steps
            counted[kind.name] = {
                name: draws * arithmetic.of_update(hparams, store.spec, store.split("train"))
                for name, store in self.stores.items()
                if arithmetic.is_counted(store.spec)
            }
        return counted

    def _job(self, run, seconds):
        folder = self.output_dir / "runs" / run.digest
        points = plan.evaluations(run.kind, self.shares)
        every = -(-run.steps // points)
        trainer = self._trainer_flags(run.mixture, run.hparams, run.steps, run.seed, folder)
        save = max(1, run.steps // 4) if run.kind.tried or run.kind.of_grid else 2 * every
        trainer += (
            f"--eval_interval={every}",
            f"--eval_batches={plan.EVALUATION_BATCHES}",
            f"--save_interval={save}",
            f"--log_interval={max(1, every // 5)}",
            f"--keep_checkpoints={points if run.kind.probed else 1}",
        )
        measure = "dev scores" if run.kind.tried else "scores and probes" if run.kind.probed else "scores"
        collected = run.digest in self.collected
        return queue.Job(run.title, folder, folder / "result.json", trainer, measure, run.steps, seconds, collected)

    def _trainer_flags(self, mixture, changes, steps, seed, folder):
        settings = ",".join(filter(None, [self.settings, *(f"{name}={value!r}" for name, value in changes.items())]))
        return (
            f"--problem={mixture}",
            *self.flags,
            f"--hparams={settings}",
            f"--train_steps={steps}",
            f"--seed={seed}",
            f"--output_dir={folder}",
        )

    def _mixture(self, problems):
        weights = dict(self.mixture.problems)
        return ",".join(f"{problem}:{weights[problem]!r}" for problem in problems)

    def _hparams_of(self, changes, steps):
        return dataclasses.asdict(dataclasses.replace(self.resolved.hparams, **dict(changes), train_steps=steps))


def open_suite(
    name,
    mixture,
    resolved,
    *,
    data_dir,
    output_dir,
    flags,
    settings,
    seeds,
    places,
    identity,
    named_roles="",
    single_changes=(),
    single_choices=({},),
    grid="",
):
    """The `Suite`; everything is checked before anything starts.

    Raises:
      UserError: an unknown suite, a problem without data, a role without a problem, metrics that can't be
        compared, blocks to leave out that the model lacks, a grid with impossible values.
    """
    plan.check_suite(name)
    stores = {problem: ExampleStore(data_dir, problem) for problem in mixture.problem_names}
    for problem, store in stores.items():
        store.vocabulary()
        try:
            compared = metrics.comparable(store.metrics)
        except UserError as error:
            raise UserError(f"{problem}: {error}") from None
        if not compared:
            raise UserError(
                f"{problem}: none of its metrics ({', '.join(store.metrics)}) is a sum over examples, and a suite "
                "compares runs by example"
            )
        for split in ("train", store.evaluation_split):
            if not store.manifest["splits"].get(split, {}).get("examples"):
                raise UserError(f"{problem} has no {split} examples; a suite trains and scores every problem")
    _check_mean(name, stores)
    hparams = resolved.hparams
    played = roles.find_roles(stores, roles.parse_roles(named_roles, stores))
    writes = any(store.spec.targets.uses_vocabulary for store in stores.values())
    kinds = plan.kinds_of(name, mixture.problem_names, played, single_changes)
    kinds = plan.with_own_blocks(name, kinds, hparams, writes)
    sizes, points, values = {}, {}, {}
    if hparams.mixture == "size" or name == "balancing":
        for problem, store in stores.items():
            split = store.split("train")
            sizes[problem] = len(split) - BatchPlan(split, store.spec, hparams, 0).left_out
    shares = plan.shares_of(mixture, hparams, sizes)
    if name == "efficiency":
        values = grids.parse(grid)
        points, more = grids.kinds(values, hparams, kinds[0], writes)
        kinds += more
    elif name == "balancing":
        kinds += balancing.kinds(kinds[0], mixture, hparams, sizes)
    identity = {**identity, "data": {problem: _digest(store) for problem, store in stores.items()}}
    return Suite(
        name,
        Path(output_dir),
        mixture,
        resolved,
        tuple(flags),
        settings,
        stores,
        played,
        kinds,
        shares,
        seeds,
        identity,
        places,
        points,
        values,
        tuple(choices.tries(kinds, single_choices)),
        collected=results.collected(output_dir),
    )


def _check_mean(suite, stores):
    """Raises `UserError` for a suite of the mean of all problems, where no headline metric can be averaged."""
    named = {problem: list(metrics.comparable(store.metrics)) for problem, store in stores.items()}
    if suite in plan.OF_THE_MEAN and not in_points(named):
        each = ", ".join(f"{problem} {names[0]}" for problem, names in named.items())
        raise UserError(
            f"suite {suite} compares the mean of the problems' first metrics, and these have units of their own "
            f"({each}); add a problem whose first metric is a rate or a score, or use --suite=blocks"
        )


def _digest(store):
    """The digest of a store's training data and of its scoring settings."""
    scoring = ("metrics", "evaluation_split", "target_grammar", "decode_hparams")
    return plan.digest({"data": store.digest, **{name: store.manifest.get(name) for name in scoring}})
