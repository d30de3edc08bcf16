"""Pages parse, hold all that they show, and show what report.json says."""

import json
import shutil
import subprocess

import pytest
from browsing import Seen

from hf_multitask.pages.page import Part, page, rows_table


@pytest.mark.parametrize("name", ["one", "both", "soup"])
def test_a_page_shows_what_the_report_says_and_needs_nothing_else(name, folders):
    seen = Seen((folders / name / "report.html").read_text())
    report = json.loads((folders / name / "report.json").read_text())
    assert json.loads(seen.data["report"]) == report
    for task, entry in report["tasks"].items():
        assert [row[3] for row in seen.rows if row[:2] == [task, entry["metric"]]] == [f"{entry[entry['metric']]:.3f}"]
    assert [row[3] for row in seen.rows if row[0] == "score"] == [f"{report['score']:.3f}"]
    assert seen.places
    assert all(place.startswith("data:") for place in seen.places)
    assert {"Results", "Pictures", "Row by row", "Configuration", "What it is surest of and wrong: sst"} <= set(
        seen.heads
    )


def test_two_runs_side_by_side(folders):
    seen = Seen((folders / "one" / "beside-two.html").read_text())
    assert set(json.loads(seen.data["report"])) == {"one", "two"}
    (line,) = [row for row in seen.rows if row[0] == "score"]
    both = [json.loads((folders / name / "report.json").read_text())["score"] for name in ("one", "two")]
    assert line[1:3] == [f"{score:.3f}" for score in both]


def test_what_is_written_cannot_end_the_page():
    text = "</script><b>&"
    seen = Seen(page(text, [Part(text, rows_table([text], [[text]]))], data={"said": text}))
    assert json.loads(seen.data["report"]) == {"said": text}
    assert seen.rows == [[text], [text]]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_it_and_logs_no_error(folders):
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*words, (folders / "one" / "report.html").as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    report = json.loads((folders / "one" / "report.json").read_text())
    seen = Seen(done.stdout)
    assert [row[3] for row in seen.rows if row[0] == "score"] == [f"{report['score']:.3f}"]
    assert "CONSOLE" not in done.stderr
