"""Pages in a real browser: what a click sorts, what is pictured, and what the map of rows shows."""

import itertools
import json
from urllib.parse import urljoin

import numpy as np
import pytest
from browsing import NEEDED, chromium

from hf_multitask import Classification, Task
from hf_multitask.evaluation.answers import Answers
from hf_multitask.pages.page import Part, page, write_page
from hf_multitask.pages.points import MOST, points, points_map

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

pytestmark = NEEDED

HURT = "</script><img src=x onerror='window.hurt = 1'> & \"<b>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


def cells(browser, title):
    """The rows of the table under a headline, its head first."""
    (section,) = [
        part
        for part in browser.find_elements(By.TAG_NAME, "section")
        if part.find_element(By.TAG_NAME, "h2").text == title
    ]
    rows = section.find_elements(By.TAG_NAME, "tr")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]


def choose(browser, name, text):
    Select(browser.find_element(By.ID, f"points-{name}")).select_by_visible_text(text)


def drawn(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#points-drawn .point")


def said(browser):
    return browser.find_element(By.ID, "points-said").text.splitlines()


def of_page(browser, path):
    browser.get(path.as_uri())
    return json.loads(browser.find_element(By.ID, "points").get_property("textContent"))


def test_a_click_sorts_a_table_by_numbers_and_by_words(browser, folders):
    browser.get((folders / "one" / "report.html").as_uri())
    head = cells(browser, "Results")[0]
    for name, key in (("model", float), ("task", str)):
        at = head.index(name)
        before = sorted((row[at] for row in cells(browser, "Results")[1:]), key=key, reverse=True)
        for order in (before, before[::-1]):
            browser.find_element(By.XPATH, f"//h2[.='Results']/..//th[.='{name}']").click()
            assert [row[at] for row in cells(browser, "Results")[1:]] == order


@pytest.mark.parametrize("place", ["one/report.html", "both/report.html", "soup/report.html", "one/beside-two.html"])
def test_every_picture_is_there_and_nothing_is_logged(place, browser, folders):
    browser.get((folders / place).as_uri())
    sizes = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert sizes
    assert all(sizes)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("name", ["one", "both"])
def test_mistakes_only_leaves_as_many_points_as_the_report_has_mistakes(name, browser, folders):
    tasks = json.loads((folders / name / "report.json").read_text())["tasks"]
    found = of_page(browser, folders / name / "report.html")
    assert list(found) == list(tasks)
    for task, entry in tasks.items():
        choose(browser, "task", task)
        wrong = entry["n"] - np.trace(entry["confusion"]) if "confusion" in entry else None
        for shown in found[task]["maps"]:
            choose(browser, "map", shown)
            assert len(drawn(browser)) == entry["n"]
            # A number is off by more or less, and never a mistake.
            assert browser.find_element(By.ID, "points-which").is_enabled() == (wrong is not None)
            if wrong is not None:
                choose(browser, "which", "mistakes only")
                assert len(drawn(browser)) == wrong
                assert browser.find_element(By.ID, "points-count").text == f"{wrong} of {entry['n']} rows"
                choose(browser, "which", "all rows")
    assert browser.get_log("browser") == []


def test_where_rows_are_drawn_mistakes_only_leaves_those_of_the_drawn(browser, tmp_path):
    count, draw = MOST + 50, np.random.default_rng(0)
    task = Task("mood", Classification(["sad", "glad"])).describe()
    scores = draw.normal(size=(count, 2))
    answers = Answers(scores, scores.argmax(1), draw.integers(0, 2, count))
    body = points_map({"mood": points(task, answers, [{"first": str(row)} for row in range(count)])})
    found = of_page(browser, write_page(page("Map", [Part("Row by row", body)]), tmp_path))["mood"]
    assert len(drawn(browser)) == len(found["rows"]) == MOST
    choose(browser, "which", "mistakes only")
    wrong = [number for number, row in enumerate(found["rows"]) if row["true"] != row["said"]]
    assert [int(node.get_attribute("data-row")) for node in drawn(browser)] == wrong
    count_said = f"{len(wrong)} of {MOST} rows, which were drawn from {count}"
    assert browser.find_element(By.ID, "points-count").text == count_said


def tells(browser, node, task):
    """Whether the page says of a point what its row is."""
    row, labels = task["rows"][int(node.get_attribute("data-row"))], task["labels"]
    *texts, true, predicted, _ = [line for line in said(browser) if line]
    told = [true.removeprefix("true: "), predicted.removeprefix("predicted: ")]
    values = [row["true"], row["said"]]
    same = told == [labels[v] for v in values] if labels else np.allclose([float(v) for v in told], values, atol=0.006)
    return texts == row["texts"] and same


@pytest.mark.parametrize(("classes", "named"), [(5, 5), (20, 4)])
def test_no_name_of_a_label_lies_on_another(classes, named, browser, tmp_path):
    names = [f"an intent of number {label}" if classes > 5 else f"grade {label}" for label in range(classes)]
    labels = np.arange(classes)
    answers = Answers(np.eye(classes), labels, labels)
    found = points(Task("intent", Classification(names)).describe(), answers, [{"first": name} for name in names])
    browser.get(write_page(page("Map", [Part("Row by row", points_map({"intent": found}))]), tmp_path).as_uri())
    texts = browser.find_elements(By.CSS_SELECTOR, "#points-drawn .frame text")
    spans = sorted((text.rect["x"], text.rect["width"]) for text in texts if text.text in names)
    assert len(spans) == named
    assert all(left + width <= right for (left, width), (right, _) in itertools.pairwise(spans))


def test_a_point_says_which_row_it_is_by_the_mouse_and_by_keys(browser, folders):
    for name, task in of_page(browser, folders / "one" / "report.html").items():
        choose(browser, "task", name)
        # What is drawn last lies above all others.
        last = drawn(browser)[-1]
        ActionChains(browser).move_to_element(last).perform()
        assert tells(browser, last, task)
        first, second = drawn(browser)[:2]
        browser.execute_script("arguments[0].focus()", first)
        assert tells(browser, first, task)
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        assert browser.switch_to.active_element == second
        assert tells(browser, second, task)


def test_a_text_that_is_markup_is_shown_as_it_is(browser, tmp_path):
    task = Task("mood", Classification([HURT, "glad"])).describe()
    rows = [{"first": HURT}, {"first": "b"}]
    answers = Answers(np.array([[2.0, 0], [0, 1]]), np.array([0, 1]), np.array([1, 1]))
    body = points_map({"mood": points(task, answers, rows)})
    browser.get(write_page(page("Map", [Part("Row by row", body)]), tmp_path).as_uri())
    choose(browser, "which", "mistakes only")
    (node,) = drawn(browser)
    ActionChains(browser).move_to_element(node).perform()
    assert said(browser)[0] == HURT
    assert not browser.find_elements(By.TAG_NAME, "img")
    assert browser.execute_script("return window.hurt") is None


def test_the_page_of_a_system_has_the_numbers_of_its_table_and_leads_to_its_runs(browser, system):
    path, table = system
    browser.get(path.as_uri())
    head, *lines = cells(browser, "Beside each other")
    found = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert list(found) == [row["run"] for row in table]
    for row in table:
        for name in ("sst", "qqp", "sts", "score"):
            assert found[row["run"]][name] == f"{row[name]:.3f}"
    links = {link.text: link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "td a")}
    assert list(links) == [
        "one/report.html",
        "one/recipe.yaml",
        "two/recipe.yaml",
        "both/report.html",
        "both/recipe.yaml",
    ]
    assert all(link == urljoin(path.as_uri(), name) for name, link in links.items())
    browser.find_element(By.LINK_TEXT, "both/report.html").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "both"
    (row,) = [row for row in table if row["run"] == "both"]
    assert cells(browser, "Results")[-1][3] == f"{row['score']:.3f}"


def test_two_runs_side_by_side_have_the_numbers_of_their_reports(browser, folders):
    browser.get((folders / "one" / "beside-two.html").as_uri())
    reports = [json.loads((folders / name / "report.json").read_text()) for name in ("one", "two")]
    head, *lines = cells(browser, "Results")
    assert head[:3] == ["task", "one", "two"]
    for name, *values in (line[:3] for line in lines):
        theirs = [report["score"] if name == "score" else own(report, name) for report in reports]
        assert values == [f"{value:.3f}" for value in theirs]
    assert cells(browser, "What differs in the configuration")[0] == ["setting", "one", "two"]
    assert ["seed", "0", "1"] in cells(browser, "What differs in the configuration")


def own(report, name):
    entry = report["tasks"][name]
    return entry[entry["metric"]]
