"""The benchmark from its command line to what it leaves."""

import json

from commands import call, load

BENCHMARK = load("benchmark")


def test_the_benchmark_prints_and_keeps_its_table(tmp_path):
    words = ["--layers", 1, "--width", 24, "--rows", 2, "--rounds", 2, "--profile", "--output_dir", tmp_path]
    code, out, err = call(BENCHMARK, *words)
    assert code == 0, err
    assert "| products backward" in out
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    names = [line["name"] for line in kept["suites"]["pals"]]
    assert "PALs" in names
    assert all(f"| {name} " in out for name in names)
    assert (tmp_path / "benchmark.md").read_text().strip() in out
    code, _, err = call(BENCHMARK, "--width", 100, "--rounds", 0)
    assert code == 1
    assert "multiple of the 12 heads" in err
    assert "rounds must be 1 or more" in err
