"""Record "make demo" and draw it: docs/demo.svg, animated, and docs/demo-still.svg.

Both show what was really printed. The animation keeps the time at which each line
came, but for pauses, of which it shows a second and a half at most. It has no script
and loads nothing.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ["make", "demo"]
COLUMNS, ROWS = 88, 32  # of the terminal in the picture
WIDTH, HEIGHT, SIZE = 8.43, 18, 14  # of a character, a line and the font
MARGIN, BAR = 16, 34
LONGEST_PAUSE = 1.5
TYPED, HOLD = 0.8, 6.0  # before the first line; after the last, until it begins anew
CLASS = {"1": "b", "2": "d", "31": "r", "32": "g"}


@dataclass
class Line:
    text: str
    at: float  # seconds since the start


def record(command: list[str]) -> list[Line]:
    """Run a command on a terminal of its own, and note when each line came."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "MAKEFLAGS": "-s"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    lines: list[Line] = []
    rest = b""
    while True:
        select.select([ours], [], [])
        now = time.monotonic()
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # Linux: every other end is closed
            data = b""
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        lines += [Line(indent_first(raw.decode(errors="replace").rstrip("\r")), now) for raw in whole]
    os.close(ours)
    if status := process.wait():
        sys.exit(f"{' '.join(command)} failed with status {status}: nothing was drawn")
    return lines


def indent_first(text: str) -> str:
    """Blanks before colours, which show the same."""
    return re.sub(r"^((?:\033\[[0-9;]*m)+)( +)", r"\2\1", text)


def shorten(lines: list[Line]) -> None:
    """Count from the first line, and cut long pauses."""
    shown, before = TYPED, lines[0].at
    for line in lines:
        shown += min(line.at - before, LONGEST_PAUSE)
        before, line.at = line.at, shown


def spans(text: str) -> str:
    """The colours of a terminal (SGR) as classes; spaces that no renderer joins."""
    out, style = [], ""
    for part in re.split(r"(\033\[[0-9;]*m)", text):
        if part.startswith("\033["):
            style = CLASS.get(part[2:-1], "")
        elif part:
            words = escape(part, quote=False).replace("  ", "\u00a0\u00a0")
            out.append(f'<tspan class="{style}">{words}</tspan>' if style else words)
    return "".join(out)


def rows(lines: list[Line], first: int) -> str:
    """Lines of text; a blank one has no element. Renderers trim, so x indents."""
    out = []
    for row, line in enumerate(lines[first:]):
        text = line.text.lstrip(" ")
        x = MARGIN + (len(line.text) - len(text)) * WIDTH
        if text:
            out.append(f'<text x="{x:g}" y="{(row + 1) * HEIGHT - 5}">{spans(text)}</text>')
    return "\n".join(out)


def frame(body: str) -> str:
    """A window around the text."""
    width = round(COLUMNS * WIDTH) + 2 * MARGIN
    height = ROWS * HEIGHT + BAR + MARGIN
    lights = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * i}" cy="17" r="6" fill="{colour}"/>'
        for i, colour in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<title>make demo: without Leash every worker outlives its parent; with Leash none does</title>
<style>
text {{ font: {SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #c9d1d9 }}
.b {{ fill: #fff; font-weight: bold }} .d {{ fill: #8b949e }} .r {{ fill: #ff7b72 }} .g {{ fill: #56d364; font-weight: bold }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
{lights}
<svg y="{BAR}" width="{width}" height="{ROWS * HEIGHT}">
{body}
</svg>
</svg>
"""


def still(lines: list[Line]) -> str:
    """The last screen."""
    return frame(rows(lines, max(0, len(lines) - ROWS)))


def animated(lines: list[Line]) -> str:
    """The whole text, of which more and more is uncovered, and which scrolls."""
    total = lines[-1].at + HOLD
    steps: dict[float, int] = {}  # moment: how many lines there are
    for number, line in enumerate(lines, 1):
        steps[round(line.at / total, 4)] = number
    times = ";".join(f"{moment:g}" for moment in steps)
    heights = ";".join(str(n * HEIGHT) for n in steps.values())
    shifts = ";".join(f"0 {-max(0, n - ROWS) * HEIGHT}" for n in steps.values())
    how = f'calcMode="discrete" dur="{total:.2f}s" repeatCount="indefinite" keyTimes="{times}"'
    return frame(f"""<clipPath id="shown"><rect width="100%" height="{HEIGHT}">
<animate attributeName="height" {how} values="{heights}"/>
</rect></clipPath>
<g>
<animateTransform attributeName="transform" type="translate" {how} values="{shifts}"/>
<g clip-path="url(#shown)">
{rows(lines, 0)}
</g>
</g>""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs", metavar="FOLDER",
                        help="where to write both pictures (default: %(default)s)")
    parser.add_argument("--watchdog", metavar="FILE",
                        help="record this program (default: build one, as make demo does)")
    options = parser.parse_args()
    demo = [sys.executable, "-B", "demo/demo.py", "--watchdog", options.watchdog]
    lines = record(demo if options.watchdog else COMMAND)
    shorten(lines)
    lines.insert(0, Line("$ " + " ".join(COMMAND), 0.0))
    for line in lines:
        if len(re.sub(r"\033\[[0-9;]*m", "", line.text)) > COLUMNS:
            sys.exit(f"wider than {COLUMNS} columns: {line.text}")
    for name, draw in (("demo.svg", animated), ("demo-still.svg", still)):
        path = options.to / name
        path.write_text(draw(lines), encoding="utf-8")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {len(lines)} lines")


if __name__ == "__main__":
    main()
