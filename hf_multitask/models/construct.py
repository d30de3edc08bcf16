"""Build one member of a family from a plain description such as `{"class": "MLP", "hidden": 256}`."""

import difflib
import inspect
from typing import Any


def construct(family: str, members: dict[str, type], spec: dict[str, Any], **given: Any) -> Any:
    """Build the member that `spec["class"]` names, with the other keys of `spec` as keyword arguments.

    `family` is the word that error messages use. `given` are arguments that the caller supplies and
    a description may not. Every fault of the description is raised in one message.

    >>> construct("point", {"complex": complex}, {"class": "complex", "real": 1.0, "imag": 2.0})
    (1+2j)
    """
    if not isinstance(spec, dict) or "class" not in spec:
        raise ValueError(f"A {family} is described as {{class: Name, ...}}. Got {spec!r}.")
    options = {key: value for key, value in spec.items() if key != "class"}
    member = members.get(spec["class"])
    if member is None:
        raise ValueError(unknown(family, spec["class"], members))
    parameters = inspect.signature(member).parameters
    names = [name for name in parameters if name not in given]
    faults = [unknown(f"option of {spec['class']}", key, names) for key in options if key not in names]
    faults += [
        f"{spec['class']} needs '{name}'."
        for name in names
        if name not in options
        and parameters[name].default is inspect.Parameter.empty
        and parameters[name].kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    if faults:
        raise ValueError(" ".join(faults))
    return member(**given, **options)


def unknown(kind: str, name: Any, choices: Any) -> str:
    """The sentence for a name that is not among `choices`, with the nearest right one."""
    near = difflib.get_close_matches(str(name), [str(choice) for choice in choices], n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return f"Unknown {kind} '{name}'.{guess} Choices: {', '.join(map(str, choices)) or 'none'}."
