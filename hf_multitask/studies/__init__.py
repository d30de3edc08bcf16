"""Studies: several runs that build on each other, and what they reach beside what was published."""
