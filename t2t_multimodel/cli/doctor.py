"""Looks at the environment, and at a data folder and a run: a table of what is well, and of what to do.

Nothing is changed. Data is checked by names and sizes (t2t-datagen --verify compares all digests), checkpoints by their
digests. The status is 0 where nothing is wrong, else 2.

Examples:
  t2t-doctor
  t2t-doctor --data_dir=data --output_dir=run
"""

import os
import sys

from t2t_multimodel.cli import doctor_checks
from t2t_multimodel.cli.command import USER_ERROR, Command

command = Command("t2t-doctor", __doc__)

command.group("What to look at, besides the environment")
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR")
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR")
command.switch("only_wrong", "leave out what is well")

command.standard_flags()


def main(argv=None):
    return command.run(_look, argv)


def _look(flags):
    from t2t_multimodel.training.reporting import format_table

    findings = [*doctor_checks.versions(), *doctor_checks.machine(os.environ["KERAS_BACKEND"])]
    if flags.data_dir:
        findings += doctor_checks.data(flags.data_dir)
    if flags.output_dir:
        findings += doctor_checks.run(flags.output_dir)
    wrong = sum(finding.state == doctor_checks.WRONG for finding in findings)
    shown = [f for f in findings if not (flags.only_wrong and f.state == doctor_checks.WELL)]
    rows = [(f.part, f.what, f.state, " ".join(f.found.split()), f.todo) for f in shown]
    if rows:
        print(format_table([("part", "what", "state", "found", "what to do"), *rows]))
    print(f"{wrong} of {len(findings)} are wrong" if wrong else f"all is well: {len(findings)} were looked at")
    return USER_ERROR if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
