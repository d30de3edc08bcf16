import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest

from hf_multitask.studies.jobs import BEGUN, gpu_at
from hf_multitask.studies.runs import execute, results, table


def calls(run):
    return run.recipe.with_suffix(".calls").read_text().splitlines()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_run_does_not_lose_the_others_and_finished_ones_are_kept(run, jobs, monkeypatch, capsys):
    monkeypatch.setattr("hf_multitask.studies.runs.cores", lambda: 4)
    runs = [run("one", 0, "a"), run("two", 0, "bad"), run("three", 0, "abc"), run("four", 0, "d", "one")]
    runs.append(run("five", 0, "e", "two"))
    for _ in range(2):
        words = (
            r"1 of 5 runs failed, and 1 were not begun.\n\ntwo-0 ended with code 1.*ends:\nIt is bad."
            r"\n\nfive-0 needs two-0, and was not"
        )
        with pytest.raises(RuntimeError, match=words):
            execute(runs, jobs=jobs)
        # At once, for whoever stops the rest.
        assert f"two-0 failed, and {runs[1].log} says why." in capsys.readouterr().err
    assert [len(calls(one)) for one in runs[:4]] == [1, 2, 1, 1]
    assert calls(runs[0]) == [f"--resume auto --overwrite false threads {4 // jobs}"]
    assert [line["run"] for line in results(runs)] == ["one", "three", "four"]


def test_only_what_may_be_resumed_keeps_its_checkpoints(run):
    runs = [run("good", 0, "a"), run("worse", 0, "bad")]
    for _ in ("while it is made", "left by a study that was killed"):
        for made in runs:
            (made.folder / "checkpoint-3").mkdir(parents=True, exist_ok=True)
        with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
            execute(runs, jobs=1)
        assert [made.folder.name for made in runs if (made.folder / "checkpoint-3").is_dir()] == ["worse-0"]
        assert runs[0].finished


def test_a_run_begins_when_what_it_needs_is_there(run):
    first = run("first", 0, "wait .3")
    execute([run("second", 0, "need first-0", "first"), first], jobs=2)


def test_a_page_that_is_made_later_does_not_change_when_a_run_was_begun(run, tmp_path):
    first, second = run("first", 0, "a"), run("second", 0, "ab", "first")
    execute([first, second], jobs=1)
    before = second.origins.stat().st_mtime_ns
    (tmp_path / "report.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[2], 'report.html').touch()")
    execute([first, replace(second, after=tmp_path / "report.py")], jobs=1)
    assert (second.folder / "report.html").is_file()
    assert second.origins.stat().st_mtime_ns == before


def test_two_studies_of_the_same_runs_share_them(run):
    one = run("one", 0, "wait 1")
    first, second = one.start(1, 0), one.start(1, 1)
    for process in (first, second):
        process.join()
        assert process.exitcode == 0
    assert len(calls(one)) == 1
    assert one.log.read_text().count(BEGUN) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_who_ends_a_study_ends_its_runs(run, number, tmp_path):
    long = run("long", 0, "wait 60")
    code = f"""
import signal
from pathlib import Path
from hf_multitask.studies.jobs import Stopped
from hf_multitask.studies.jobs import gpu_at
from hf_multitask.studies.runs import Run, execute
if __name__ == "__main__":
    # What a shell begins in the background would not be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run = Run("long", 0, Path({str(long.script)!r}), Path({str(long.recipe)!r}), Path({str(long.folder)!r}))
    try:
        execute([run], jobs=1)
    except (Stopped, KeyboardInterrupt):
        raise SystemExit(143)
"""
    (tmp_path / "study.py").write_text(code)
    study = subprocess.Popen([sys.executable, str(tmp_path / "study.py")], stderr=subprocess.DEVNULL)
    pid = int(until(lambda: (tmp_path / "long-0.pid").read_text()))
    if number == signal.SIGINT:
        # A terminal interrupts all that was begun there: runs wait to be told.
        os.kill(pid, number)
        time.sleep(0.3)
        assert alive(pid)
    study.send_signal(number)
    assert study.wait() == (-number if number == signal.SIGKILL else 143)
    until(lambda: not alive(pid))
    # Nothing holds the lock, and the run can be begun again.
    (tmp_path / "long-0.yaml").write_text("short")
    execute([long], jobs=1)


def until(look, seconds=60):
    """What `look` gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError("It did not come.")


def alive(pid):
    """Whether a process goes on: one that nobody has waited for yet is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_table_shows_means_and_deviations(run):
    runs = [run("one", 0, "a"), run("one", 1, "abcd"), run("two", 0, "ab")]
    execute(runs, jobs=1)
    found = list(results(runs))
    assert found[1] == {"run": "one", "seed": 1, "sst": 0.4, "score": 0.4, "minutes": 0.5}
    one, two = table(found).splitlines()[2:]
    assert f"{mean([0.1, 0.4]):.3f} ± {stdev([0.1, 0.4]):.3f}" in one
    assert [cell.strip() for cell in two.split("|")[1:-1]] == ["two", "0", "0.200", "0.200", "0.5"]
    assert math.isclose(found[2]["score"], 0.2)


def test_a_run_begins_by_its_own_recipe_whatever_another_study_wrote(run):
    one = replace(run("one", 0, "bad"), layer="abc")
    execute([one], jobs=1)
    assert one.recipe.read_text() == "abc"


@pytest.mark.parametrize(("count", "seen", "found"), [(0, None, None), (0, "", None), (2, None, "1"), (2, "4,6", "6")])
def test_of_several_gpus_each_job_has_one(count, seen, found, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert gpu_at(3) == found
