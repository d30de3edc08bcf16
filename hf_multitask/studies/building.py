"""Which runs of a study build on which, and where one does not leave what another needs."""

from collections.abc import Callable, Mapping

from .run_sections import RunSection

__all__ = ["circles", "misled"]


def circles(sections: Mapping[str, RunSection]) -> list[str]:
    """The runs that would wait for themselves."""
    settled: set[str] = set()
    while free := [n for n, run in sections.items() if n not in settled and settled.issuperset(run.needs)]:
        settled.update(free)
    stuck = [name for name in sections if name not in settled]
    return [f"runs: {', '.join(stuck)} wait for each other."] if stuck else []


def misled(sections: Mapping[str, RunSection], *, keeps: Callable[[RunSection], int]) -> list[str]:
    """The runs that build on one which does not leave what they need; `keeps` says how many recipes a search does."""
    faults = []
    for name, run in sections.items():
        wanted = {"best_of": (run.best_of, ["tune"]), "init_from": (run.init_from, ["train", "pretrain"])}
        wanted |= {"student": (run.student, ["train"])}
        wanted |= {f"members, {one}": (one, ["train", "ensemble"]) for one in run.members}
        faults += [
            f"runs.{name}.{what}: {need} is a run of {sections[need].script}. Name one of {' or '.join(kinds)}."
            for what, (need, kinds) in wanted.items()
            if need is not None and sections[need].script not in kinds
        ]
        search = sections.get(run.best_of or "")
        if search is not None and search.script == "tune" and run.rank > (most := keeps(search)):
            faults.append(f"runs.{name}.rank is {run.rank}, and {run.best_of} keeps {most}: raise its keep.")
    return faults
