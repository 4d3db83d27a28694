"""Records a command in a terminal as an animated SVG: the picture in the README.

.venv/bin/pip install pyte
.venv/bin/python tools/record_terminal.py docs/images/demo.svg -- .venv/bin/server-jobs demo

The command runs in a pseudo-terminal, and pyte keeps the screen. The frames of the film lie one
below the other in the picture; an animation moves them past the window. A viewer without
animations, or one who asked for reduced motion, sees the last frame. The picture names fonts of
the viewer's system and loads nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyte

FOREGROUND, BACKGROUND, BAR = "#d6dae2", "#14171f", "#20242f"
PALETTE = {
    "default": FOREGROUND,
    "black": "#14171f",
    "red": "#f0717b",
    "green": "#8fce7a",
    "brown": "#e3bf6c",
    "blue": "#6cb0f5",
    "magenta": "#d08be8",
    "cyan": "#5cc8d6",
    "white": FOREGROUND,
    "brightblack": "#8089a0",
}
CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR_HEIGHT = 8.4, 17, 14, 30


@dataclass(frozen=True)
class Run:
    """Characters of one row that look alike, and the column of the first one."""

    column: int
    text: str
    color: str
    bold: bool


Row = tuple[Run, ...]


@dataclass(frozen=True)
class Frame:
    """What the screen showed, and from which second on."""

    at: float
    rows: tuple[Row, ...]


def record(
    command: list[str], shown: str, columns: int, lines: int, interval: float
) -> list[Frame]:
    """Run the command to its end → the frames, at most one per interval.

    Raises CalledProcessError for a command that fails.
    """
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[90m$\x1b[0m {shown}\r\n".encode())
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "", "NO_COLOR": ""}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)

    began = time.monotonic()
    frames = [Frame(0, rows_of(screen))]
    while True:
        left = interval - (time.monotonic() - began - frames[-1].at)
        ready, _, _ = select.select([master], [], [], max(left, 0.01))
        if ready:
            try:
                output = os.read(master, 65536)
            except OSError:  # On Linux, this means that the command has ended.
                break
            if not output:
                break
            stream.feed(with_grey_for_dim(output))
        now = time.monotonic() - began
        if now - frames[-1].at >= interval and (rows := rows_of(screen)) != frames[-1].rows:
            frames.append(Frame(now, rows))
    os.close(master)
    if status := process.wait():
        raise subprocess.CalledProcessError(status, command)
    frames.append(Frame(time.monotonic() - began, rows_of(screen)))
    return frames


def with_grey_for_dim(output: bytes) -> bytes:
    """Replace the attribute `dim`, which pyte doesn't know, by the color grey."""

    def replaced(found: re.Match[bytes]) -> bytes:
        codes = found[1].split(b";")
        after_color = {i + 1 for i, code in enumerate(codes) if code in {b"38", b"48"}}
        return b"\x1b[%bm" % b";".join(
            b"90" if code == b"2" and i not in after_color else code for i, code in enumerate(codes)
        )

    return re.sub(rb"\x1b\[([\d;]*)m", replaced, output)


def rows_of(screen: pyte.Screen) -> tuple[Row, ...]:
    """Return the screen as it is now, blanks at the ends of rows left out."""
    return tuple(row_of(screen, line) for line in range(screen.lines))


def row_of(screen: pyte.Screen, line: int) -> Row:
    """Return one row of the screen."""
    runs = []
    cells = enumerate(screen.buffer[line][column] for column in range(screen.columns))
    for (color, bold), group in groupby(cells, key=lambda cell: (cell[1].fg, cell[1].bold)):
        alike = list(group)
        text = "".join(cell.data for _, cell in alike).rstrip()
        column = alike[0][0] + len(text) - len(text.lstrip())
        if text:
            runs.append(Run(column, text.lstrip(), PALETTE.get(color, f"#{color}"), bold))
    return tuple(runs)


def svg(frames: list[Frame], columns: int, lines: int, title: str, hold: float) -> str:
    """Return the film as an SVG whose last frame stays for `hold` seconds."""
    width = round(columns * CELL_WIDTH + 2 * MARGIN)
    inner = lines * CELL_HEIGHT
    height = inner + 2 * MARGIN + BAR_HEIGHT
    distinct = list(dict.fromkeys(row for frame in frames for row in frame.rows if row))
    names = {row: f"r{number}" for number, row in enumerate(distinct)}
    length = frames[-1].at + hold
    steps = "".join(
        f"{100 * frame.at / length:.2f}%{{transform:translateY({-number * inner}px)}}"
        for number, frame in enumerate(frames)
    )
    last = -(len(frames) - 1) * inner
    defs = "\n".join(f'<g id="{names[row]}">{texts(row)}</g>' for row in distinct)
    film = "\n".join(
        "".join(
            f'<use href="#{names[row]}" y="{number * inner + line * CELL_HEIGHT}"/>'
            for line, row in enumerate(frame.rows)
            if row
        )
        for number, frame in enumerate(frames)
    )
    dots = "".join(
        f'<circle cx="{18 + 18 * number}" cy="{BAR_HEIGHT / 2}" r="5.5" fill="{color}"/>'
        for number, color in enumerate(("#f0717b", "#e3bf6c", "#8fce7a"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
<title id="title">{html.escape(title)}</title>
<style>
text{{font:13.5px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
white-space:pre}}
.b{{font-weight:bold}}
.film{{transform:translateY({last}px);animation:film {length:.2f}s step-end infinite}}
@keyframes film{{{steps}}}
@media (prefers-reduced-motion:reduce){{.film{{animation:none}}}}
</style>
<defs>
{defs}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>
<path d="M0 {BAR_HEIGHT}V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8V{BAR_HEIGHT}z" fill="{BAR}"/>
{dots}
<svg x="{MARGIN}" y="{MARGIN + BAR_HEIGHT}" width="{width - 2 * MARGIN}" height="{inner}">
<g class="film">
{film}
</g>
</svg>
</svg>
"""


def texts(row: Row) -> str:
    """Return the runs of a row; each is as wide as its cells, whatever the font."""
    return "".join(
        f'<text x="{run.column * CELL_WIDTH:.1f}" y="{CELL_HEIGHT - 4}"'
        f' textLength="{len(run.text) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
        f' fill="{run.color}"{" class=" + chr(34) + "b" + chr(34) if run.bold else ""}>'
        f"{html.escape(run.text, quote=False)}</text>"
        for run in row
    )


def main() -> None:
    """Read the arguments, record, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="the file to write")
    parser.add_argument("command", nargs="+", help="what to run, behind `--`")
    parser.add_argument("--shown", help="the command as the picture shows it")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--lines", type=int, default=32)
    parser.add_argument("--interval", type=float, default=0.4, help="seconds between two frames")
    parser.add_argument("--hold", type=float, default=8, help="how long the last frame stays")
    chosen = parser.parse_args()
    name = Path(chosen.command[0]).name
    shown = chosen.shown or " ".join([name, *chosen.command[1:]])
    frames = record(chosen.command, shown, chosen.columns, chosen.lines, chosen.interval)
    title = f"A terminal that runs `{shown}`"
    picture = svg(frames, chosen.columns, chosen.lines, title, chosen.hold)
    chosen.picture.write_text(picture, encoding="utf-8")
    print(f"{chosen.picture}: {len(frames)} frames, {len(picture):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
