import re
import subprocess
import sys

import pytest

from hf_multitask.help import help_text
from hf_multitask.schedules import SCHEDULES
from hf_multitask.schema import defaults, walk
from hf_multitask.sections.evaluate import EvaluateRecipe
from hf_multitask.sections.parts import SOURCES
from hf_multitask.sections.train import TrainRecipe

RECIPES = [TrainRecipe, EvaluateRecipe]


@pytest.mark.parametrize("kind", RECIPES)
def test_help_fits_the_screen_and_holds_every_setting(kind):
    text = help_text(kind, defaults(kind), [])
    assert max(map(len, text.splitlines())) <= 100
    assert all(path in text for path, _, _ in walk(kind))
    assert kind.__doc__.splitlines()[0] in text
    assert text.rstrip().splitlines()[-1].startswith("  python recipes/")


@pytest.mark.parametrize("kind", RECIPES)
def test_every_setting_says_what_it_is_for(kind):
    unexplained = [path for path, hint, help in walk(kind) if not help and not isinstance(hint, type)]
    assert unexplained == []


def test_help_names_the_members_of_a_family_and_their_options():
    lines = [line.strip() for line in help_text(TrainRecipe, defaults(TrainRecipe), []).splitlines()]
    assert "Annealed: start=1.0, end=0.2, steps_per_epoch=null" in lines
    assert "Course: data_dir" in lines
    for name in [*SCHEDULES, *SOURCES]:
        assert any(line.partition(":")[0] == name for line in lines)


def test_help_names_adapters_and_what_stands_by_itself():
    text = help_text(TrainRecipe, defaults(TrainRecipe), [])
    assert "      Pal: width=204, heads=12," in text
    assert "      LoraConfig, " in text
    assert "peft_type" not in text
    after = text.partition("\nMore settings:\n")[2].partition("\n\n")[0]
    assert all(f"  --{name} " in after for name in ("train_on", "schedule", "tuner", "regularizers"))


def test_help_shows_what_each_setting_is():
    lines = help_text(TrainRecipe, defaults(TrainRecipe), ["mine.yaml"]).splitlines()

    def line(start):
        (found,) = [line for line in lines if line.startswith(f"  --{start} ")]
        return found

    assert "Settings, with their values in mine.yaml:" in lines
    assert line("overwrite").endswith("[false]")
    assert line("seed").endswith("[0]")
    assert line("model.pooling cls|mean|pooler").endswith("[mean]")
    assert line("training.learning_rate NUMBER").endswith("[5e-05]")
    assert line("schedule {..}").endswith("[{class: RoundRobin}]")
    assert "Short for data.source {class: Course, data_dir: TEXT}" in line("data_dir TEXT")


def test_a_recipe_is_found_through_a_link_to_its_folder(tmp_path, pytestconfig):
    """Beside it lies an evaluate.py, which must not hide the library of that name."""
    (tmp_path / "link").symlink_to(pytestconfig.rootpath / "recipes")
    words = [sys.executable, str(tmp_path / "link" / "evaluate.py"), "--help"]
    assert subprocess.run(words, capture_output=True, check=True, text=True).stdout


def test_a_system_tells_its_settings_without_a_scale(pytestconfig):
    words = [sys.executable, str(pytestconfig.rootpath / "recipes" / "reproduce.py"), "--system", "sbrrt", "--help"]
    said = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    assert re.search(r"--published LIST .*\[\d+ of them\]", said)
