import numpy as np

from hf_multitask.plots import embedding_map


def test_a_map_has_a_panel_for_each_embedding_and_is_the_same_again(tmp_path):
    draw = np.random.default_rng(0)
    rows = {name: draw.normal(size=(12, 4)) for name in ("before", "after")}
    files = [
        embedding_map(tmp_path / f"{i}.png", rows, [i % 3 for i in range(12)], ["a", "b", "c", "nobody"])
        for i in range(2)
    ]
    one, other = (file.read_bytes() for file in files)
    assert one.startswith(b"\x89PNG")
    assert one == other
