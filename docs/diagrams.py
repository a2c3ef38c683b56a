"""Draw the diagrams of the documentation: docs/diagrams/*.txt -> docs/figures/*.svg.

    python docs/diagrams.py

Both are committed; a test fails if they differ. Each line of a source is one of

    title TEXT                                  for screen readers
    row CELL | CELL | ...                         boxes from left to right; `_` is an empty cell
    edge FROM -> TO [LABEL] [dashed]
    group ID TITLE: ID ID ...                   a frame around boxes; edges may lead to it

and a cell is `STYLE ID TITLE [DETAIL ...]`, in which STYLE is `data`, `step` or `store`. Rows are as wide as the
picture, so boxes of rows with the same number of cells stand below each other.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
# All sizes are pixels.
WIDTH = 820
MARGIN = 24
GAP = 40  # between rows, and the least between columns
LINE = 17
PADDING = 10
LETTER = 6.9  # average width of a letter of a detail
STYLES = {"data": ("#eef4fb", "#3b6ea5", 16), "step": ("#ffffff", "#44505c", 4), "store": ("#fdf3e1", "#b07a1e", 4)}


@dataclass
class Box:
    style: str
    title: str
    details: list[str]
    x: float = 0.0  # centre
    y: float = 0.0  # top
    width: float = 0.0
    height: float = 0.0


@dataclass
class Edge:
    source: str
    target: str
    label: str
    dashed: bool


@dataclass
class Diagram:
    title: str = ""
    rows: list[list[str | None]] = field(default_factory=list)
    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    frames: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


def parse(text: str) -> Diagram:
    diagram = Diagram()
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "title":
            diagram.title = rest
        elif word == "row":
            diagram.rows.append([_cell(diagram, cell.strip()) for cell in rest.split("|")])
        elif word == "edge":
            source, _, target, *more = shlex.split(rest)
            labels = [each for each in more if each != "dashed"]
            diagram.edges.append(Edge(source, target, labels[0] if labels else "", "dashed" in more))
        elif word == "group":
            head, _, names = rest.partition(":")
            frame, _, title = head.partition(" ")
            diagram.frames[frame] = title.strip(), names.split()
        elif word and not word.startswith("#"):
            raise ValueError(f"unknown line: {line}")
    return diagram


def _cell(diagram: Diagram, text: str) -> str | None:
    if text == "_":
        return None
    style, name, title, *details = shlex.split(text)
    diagram.boxes[name] = Box(style, title, details)
    return name


def svg(text: str) -> str:
    """The picture of a diagram."""
    diagram = parse(text)
    height = _place(diagram)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}"'
        f' height="{height:g}" font-family="system-ui, sans-serif" font-size="12.5" role="img">',
        f"<title>{escape(diagram.title)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#44505c"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height:g}" rx="8" fill="#ffffff"/>',
    ]
    frames = {
        name: _frame(title, [diagram.boxes[each] for each in names]) for name, (title, names) in diagram.frames.items()
    }
    parts += [_drawn_frame(frame) for frame in frames.values()]
    parts += _lines(diagram.edges, diagram.boxes | frames)
    parts += [_drawn(box) for box in diagram.boxes.values()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _place(diagram: Diagram) -> float:
    """Set the places and sizes of all boxes; returns the height of the picture."""
    framed = {names[0] for _, names in diagram.frames.values()}
    top = MARGIN
    for row in diagram.rows:
        boxes = [diagram.boxes[name] for name in row if name]
        if framed & set(row):
            top += LINE + PADDING  # for the title of the frame
        height = 2 * PADDING + LINE * (1 + max(len(box.details) for box in boxes))
        column = (WIDTH - 2 * MARGIN) / len(row)
        for number, name in enumerate(row):
            if name:
                box = diagram.boxes[name]
                longest = max([len(box.title) * 1.15, *(len(line) for line in box.details)])
                box.x, box.y, box.height = MARGIN + column * (number + 0.5), top, height
                box.width = min(column - GAP / 2, max(110.0, longest * LETTER + 2 * PADDING + 6))
        top += height + GAP
    return top - GAP + MARGIN


def _frame(title: str, boxes: list[Box]) -> Box:
    left = min(box.x - box.width / 2 for box in boxes) - PADDING
    right = max(box.x + box.width / 2 for box in boxes) + PADDING
    top = min(box.y for box in boxes) - LINE - 6
    bottom = max(box.y + box.height for box in boxes) + PADDING
    return Box("frame", title, [], (left + right) / 2, top, right - left, bottom - top)


def _drawn_frame(frame: Box) -> str:
    left = frame.x - frame.width / 2
    return (
        f'<rect x="{left:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" height="{frame.height:.1f}" rx="8"'
        ' fill="#f6f7f8" stroke="#a8b0b8" stroke-dasharray="5 4"/>'
        f'<text x="{left + PADDING:.1f}" y="{frame.y + LINE - 1:.1f}" fill="#5b6670">{escape(frame.title)}</text>'
    )


def _lines(edges: list[Edge], boxes: dict[str, Box]) -> list[str]:
    """The arrows. Those that meet at one side of a box are spread along it."""
    # By box and side: the place of the other box, the number of the edge, and which of its ends this is.
    ends: dict[tuple[str, str], list[tuple[float, int, int]]] = defaultdict(list)
    sides: list[tuple[str, str]] = []
    for number, edge in enumerate(edges):
        one, other = boxes[edge.source], boxes[edge.target]
        if one.y == other.y:
            pair = ("right", "left") if one.x < other.x else ("left", "right")
        else:
            pair = ("bottom", "top") if one.y < other.y else ("top", "bottom")
        sides.append(pair)
        ends[edge.source, pair[0]].append((other.x, number, 0))
        ends[edge.target, pair[1]].append((one.x, number, 1))
    points: dict[tuple[int, int], tuple[float, float]] = {}
    for (name, side), those in ends.items():
        box = boxes[name]
        for position, (_, number, end) in enumerate(sorted(those), start=1):
            share = position / (len(those) + 1) - 0.5
            points[number, end] = {
                "top": (box.x + share * box.width, box.y),
                "bottom": (box.x + share * box.width, box.y + box.height),
                "left": (box.x - box.width / 2, box.y + (share + 0.5) * box.height),
                "right": (box.x + box.width / 2, box.y + (share + 0.5) * box.height),
            }[side]
    drawn = []
    for number, edge in enumerate(edges):
        (x1, y1), (x2, y2) = points[number, 0], points[number, 1]
        if sides[number][0] in ("top", "bottom") and abs(x1 - x2) < PADDING:
            x2 = x1  # straight instead of a small step
        if sides[number][0] in ("left", "right") or x1 == x2:
            path, label_x, label_y = f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", (x1 + x2) / 2, (y1 + y2) / 2 - 5
            anchor = "middle"
            if x1 == x2:
                label_x, label_y, anchor = x1 + 6, (y1 + y2) / 2 + 4, "start"
        else:
            bend = y2 - GAP / 2 if y2 > y1 else y2 + GAP / 2
            path = f"M{x1:.1f} {y1:.1f}V{bend:.1f}H{x2:.1f}V{y2:.1f}"
            label_x, label_y, anchor = (x1 + x2) / 2, bend - 5, "middle"
        dash = ' stroke-dasharray="4 4"' if edge.dashed else ""
        drawn.append(f'<path d="{path}" fill="none" stroke="#44505c"{dash} marker-end="url(#arrow)"/>')
        if edge.label:
            drawn.append(
                f'<text x="{label_x:.1f}" y="{label_y:.1f}" text-anchor="{anchor}" font-size="11.5"'
                f' fill="#5b6670">{escape(edge.label)}</text>'
            )
    return drawn


def _drawn(box: Box) -> str:
    fill, stroke, radius = STYLES[box.style]
    lines = [box.title, *box.details]
    first = box.y + (box.height - LINE * len(lines)) / 2 + LINE - 4
    texts = "".join(
        f'<text x="{box.x:.1f}" y="{first + LINE * number:.1f}" text-anchor="middle" fill="#1d242b"'
        f' font-weight="{400 if number else 600}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
        f' rx="{radius}" fill="{fill}" stroke="{stroke}"/>{texts}'
    )


def main() -> None:
    for source in sorted((DOCS / "diagrams").glob("*.txt")):
        (DOCS / "figures" / f"{source.stem}.svg").write_text(svg(source.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
