"""Whether the demo's report shows what the README promises: far above chance and above a bag of words."""

import json
import sys
from pathlib import Path

report = json.loads(Path(sys.argv[1]).read_text())
words, chance = report["beside"]["bag of words"], report["beside"]["chance"]
faults = []
for name in ("sst", "qqp", "sts"):
    entry = report["tasks"][name]
    value = entry[entry["metric"]]
    print(f"{name}: {value:.3f}, bag of words {words[name]:.3f}, chance {chance[name]:.3f}")
    if value < words[name] + 0.1:
        faults.append(f"{name} is not well above the bag of words")
    if value < chance[name] + 0.25:
        faults.append(f"{name} is not far above chance")
sys.exit("; ".join(faults) or None)
