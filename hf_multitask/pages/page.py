"""`report.html`: one file with everything in it, which a browser opens without a network."""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..report import replace_text

__all__ = ["Link", "Part", "figures", "markdown_table", "page", "preformatted", "rows_table", "write_page"]

FILE = "report.html"
SHORT = 40
"""Numbers of fewer characters stay on one line."""
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?(( ±| to| \().*)?")

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { left: 50%; max-width: calc(100vw - 2rem); min-width: 100%; overflow-x: auto; position: relative;
  transform: translateX(-50%); width: max-content; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { cursor: pointer; }
.number { text-align: right; } .short { white-space: nowrap; }
figure { display: inline-block; margin: .5rem; } figure img { background: white; max-width: 100%; }
.points label, #points-legend span { margin-right: 1.2rem; }
#points-legend svg { background: white; height: 1em; margin-right: .3em; }
.points .sides { display: flex; flex-wrap: wrap; gap: 1rem; }
#points-said { flex: 1 1 16rem; overflow-wrap: anywhere; }
#points-drawn { background: white; flex: 2 1 30rem; max-width: 48rem; min-width: 0; }
#points-drawn text { fill: #222; font: 13px system-ui, sans-serif; }
#points-drawn rect, #points-drawn line { fill: none; stroke: #999; }
#points-drawn .point { cursor: pointer; outline: none; stroke: white; stroke-width: .1; }
#points-drawn .point.wrong { stroke: #d00; stroke-width: .35; }
#points-drawn .point.now { stroke: black; stroke-width: .6; }
pre { background: #8881; overflow-x: auto; padding: .8rem; }
"""

# A click on a table's head sorts by that column; without scripts the page lacks nothing else.
SCRIPT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], at = head.cellIndex, down = head.dataset.down !== "yes";
  head.dataset.down = down ? "yes" : "no";
  const key = row => row.cells[at].textContent.trim(), number = text => parseFloat(text.replace(/,/g, ""));
  const less = (a, b) => isNaN(number(a)) || isNaN(number(b)) ? a.localeCompare(b) : number(a) - number(b);
  [...body.rows].sort((a, b) => (down ? -1 : 1) * less(key(a), key(b))).forEach(row => body.append(row));
});
"""


class Part(NamedTuple):
    """A headline, and what stands under it as HTML."""

    title: str
    body: str


class Link(NamedTuple):
    """A cell of a table that leads to a file, whose path begins where the page lies.

    >>> cell_of(Link("a & b", "my run/report.html"))
    '<td><a href="my%20run/report.html">a &amp; b</a></td>'
    """

    text: str
    path: str


def page(title: str, parts: Sequence[Part], *, data: Any = None) -> str:
    """A page of parts; `data` stands in it as JSON, under the id "report", for programs.

    >>> "<h2>Results</h2>" in page("A run", [Part("Results", "<p>Good.</p>")])
    True
    """
    # A text in JSON may hold what ends a script.
    content = json.dumps(data).replace("<", "\\u003c")
    body = "\n".join(f"<section>\n<h2>{html.escape(part.title)}</h2>\n{part.body}\n</section>" for part in parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n"
        f'<script type="application/json" id="report">{content}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def write_page(text: str, folder: str | Path, name: str = FILE) -> Path:
    """Write a page into a folder, as report.html if no other name is given."""
    path = Path(folder, name)
    replace_text(path, text)
    return path


def rows_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; columns of what are numbers, or mostly look like some, stand to the right.

    >>> print(rows_table(["task"], [["a < b"]]).count("&lt;"))
    1
    """
    columns = [[row[at] for row in rows] for at in range(len(head))]
    right = [mostly_numbers(column) for column in columns]
    classes = [' class="number"' if numbers else "" for numbers in right]
    top = "".join(f"<th{kind}>{html.escape(str(cell))}</th>" for cell, kind in zip(head, classes, strict=True))
    cells = ["".join(cell_of(cell, right=numbers) for cell, numbers in zip(row, right, strict=True)) for row in rows]
    lines = "\n".join(f"<tr>{line}</tr>" for line in cells)
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>'


def cell_of(value: Any, *, right: bool = False) -> str:
    if isinstance(value, Link):
        return f'<td><a href="{html.escape(quote(value.path))}">{html.escape(value.text)}</a></td>'
    text = spoken(value)
    kinds = [*(["number"] if right else []), *(["short"] if right and len(text) < SHORT else [])]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def spoken(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def mostly_numbers(column: Sequence[Any]) -> bool:
    """Whether most of what stands in a column are numbers, with their intervals or without.

    >>> mostly_numbers(["0.1", "not given", "+0.2 (-0.1 to +0.5)"]), mostly_numbers(["2 models", "7 models", "0.1"])
    (True, False)
    """
    said = [text for value in column if not isinstance(value, Link) and (text := spoken(value))]
    return 2 * sum(bool(NUMBER.fullmatch(text)) for text in said) > len(said)


def markdown_table(text: str) -> str:
    """A table as `report.aligned` writes it, in HTML.

    >>> print(markdown_table("| a |\\n| - |\\n| \\\\|u - v\\\\| |").count("<td>|u - v|</td>"))
    1
    """
    cells = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in text.strip().splitlines()]
    lines = [[cell.strip().replace(r"\|", "|") for cell in line] for line in cells]
    return rows_table(lines[0], lines[2:])


def preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def figures(pictures: Sequence[tuple[str, str]]) -> str:
    """Pictures by what they show, as `plots.embedded` gives them."""
    return "\n".join(f'<figure><img alt="{html.escape(said)}" src="{source}"></figure>' for said, source in pictures)
