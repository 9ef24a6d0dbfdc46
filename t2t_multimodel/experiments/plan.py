"""The plan of a suite: its kinds of runs, their problems and numbers of steps, with equal numbers of examples.

A joint run of N steps draws a problem with share w in about N · w of them. A run of some of the problems has N times
the sum of their shares as its steps, and the same relative weights. So every problem has the same number of examples in
all its runs (to about 1 %, since draws are random), and in the same order, since batches depend on seed and problem.
"""

import dataclasses
import hashlib
import json
import math

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.experiments import roles as parts
from t2t_multimodel.hyperparameters import in_proportion
from t2t_multimodel.mixture import MixtureSchedule

JOINT = "joint"
NO_EXPERTS, NO_ATTENTION, NO_CONVOLUTIONS = "no experts", "no attention", "no convolutions"
LEFT_OUT = {NO_EXPERTS: "use_experts", NO_ATTENTION: "use_attention", NO_CONVOLUTIONS: "use_convolutions"}
BLOCKS_OF = {  # hparams with numbers of blocks; without any, the model lacks the kind whatever its switch says
    NO_EXPERTS: ("encoder_experts", "decoder_experts"),
    NO_CONVOLUTIONS: ("encoder_blocks", "attention_blocks", "mixer_blocks", "decoder_blocks"),
}
GRID = "grid: "  # begins the structure of a point of a grid, see grid.py
ALONE = "changed for the single-task runs"  # a structure, see `Kind`
EVALUATIONS = 5, 20  # points of a learning curve, minimum and maximum
EVALUATION_BATCHES = 4  # of each problem, per point


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of run: everything that defines a run except its seed and length."""

    name: str  # "joint", "tiny_parse alone", …
    problems: tuple  # names
    changes: tuple = ()  # of hparams, (name, value) pairs
    probed: bool = False  # whether gradients and experts are measured
    structure: str = ""  # kinds with the same structure take the same time for the same draws
    suits_itself: bool = False  # whether its hparams may be selected, see choices.py
    tried: bool = False  # a try, which is in no table
    length: float = 1.0  # its updates, times those of the joint run: of runs that are compared at equal time
    draws: tuple = ()  # (problem, share) pairs, a mean over the run, where they are not those of the joint run

    @property
    def of_grid(self):
        """Whether it is one of many points, of which a learning curve would not be drawn."""
        return self.structure.startswith(GRID)


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """One run: a kind, a seed, a number of steps; `digest` is the name of its folder."""

    kind: Kind
    seed: int
    steps: int
    weights: tuple  # (problem, weight in the mixture) pairs
    hparams: dict  # changes to the set, as in --hparams
    digest: str

    @property
    def title(self):
        return self.kind.name if self.kind.tried else f"{self.kind.name}, seed {self.seed}"

    @property
    def mixture(self):
        """Its problems, in the form of --problem."""
        return ",".join(f"{problem}:{weight!r}" for problem, weight in self.weights)


def alone(problem):
    return f"{problem} alone"


def without(problem, problems=()):
    """The name of the run of all but one problem; with two `problems`, that of the other one alone."""
    others = [other for other in problems if other != problem]
    return alone(others[0]) if len(others) == 1 else f"without {problem}"


def _joint(problems, changes=(), name=JOINT, **values):
    return Kind(name, tuple(problems), tuple(changes), **values)


def _each_alone(problems, changes):
    return [Kind(alone(p), (p,), changes, structure=ALONE if changes else "", suits_itself=True) for p in problems]


def paper_tables(problems, roles, single_changes):
    """The runs of the paper's tables: joint, each alone, parsing with pictures, without experts, without attention."""
    parts.require(roles, "parsing", "images")
    pair = (roles["parsing"], roles["images"])
    return [
        _joint(problems, probed=True),
        *_each_alone(problems, single_changes),
        *([Kind(with_images(roles, problems), pair, suits_itself=True)] if len(problems) > 2 else []),
        *(_without_block(problems, name) for name in (NO_EXPERTS, NO_ATTENTION)),
    ]


def transfer(problems, roles, single_changes):
    """Transfer between problems: joint, each alone, and all but one for each problem."""
    left_out = [Kind(without(p), tuple(q for q in problems if q != p)) for p in problems] if len(problems) > 2 else []
    return [_joint(problems, probed=True), *_each_alone(problems, single_changes), *left_out]


def _without_block(problems, name):
    return _joint(problems, ((LEFT_OUT[name], False),), name, structure=name)


def blocks(problems, roles, single_changes):
    """The paper's table 4 for every problem: joint, and joint without each kind of block."""
    return [_joint(problems), *(_without_block(problems, name) for name in LEFT_OUT)]


def with_own_blocks(suite, kinds, hparams, writes=True):
    """The kinds but for those without a kind of block that the model of `hparams` lacks anyway, which would be compared
    with themselves.

    Args: writes: whether a problem has text targets; else the model has no mixer and no decoder, and so no attention.

    Raises:
      UserError: the suite's claims need such a block, or no kind of block is left.
    """
    lacking = [kind.name for kind in kinds if kind.name in LEFT_OUT and not _has_block(hparams, kind.name, writes)]
    left = [kind for kind in kinds if kind.name not in lacking]
    if lacking and (suite == "paper_tables" or len(left) < 2):
        raise UserError(
            f"suite {suite} compares with runs of {', '.join(lacking)}, and the model of the hparams has "
            f"{' and '.join(lacking)} itself; choose a set with these blocks, or put them back in --hparams "
            f"({', '.join(LEFT_OUT[name] for name in lacking)})"
        )
    return left


