"""`report.html`: what a run or an ensemble reached, in one file that a browser opens without a network."""
