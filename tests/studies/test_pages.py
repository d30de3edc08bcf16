"""The page of a study leads to its runs, and says how they were made and not where."""

import html
import re

import pytest
import yaml

from hf_multitask.recipe import read_recipe
from hf_multitask.studies.pages import study_page
from hf_multitask.studies.runs import Run, execute
from hf_multitask.studies.sections import ReproduceRecipe
from hf_multitask.studies.standing import standings

TRIALS = "| trial | score | training.learning_rate |\n| --- | --- | --- |\n| 1 | 0.7000 | 2e-05 |\n"


@pytest.fixture
def finished(tmp_path, run):
    """A study in whose folder lie a run with a page, a run without one, a search, and one that is not finished."""
    made = [run(name, 0, "text") for name in ("paged", "plain", "a+b.c")]
    execute(made, jobs=1)
    for one in made:
        (one.folder / "recipe.yaml").write_text("seed: 0")
        (one.folder / "report.md").write_text(TRIALS)
    for one in (made[0], made[2]):
        (one.folder / "report.html").write_text("<h1>here</h1>")
    search = run("search", 0, "text")
    search = Run("search", 0, tmp_path / "tune.py", search.recipe, search.folder)
    search.folder.mkdir()
    (search.folder / "report.md").write_text(f"{TRIALS}\nTrials: 1 complete, 1 <pruned>.\n")
    (search.folder / "report.json").write_text("{}")
    (search.folder / "best.yaml").write_text("seed: 0")
    return [*made, search, run("never", 0, "text")]


def page_of(recipe, runs):
    """The parts of the page, by their titles, and the whole."""
    text = study_page(recipe, standings((), runs), runs, notes=["A note."], data=[])
    return dict(re.findall(r"<h2>(.*?)</h2>(.*?)</section>", text, flags=re.DOTALL)), text


def test_every_run_is_linked_to_what_is_there_of_it_from_beside_the_page(finished, study, tmp_path):
    parts, text = page_of(study("--output_dir", str(tmp_path), runs={"plain": {}}), finished)
    lines = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", parts["Runs"])[1:]]
    links = [[re.search('href="(.*?)"', cell)[1] if cell else "" for cell in line[2:]] for line in lines]
    assert [line[:2] for line in lines] == [["paged", "0"], ["plain", "0"], ["a+b.c", "0"], ["search", "0"]]
    assert links == [
        ["paged-0/report.html", "paged-0/recipe.yaml"],
        ["", "plain-0/recipe.yaml"],
        ["a%2Bb.c-0/report.html", "a%2Bb.c-0/recipe.yaml"],
        ["", "search-0/best.yaml"],
    ]
    assert "never" not in text


def test_a_search_shows_its_best_trials(finished, study, tmp_path):
    parts, _ = page_of(study("--output_dir", str(tmp_path), runs={"plain": {}}), finished)
    found = parts["Search: search-0"]
    assert re.findall("<td.*?>(.*?)</td>", found) == ["1", "0.7000", "2e-05"]
    assert "Trials: 1 complete, 1 &lt;pruned&gt;." in found
    assert [title for title in parts if title.startswith("Search")] == ["Search: search-0"]


def test_the_configuration_reads_back_and_names_no_place(finished, study, tmp_path, monkeypatch):
    runs = {
        "rate": {"sweep": {"training.learning_rate": [1e-5, 2e-5]}},
        "odd": {"settings": {"model": {"dropout": 0.2}}},
    }
    trunk = tmp_path / "models" / "mini"
    places = {"output_dir": str(tmp_path / "out"), "data_dir": str(tmp_path / "data"), "trunk": str(trunk)}
    recipe = study(runs=runs, **places)
    parts, text = page_of(recipe, finished)
    said = yaml.safe_load(html.unescape(re.search("<pre>(.*)</pre>", parts["Configuration"], flags=re.DOTALL)[1]))
    assert (said["trunk"], said["data_dir"], said["output_dir"]) == ("mini", "data", "out")
    assert said["runs"] == runs
    monkeypatch.chdir(tmp_path)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(said))
    assert read_recipe(ReproduceRecipe, ["--config", str(tmp_path / "again.yaml")]).runs == recipe.runs
    assert str(tmp_path) not in text
