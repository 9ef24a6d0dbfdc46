"""The base of all commands: flags in groups, help, one-line errors, exit statuses.

A command module declares its flags and passes its function to `Command.run`:

    command = Command("t2t-datagen", __doc__)
    command.group("What to make")
    command.text("problem", None, "names of problems or mixtures", required=True)
    command.standard_flags()

    def main(argv=None):
        return command.run(_generate, argv)

Exit statuses: 0 success, 2 an error that the user can correct, 130 interrupted; a trainer that was told to stop ends
with 75, "resume me". Any other exception is a bug and keeps its traceback. A standard output that nothing reads any
more changes no status.
"""

import os
import shlex
import shutil
import sys
import textwrap

from absl import flags as absl_flags

from t2t_multimodel import startup
from t2t_multimodel.cli import environment_errors, interrupts, terminal
from t2t_multimodel.errors import UserError, nearest
from t2t_multimodel.files import user_path

USER_ERROR, INTERRUPTED = 2, interrupts.INTERRUPTED
PATHS = ("DIR", "FILE")  # metavars of the flags that are paths: "~" in them is the user's home folder

# Other names that a flag goes by, in every command that has it: Tensor2Tensor's, and those of version 0.1.
_ALIASES = {
    "eval_batches": ("eval_steps",),
    "eval_interval": ("eval_every", "local_eval_frequency"),
    "problem": ("problems",),
    "log_interval": ("log_steps", "log_step_count_steps"),
    "save_interval": ("save_steps", "save_checkpoints_steps"),
}
# Flags of Tensor2Tensor that are no aliases, since their values differ or they do not apply; and their names here.
_OLD_FLAGS = {
    "eval_early_stopping_metric": "early_stopping_metric",
    "eval_early_stopping_steps": "early_stopping_patience",
    "eval_use_test_set": "split",
    "keep_checkpoint_max": "keep_checkpoints",
    "num_concurrent_processes": "workers",
    "only_list": "dry_run",
    "random_seed": "seed",
}
# The help of --decode_hparams, which several commands have.
DECODE_HPARAMS = (
    'how to decode, e.g. "beam_size=4,alpha=0.6", or "temperature=0.8,top_k=50,top_p=0.95,seed=1" to sample; default: '
    'as the problem declares. "constrained=0": without the '
    'problem\'s grammar, so trees may be malformed or have too few or too many leaves. "quantize=int8": matrices in a '
    "quarter of the memory"
)
# The help of --workers, which several commands have.
WORKERS = (
    "processes that decode beside each other, each on one processor; default: one, and of more than 10,000 {} one for "
    "each processor, at most 8"
)


