"""Whether the demo's report is far above chance and above a bag of words, and says what the README's table does."""

import json
import re
import sys
from pathlib import Path

NEAR = 0.03

report = json.loads(Path(sys.argv[1]).read_text())
words, chance = report["beside"]["bag of words"], report["beside"]["chance"]
readme = (Path(__file__).parents[1] / "README.md").read_text()
number = r" *([\d.]+) *\|"
faults = []
for name in ("sst", "qqp", "sts"):
    entry = report["tasks"][name]
    value = entry[entry["metric"]]
    print(f"{name}: {value:.3f}, bag of words {words[name]:.3f}, chance {chance[name]:.3f}")
    if value < words[name] + 0.1:
        faults.append(f"{name} is not well above the bag of words")
    if value < chance[name] + 0.25:
        faults.append(f"{name} is not far above chance")
    row = re.search(rf"^\| {name} *\|[^|]*\|[^|]*\|{number}[^|]*\|{number}{number}$", readme, re.M)
    if row is None:
        faults.append(f"README.md has no row of {name} in the demo's table")
        continue
    for who, found, said in zip(
        ("the model", "the bag of words", "chance"), (value, words[name], chance[name]), row.groups(), strict=True
    ):
        if abs(found - float(said)) > NEAR:
            faults.append(f"{name} by {who} is {found:.3f}, README.md says {said}")
sys.exit("; ".join(faults) or None)
