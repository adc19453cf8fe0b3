#!/usr/bin/env python3
"""Turns coloured terminal text into an SVG picture: `hotspan report RUN --color always | docs/terminal_picture.py OUT.svg`.

Understands what hotspan's reports use of ANSI: bold, dim, and the 256 colours. Needs nothing but Python.
"""
import html
import re
import sys

CELL, LINE, PAD, SIZE = 7.8, 17, 18, 13
BACKGROUND, TEXT, DIM = "#11151c", "#d7dde8", "#8b95a7"
BASE = ["#1b1f27", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dde8",
        "#6b7486", "#ff7b86", "#b5e890", "#ffd68a", "#82c6ff", "#e39bff", "#7fdbe6", "#ffffff"]


def color256(n):
    if n < 16:
        return BASE[n]
    if n >= 232:
        v = 8 + 10 * (n - 232)
        return f"#{v:02x}{v:02x}{v:02x}"
    n -= 16
    level = [0, 95, 135, 175, 215, 255]
    return "#%02x%02x%02x" % (level[n // 36], level[n // 6 % 6], level[n % 6])


def runs(line, state):
    """Yields (column, text, style) for each stretch of one style; `state` goes on to the next line."""
    column = 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            apply(part[2:-1], state)
        elif part:
            # Browsers fold several spaces into one: they are left out, and what stands between them has its place.
            for word in re.finditer(r".+" if "bg" in state else r"\S+(?: \S+)*", part):
                yield column + word.start(), word.group(), dict(state)
            column += len(part)


def apply(codes, state):
    numbers = [int(c or 0) for c in codes.split(";")]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            state.clear()
        elif code == 1:
            state["bold"] = True
        elif code == 2:
            state["dim"] = True
        elif code == 22:
            state.pop("bold", None), state.pop("dim", None)
        elif code in (38, 48) and numbers[:1] == [5]:
            state["fg" if code == 38 else "bg"] = color256(numbers[1])
            del numbers[:2]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            state["fg"] = BASE[code - 30 if code < 90 else code - 82]
        elif code == 39:
            state.pop("fg", None)
        elif code == 49:
            state.pop("bg", None)


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = 2 * PAD + CELL * max(map(len, plain))
    height = 2 * PAD + LINE * len(lines)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">',
           '<title>hotspan in a terminal</title>',
           f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
           f'<g font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, Consolas, monospace" font-size="{SIZE}" '
           f'fill="{TEXT}" xml:space="preserve">']
    state = {}
    for row, line in enumerate(lines):
        y = PAD + LINE * row + SIZE
        for column, text, style in runs(line, state):
            x = PAD + CELL * column
            if "bg" in style:
                out.append(f'<rect x="{x:.1f}" y="{y - SIZE:.0f}" width="{CELL * len(text):.1f}" height="{LINE}" fill="{style["bg"]}"/>')
            if not text.strip():
                continue
            fill = style.get("fg") or (DIM if style.get("dim") else None)
            attributes = (f' fill="{fill}"' if fill else "") + (' font-weight="700"' if style.get("bold") else "")
            out.append(f'<text x="{x:.1f}" y="{y}" textLength="{CELL * len(text):.1f}" lengthAdjust="spacingAndGlyphs"'
                       f'{attributes}>{html.escape(text)}</text>')
    out.append("</g></svg>")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