def _has_block(hparams, name, writes):
    if name == NO_ATTENTION:
        return hparams.use_attention and writes
    numbers = [getattr(hparams, each) for each in BLOCKS_OF[name] if writes or each.startswith("encoder_")]
    return getattr(hparams, LEFT_OUT[name]) and any(numbers)


def joint_alone(problems, roles, single_changes):
    """The joint run; a suite adds its variants, see grid.py and balancing.py."""
    return [_joint(problems)]


SUITES = {
    "paper_tables": paper_tables,
    "transfer": transfer,
    "blocks": blocks,
    "efficiency": joint_alone,
    "balancing": joint_alone,
}
AT_EQUAL_TIME = ("balancing",)  # their runs are as long as take the time of the joint run
OF_THE_MEAN = ("efficiency", "balancing")  # are about the mean of all problems
WEIGHED = ("blocks", "efficiency")  # weigh quality against arithmetic
WITH_SINGLES = ("paper_tables", "transfer")  # have runs of one problem, and compare the joint run with them


def with_images(roles, problems):
    """The name of the run of parsing and pictures; with two problems it is the joint run."""
    return f"{roles['parsing']} with {roles['images']}" if len(problems) > 2 else JOINT


def check_suite(name):
    """Raises `UserError`, with the nearest names, for an unknown suite."""
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES, "--suite")


def kinds_of(suite, problems, roles=None, single_changes=()):
    """The list of `Kind`s of a suite, but for variants; raises `UserError` if it is not possible for these problems."""
    check_suite(suite)
    if len(problems) < 2 and suite in (*WITH_SINGLES, "balancing"):
        raise UserError(
            f"suite {suite} is about problems that are trained together: it needs at least two problems, got "
            f"{', '.join(problems)}"
        )
    if single_changes and suite not in WITH_SINGLES:
        raise UserError(f"--single_hparams: suite {suite} has no single-task runs; change all runs with --hparams")
    return SUITES[suite](tuple(problems), roles or {}, tuple(single_changes))


def shares_of(mixture, hparams, sizes):
    """{problem: share of the draws} of the joint run; sums to 1.

    Raises:
      UserError: the shares of the mixture change during training.
    """
    if hparams.mixture not in ("fixed", "size"):
        raise UserError(
            f"an equal number of examples needs constant shares, not mixture={hparams.mixture}; use fixed or size"
        )
    return dict(zip(mixture.problem_names, MixtureSchedule(mixture, hparams, sizes).probabilities(0).tolist()))


def evaluations(kind, shares):
    """The number of points of a kind's learning curve.

    The joint run has enough points for one before the end of the shortest single-task run, to compare at equal time.
    """
    least, most = EVALUATIONS
    if kind.tried:  # scored once, at the end
        return 1
    if kind.of_grid:
        return 1
    with_singles = kind.name == JOINT and kind.probed
    return min(most, max(least, math.ceil(1.5 / min(shares.values())))) if with_singles else least


def steps_of(kind, shares, joint_steps):
    """The steps of a run of `kind`: joint steps times the shares of its problems; at least 1 (see `fewest_steps`)."""
    return max(1, round(joint_steps * sum(shares[p] for p in kind.problems) * kind.length))


def fewest_steps(shares):
    """The fewest steps of a joint run in which every problem is drawn once."""
    return math.ceil(1 / min(shares.values()) - 1e-9)


def changes_of(kind, shares, joint_steps, resolved):
    """{hparam: value} of a run of `kind` that differ from the set: the changes of the kind, and what is in steps.

    Warm-up and decay are the same fraction of every run; 5 % of the joint run could be most of a short one.
    """
    part = steps_of(kind, shares, joint_steps) / joint_steps
    return in_proportion(resolved, part, dict(kind.changes))


def run_plans(kinds, seeds, joint_steps, mixture, shares, hparams, identity):
    """All `RunPlan`s of a suite in queue order: seed by seed, the longest first.

    Args:
      hparams: `HParams` of the command line. identity: {name: plain value} of other things that determine a result
        (model, backend, data, version); part of the digest.
    """
    plans = []
    for seed in seeds:
        runs = []
        for kind in kinds:
            changes = changes_of(kind, shares, joint_steps, hparams)
            steps = steps_of(kind, shares, joint_steps)
            total = sum(shares[p] for p in kind.problems)
            weights = [(p, f"{shares[p] / total:.9f}") for p in kind.problems]
            full = dataclasses.asdict(dataclasses.replace(hparams, **changes, train_steps=steps))
            data = {p: identity["data"][p] for p in kind.problems}
            measured = [evaluations(kind, shares), EVALUATION_BATCHES, kind.probed]
            decides = {**identity, "data": data, "hparams": full, "seed": seed, "measured": measured, "shares": weights}
            mixed = tuple((p, dict(mixture.problems)[p]) for p in kind.problems)
            runs.append(RunPlan(kind, seed, steps, mixed, changes, digest(decides)))
        plans += sorted(runs, key=lambda run: -run.steps)
    return plans


def digest(values):
    """A name for plain values: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
