"""Pages parse, hold all that they show, and show what report.json says."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from commands import TINY, call, load

from hf_multitask.pages.page import Part, page, rows_table

REPORT, TRAIN, ENSEMBLE = load("report"), load("train"), load("ensemble")


class Seen(HTMLParser):
    """What stands in a page: the cells of its tables, its embedded data, and the places that it refers to."""

    EMPTY = {"meta", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.places, self.heads, self.data = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.places += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.EMPTY:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if tags and tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if tags and tags[-1] == "h2":
            self.heads.append(data)
        if ("script", "report") in self.open:
            self.data += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two tiny models, their ensemble and their soup, the latter three with a page."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "tiny.yaml").write_text(TINY)
    source = ["--data", "{source: {class: Demo, size: 64}}"]
    for name, words in (("one", ["--schedule.class", "Annealed"]), ("two", ["--seed", "1"])):
        code, _, err = call(TRAIN, "--config", folder / "tiny.yaml", "--output_dir", folder / name, *words)
        assert code == 0, err
    members = ",".join(str(folder / name) for name in ("one", "two"))
    made = ["--members", members, "--cache", folder / "answers", *source, "--output_dir"]
    for recipe, more in (
        (ENSEMBLE, [*made, folder / "both"]),
        (ENSEMBLE, [*made, folder / "soup", "--rule", "soup"]),
        *((REPORT, ["--folder", folder / name]) for name in ("one", "both", "soup")),
    ):
        code, _, err = call(recipe, *more)
        assert code == 0, err
    return folder


@pytest.mark.parametrize("name", ["one", "both", "soup"])
def test_a_page_shows_what_the_report_says_and_needs_nothing_else(name, folders):
    seen = Seen((folders / name / "report.html").read_text())
    report = json.loads((folders / name / "report.json").read_text())
    assert json.loads(seen.data) == report
    for task, entry in report["tasks"].items():
        assert [row[3] for row in seen.rows if row[:2] == [task, entry["metric"]]] == [f"{entry[entry['metric']]:.3f}"]
    assert [row[3] for row in seen.rows if row[0] == "score"] == [f"{report['score']:.3f}"]
    assert seen.places
    assert all(place.startswith("data:") for place in seen.places)
    assert {"Results", "Pictures", "Configuration", "What it is surest of and wrong: sst"} <= set(seen.heads)


def test_two_runs_side_by_side(folders):
    code, _, err = call(REPORT, "--folder", folders / "one", "--beside", folders / "two")
    assert code == 0, err
    seen = Seen((folders / "one" / "beside-two.html").read_text())
    assert set(json.loads(seen.data)) == {"one", "two"}
    (line,) = [row for row in seen.rows if row[0] == "score"]
    both = [json.loads((folders / name / "report.json").read_text())["score"] for name in ("one", "two")]
    assert line[1:3] == [f"{score:.3f}" for score in both]


def test_what_is_written_cannot_end_the_page():
    text = "</script><b>&"
    seen = Seen(page(text, [Part(text, rows_table([text], [[text]]))], data={"said": text}))
    assert json.loads(seen.data) == {"said": text}
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