class Command:
    """One command: its name, documentation (description, then "Examples:") and flags."""

    def __init__(self, name, documentation):
        self.name = name
        description, _, examples = (documentation or "").partition("\nExamples:\n")
        self.description = description.strip()
        self.examples = textwrap.dedent(examples).strip("\n")
        self._values = absl_flags.FlagValues()  # not absl's global one: libraries put their own flags there
        self._values.set_gnu_getopt(True)  # flags may follow positional arguments, which are an error with their name
        self._groups = {}
        self._metavars, self._meanings = {}, {}
        self._required, self._holding_flags = [], []
        self._group = None
        self._positional = ""  # what the arguments that are no flags are called in the help; "": there are none
        self.arguments = []  # of the command line that was parsed

    # ---- Declaring flags

    def positional(self, name, meaning):
        """The command takes arguments that are no flags, at least one; `arguments` has them."""
        self._positional = f"{name}…  {meaning}"

    def group(self, title):
        """Starts the group `title` of the help; the following flags belong to it."""
        self._group = self._groups.setdefault(title, [])

    def text(self, name, default, meaning, *, metavar="TEXT", required=False, holds_flags=False):
        """A flag with a string value, which is a path if `metavar` is one of `PATHS`.

        With `holds_flags` the value is flags of another program: "--its_flag=value".
        """
        absl_flags.DEFINE_string(name, default, meaning, flag_values=self._values)
        self._declared(name, meaning, metavar, required)
        if holds_flags:
            self._holding_flags.append(name)

    def mixture(self):
        """The flag --problem of commands that train on several."""
        meaning = "problems or mixtures, with weights where wanted: a,b:2"
        self.text("problem", None, meaning, metavar="NAMES", required=True)

    def several(self, name, meaning, *, metavar="TEXT"):
        """A flag that can be repeated; its value is a list."""
        absl_flags.DEFINE_multi_string(name, [], meaning, flag_values=self._values)
        self._declared(name, meaning, metavar)

    def integer(self, name, default, meaning, *, at_least=None, at_most=None, metavar="N"):
        bounds = {"lower_bound": at_least, "upper_bound": at_most}
        absl_flags.DEFINE_integer(name, default, meaning, **bounds, flag_values=self._values)
        self._declared(name, meaning, metavar)

    def switch(self, name, meaning):
        """A boolean flag, off by default."""
        absl_flags.DEFINE_bool(name, False, meaning, flag_values=self._values)
        self._declared(name, meaning, None)

    def choice(self, name, default, choices, meaning):
        absl_flags.DEFINE_enum(name, default, list(choices), meaning, flag_values=self._values)
        self._declared(name, meaning, "|".join(choices))

    def standard_flags(self, *, backend=True):
        """The flags of every command; declared last, so that the help shows the command's own flags first."""
        self.group("Everywhere")
        meaning = "folder of Python files that register more problems, hparams sets, models (the code is executed)"
        self.text("t2t_usr_dir", None, meaning, metavar="DIR")
        if backend:
            meaning = "backend of Keras; default: $KERAS_BACKEND, else tensorflow"
            self.choice("backend", None, startup.BACKENDS, meaning)
        self.switch("registry_help", "list everything registered: problems, models, hparams sets, metrics, …; and exit")
        self.switch("help", "show this text, and exit")

    # ---- Running

    def run(self, function, argv=None):
        """Parses `argv` (default: the process's), calls `function(flags)` and returns the exit status.

        `function` gets an object with one attribute per flag; it returns None or an exit status, and raises `UserError`
        for an error that the user can correct.
        """
        if argv is None:  # this process is the command
            startup.this_process_is_a_command()
            return interrupts.status_of(lambda: self.guarded(lambda: self._run(function, sys.argv[1:])))
        return self.guarded(lambda: self._run(function, list(argv)))

    def guarded(self, function):
        """The exit status that `function()` returns, or that of the error that it raises, which is printed."""
        with terminal.plain_streams():
            try:
                status = function()
                sys.stdout.flush()  # a full disk is found out here, not when Python ends
                return status
            except UserError as error:
                details = getattr(error, "details", "")  # the user's own traceback, where their code failed
                return self._fail(error, details)
            except KeyboardInterrupt as error:
                return interrupts.status(error)
            except Exception as error:
                said = environment_errors.line(error)
                if said is None:
                    raise
                return self._fail(said)

    def parse(self, argv):
        """The flag values from `argv`; raises `UserError` for an unknown flag, a bad value, a positional argument."""
        self._values.unparse_flags()
        unsupported = next((a for a in argv if a.lstrip("-").split("=")[0] in ("undefok", "flagfile")), None)
        if unsupported:  # absl's own; `--undefok` would let unknown flags pass
            raise self._unknown_flag(unsupported.lstrip("-").split("=")[0])
        try:
            stray = self._values([self.name, *argv])[1:]
        except absl_flags.UnrecognizedFlagError as error:
            raise self._unknown_flag(error.flagname) from None
        except absl_flags.Error as error:
            raise UserError(f"{error} (see {self.name} --help)") from None
        if self._positional:
            self.arguments = [self._checked_argument(text) for text in stray]
        elif stray:
            raise UserError(
                f"unexpected argument {stray[0]!r}: flags are written --name=value, quoted where the value "
                f"has spaces (see {self.name} --help)"
            )
        for name in self._names():
            value = self._values[name].value
            checked = [self._checked(name, text) for text in (value if isinstance(value, list) else [value])]
            self._values[name].value = checked if isinstance(value, list) else checked[0]
        return self._values

    def _checked_argument(self, text):
        if text.encode(errors="replace").decode() != text or "\0" in text:
            raise UserError(f"{text}: bytes that are no text in this locale (PYTHONUTF8=1 sets UTF-8)")
        return os.fspath(user_path(text, self._positional.partition("…")[0]))

    def _checked(self, name, text):
        """One value of a flag, where it is text: as the user means it, or a `UserError`."""
        if isinstance(text, int) and abs(text) >= 2**63:
            raise UserError(f"--{name} must be a number in 64 bits, got one of {text.bit_length()} bits")
        if not isinstance(text, str):
            return text
        if text.startswith("--") and name not in self._holding_flags:  # absl takes the next flag as the value
            raise UserError(f"flag --{name} needs a value, got {text!r}")
        if "\0" in text or text.encode(errors="replace").decode() != text:
            said = (
                "a NUL character" if "\0" in text else "bytes that are no text in this locale (PYTHONUTF8=1 sets UTF-8)"
            )
            raise UserError(f"--{name}={text} has {said}; give another")
        return os.fspath(user_path(text, f"--{name}")) if self._metavars[name] in PATHS and text else text

    def command_line(self, **values):
        """The parsed command, to paste into a shell: its flags, with `values` replaced.

        It includes the backend, since the environment variable KERAS_BACKEND may be different in that shell.
        """
        if "backend" in self._values:
            values = {"backend": os.environ["KERAS_BACKEND"]} | values
        words = [self.name]
        for name in self._names():
            flag = self._values[name]
            if name in values or flag.present or flag.value != flag.default:
                value = values.get(name, flag.value)
                for item in value if isinstance(value, list) else [value]:
                    words.append(f"--{name}={str(item).lower() if isinstance(item, bool) else item}")
        return shlex.join(words)

    def help(self):
        """The text of `--help`: the description, the flags by group with their defaults, examples."""
        width = max(72, min(shutil.get_terminal_size((100, 24)).columns, 110))
        paragraphs = [f"{self.name}: {self.description}"]
        if self._positional:
            paragraphs.append(self._positional)
        for title, names in self._groups.items():
            paragraphs.append("\n".join([title, *(self._help_line(name, width) for name in names)]))
        paragraphs.append("Examples\n" + textwrap.indent(self.examples, "  "))
        return "\n\n".join(paragraphs)

    def _run(self, function, argv):
        if any(a in ("--help", "-help", "-h", "--helpfull", "--helpshort") for a in argv):
            print(self.help())
            return 0
        values = self.parse(argv)
        startup.set_environment(values["backend"].value if "backend" in values else None)
        self._load_packages()
        self._load_user_code(values.t2t_usr_dir)
        if values.registry_help:
            from t2t_multimodel.cli.registry_help import registry_help

            print(registry_help())
            return 0
        missing = [f"--{name}" for name in self._required if not values[name].value]
        if self._positional and not self.arguments:
            missing.append(self._positional.partition("…")[0])
        if missing:
            raise UserError(f"{' and '.join(missing)} must be given (see {self.name} --help)")
        return function(values) or 0

    def _load_packages(self):
        from t2t_multimodel import registry

        for package in registry.installed_packages():
            print(package, file=sys.stderr)

    def _load_user_code(self, directory):
        from t2t_multimodel.cli import user_code

        if directory is None:
            os.environ.pop(user_code.ENVIRONMENT_VARIABLE, None)  # the flag alone decides
        else:
            print(user_code.load_user_code(directory), file=sys.stderr)

    def _fail(self, message, details=""):
        if details:
            print(details.rstrip("\n"), file=sys.stderr)
        print(f"{self.name}: error: {' '.join(str(message).split())}", file=sys.stderr)
        return USER_ERROR

    def _names(self):
        return [name for names in self._groups.values() for name in names]  # without aliases

    def _declared(self, name, meaning, metavar, required=False):
        self._group.append(name)
        self._metavars[name], self._meanings[name] = metavar, meaning
        if required:
            self._required.append(name)
        for alias in _ALIASES.get(name, ()):
            absl_flags.DEFINE_alias(alias, name, flag_values=self._values)

    def _help_line(self, name, width):
        flag = self._values[name]
        left = f"--{name}" + (f"={self._metavars[name]}" if self._metavars[name] else "")
        if name in self._required:
            default = " (required)"
        elif flag.default is None or flag.default is False or flag.default in ("", []):
            default = ""
        else:
            default = f" (default: {flag.default})"
        meaning = textwrap.wrap(self._meanings[name] + default, width - 32)
        if len(left) <= 28:
            first, *rest = meaning
            return "\n".join([f"  {left:<29} {first}", *(" " * 32 + line for line in rest)])
        return "\n".join([f"  {left}", *(" " * 32 + line for line in meaning)])

    def _unknown_flag(self, name):
        from t2t_multimodel.hyperparameters import field_types

        wanted, known = name.replace("-", "_").lower(), list(self._values)
        close = [wanted] if wanted in known else nearest(wanted, known)
        if _OLD_FLAGS.get(wanted) in known:
            close = [_OLD_FLAGS[wanted]]
        if wanted in field_types():
            return UserError(f'unknown flag --{name}; {wanted} is an hparam: --hparams="{wanted}=…"')
        said = "did you mean " + " or ".join(f"--{c}" for c in close) + "?" if close else f"see {self.name} --help"
        return UserError(f"unknown flag --{name}; {said}")
