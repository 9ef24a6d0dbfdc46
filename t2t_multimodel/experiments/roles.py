"""The roles of problems in the paper's tables: from the declarations of the problems, or from a flag."""

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.modalities import Audio, Image, Label, Text

# Role → the requirement for its problem, for messages.
ROLES = {
    "images": "pictures into classes",
    "parsing": "text into trees (its metrics have bracket_f1, or its command is to_tree)",
    "speech": "sound into text",
    "captions": "pictures into text",
    "en_de": 'Text("English") into Text("German")',
    "en_fr": 'Text("English") into Text("French")',
}
_SIDES = {
    "images": (Image, Label),
    "parsing": (Text, Text),
    "speech": (Audio, Text),
    "captions": (Image, Text),
    "en_de": (Text, Text),
    "en_fr": (Text, Text),
}


def parse_roles(text, problems):
    """ "parsing=my_trees,images=my_birds" → {role: problem}.

    Args:
      problems: {name: ExampleStore} of the suite.

    Raises:
      UserError: an unknown role or problem, or a problem with targets that do not match the role.
    """
    named = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        role, equals, problem = (x.strip() for x in part.partition("="))
        if not equals:
            raise UserError(f"--roles: {part!r} is not role=problem; roles are {', '.join(ROLES)}")
        if role not in ROLES:
            raise unknown_name("role", role, ROLES, "--roles")
        if problem not in problems:
            raise unknown_name("problem of this suite", problem, problems, f"--roles: {role}")
        targets = type(problems[problem].spec.targets)
        if targets is not _SIDES[role][1]:
            said = f"its target is {targets.modality_name}"
            raise UserError(f"--roles: {problem} can't have the role {role} ({ROLES[role]}): {said}")
        named[role] = problem
    return named


def find_roles(stores, named=None):
    """{role: problem} for the roles that a problem matches: the `named` problem, or the first match.

    Args:
      stores: {problem: ExampleStore}. named: {role: problem}, from `parse_roles`.
    """
    roles = dict(named or {})
    for role in ROLES:
        if role not in roles:
            fitting = [name for name, store in stores.items() if _plays(role, name, store)]
            if fitting:
                roles[role] = fitting[0]
    return roles


def require(roles, *wanted):
    """Raises `UserError` if one of the roles `wanted` has no problem."""
    for role in wanted:
        if role not in roles:
            raise UserError(
                f"no problem has the role {role} ({ROLES[role]}), which this suite compares; add one to "
                f"--problem, or name it: --roles={role}=NAME"
            )


def _plays(role, name, store):
    if (type(store.spec.inputs), type(store.spec.targets)) != _SIDES[role]:
        return False
    if _SIDES[role] != (Text, Text):
        return True
    if role == "parsing":
        return "bracket_f1" in store.metrics or (store.manifest.get("command") or {}).get("name") == "to_tree"
    return _languages(name) == ("English", {"en_de": "German", "en_fr": "French"}[role])


def _languages(name):
    """The languages of a problem's two sides as its class declares them; ("", "") if it is not registered."""
    try:
        problem = registry.problem(name)
    except UserError:
        return "", ""
    return getattr(problem.inputs, "language", ""), getattr(problem.targets, "language", "")
