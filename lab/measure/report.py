"""Figures of an evaluation as Markdown, and the page of docs/ that contains them.

Only the part of the page between `<!-- measured -->` and `<!-- /measured -->`, or another such pair of marks, is
written; the rest stays as it is.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lab.data import queries
from lab.measure import answers as kept
from lab.measure.answers import CLOSE, SONGPRINT, VERY_CLOSE, Answer, Run
from lab.program import table
from songprint.errors import SongprintError

MEASURED, TIMELINES, SURROUNDINGS, SCALE = "measured", "timelines", "surroundings", "scale"  # marks in a page
SPEED_TOLERANCE = 0.005  # a reported speed is correct within this
BY_CHANCE = 0.05  # a difference with a higher probability under equal systems may be chance


class PageError(Exception):
    """The page cannot be written. The message contains the remedy."""


@dataclass(frozen=True)
class Row:
    """One figure, for every system."""

    name: str
    values: dict[str, float]  # by system
    shown: dict[str, str]
    more_is_better: bool = True
    # Probability of a difference to each peer; None if the figure is not a share of queries.
    chance: dict[str, float] | None = None


def check(page: Path) -> None:
    """Raise PageError where `into_page` would fail, before hours of measuring."""
    if find_spec("matplotlib") is None:
        raise PageError("the plots need matplotlib: pip install -r lab/requirements.txt, or leave out --report")
    check_page(page)


def check_page(page: Path, mark: str = MEASURED) -> None:
    """Raise PageError where `put` would fail."""
    begin, end = _lines(mark)
    if page.exists() and not 0 <= (text := page.read_text(encoding="utf-8")).find(begin) < text.find(end):
        raise PageError(f"{page} has no lines {begin} and {end}. Add them where the figures should go")


def into_page(page: Path, run: Run, answers: Sequence[Answer]) -> None:
    """Write figures and plots into the page; create it if it does not exist."""
    from lab.measure import plots

    check(page)
    drawn = plots.draw(run, answers, page.parent / "figures")
    images = "\n".join(f"![{words}](figures/{name})" for name, words in drawn.items())
    put(page, f"{text(run, answers)}\n\n{images}", title="Accuracy")


def put(page: Path, figures: str, *, title: str, mark: str = MEASURED) -> None:
    """Write the figures between the marks of a page; create it with its title if it does not exist."""
    check_page(page, mark)
    begin, end = _lines(mark)
    before, after = f"# {title}\n\n", "\n"
    if page.exists():
        whole = page.read_text(encoding="utf-8")
        before, after = whole.split(begin, 1)[0], whole.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n\n{figures}\n\n{end}{after}", encoding="utf-8")


@contextmanager
def written(page: Path | None, title: str, mark: str = MEASURED) -> Iterator[Callable[[str], None]]:
    """Check the page before hours of measuring, and give a function that prints figures and writes them into the page.

    Errors of users exit the program with their message.
    """
    try:
        if page:
            check_page(page, mark)

        def write(figures: str) -> None:
            print(figures)
            if page:
                put(page, figures, title=title, mark=mark)

        yield write
    except (PageError, SongprintError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _lines(mark: str) -> tuple[str, str]:
    return f"<!-- {mark} -->", f"<!-- /{mark} -->"


def text(run: Run, answers: Sequence[Answer]) -> str:
    levels = kept.thresholds(run, answers)
    rows = compared(run, answers, levels)
    ours = kept.of(answers, SONGPRINT)
    parts = [
        origin(run, ours),
        f"## {headline(ours)}",
        compared_table(rows, list(levels)),
        worse_than_peers(rows),
        false_accepts(run, answers),
        as_shipped(run, ours),
        "## Songprint by condition and length",
        by_length(ours, levels[SONGPRINT]),
    ]
    wide = wide_rows(run, answers, levels)
    if wide:
        parts += [
            "## Extended grid",
            "At the thresholds of the first table.",
            compared_table(wide, list(levels)),
            worse_than_peers(wide),
        ]
    parts += [
        "## Calibration of the confidence",
        confidence(ours),
        "## Accuracy of the speed",
        speeds(ours, levels[SONGPRINT]),
    ]
    return "\n\n".join(parts)


def origin(run: Run, ours: Sequence[Answer]) -> str:
    main, nothing = [a for a in ours if a.main], [a for a in ours if not a.length]
    known = sum(a.known for a in main)
    wide = len(ours) - len(main) - len(nothing)
    return "\n".join(
        [
            f"    {run.command}",
            "",
            f"{run.recordings} recordings, {run.hours:.1f} h; {known} known clips, "
            f"{len(main) - known} of unknown music, {len(nothing)} of silence, tones, noise and speech"
            + (f"; {wide} clips of the extended grid" if wide else "")
            + f". {run.machine}.",
            "",
            *(
                "- " + "; ".join(filter(None, [f"{system.name}: {system.version}", system.note]))
                for system in run.systems
            ),
        ]
    )


def headline(ours: Sequence[Answer]) -> str:
    count = len(kept.unknown(ours))
    if count >= kept.queries_needed(kept.RATES[0]):
        return "Recall (%) at FAR 1%"
    return f"Recall (%) without false accepts ({count} unknown clips were measured; FAR 1% needs 100)"


def compared(run: Run, answers: Sequence[Answer], levels: dict[str, float]) -> list[Row]:
    known = [a for a in answers if a.main and a.known]
    rows = [
        _recall_row(condition, [a for a in known if a.condition == condition], levels)
        for condition in queries.CONDITIONS
        if any(a.condition == condition for a in known)
    ]
    rows += [
        _recall_row(f"**{length:g} s**", [a for a in known if a.length == length], levels)
        for length in queries.LENGTHS
        if any(a.length == length for a in known)
    ]
    rows.append(_recall_row("**all** (95% interval)", known, levels, interval=True))
    rows.append(_row("all, with a threshold for each length", _recall_by_own_length(answers, list(levels))))
    correct = {
        name: [a for a in kept.accepted(kept.of(known, name), level) if a.correct] for name, level in levels.items()
    }
    rows += [
        _row(
            f"position within {most:g} s, of those",
            {name: kept.share(a.within(most) for a in some) for name, some in correct.items()},
        )
        for most in (CLOSE, VERY_CLOSE)
    ]
    wrong = {
        name: kept.share(not a.correct and a.score >= level for a in kept.of(known, name))
        for name, level in levels.items()
    }
    false = {
        name: kept.share(a.score >= level for a in kept.of(answers, name) if not a.length)
        for name, level in levels.items()
    }
    return [
        *rows,
        _row("wrong names for known clips", wrong, more_is_better=False),
        _row("silence, tones, noise, speech: false accepts", false, more_is_better=False),
        *effort(run, answers),
    ]


def _recall_by_own_length(answers: Sequence[Answer], systems: Sequence[str]) -> dict[str, float]:
    """Recall at the same rate for scores whose meaning depends on the length of the query."""
    values = {}
    for system in systems:
        own = [a for a in kept.of(answers, system) if a.main]
        levels = {
            length: kept.level([a for a in kept.unknown(own) if a.length == length], kept.RATES[0])
            for length in {a.length for a in own if not a.known}
        }
        values[system] = kept.share(a.correct and a.score >= levels.get(a.length, math.inf) for a in own if a.known)
    return values


def effort(run: Run, answers: Sequence[Answer]) -> list[Row]:
    times = {
        system.name: np.array(
            [a.elapsed for a in kept.of(answers, system.name) if a.main and a.length == max(queries.LENGTHS)]
            or [math.nan]
        )
        * 1000
        for system in run.systems
    }
    return [
        _row("adding, times real time", {s.name: s.times_real_time for s in run.systems}, "{:.0f}"),
        _row("MB per hour of music", {s.name: s.megabytes_per_hour for s in run.systems}, "{:.2f}", False),
        _row("ms for a 10 s clip, median", {n: float(np.median(t)) for n, t in times.items()}, "{:.0f}", False),
        _row(
            "ms for a 10 s clip, 95th percentile",
            {n: float(np.quantile(t, 0.95)) for n, t in times.items()},
            "{:.0f}",
            False,
        ),
    ]


def _row(name: str, values: dict[str, float], form: str = "{:.1f}", more_is_better: bool = True) -> Row:
    return Row(name, values, {system: _shown(value, form) for system, value in values.items()}, more_is_better)


def _shown(value: float, form: str = "{:.1f}") -> str:
    return "-" if math.isnan(value) else form.format(value)


def _recall_row(name: str, known: Sequence[Answer], levels: dict[str, float], *, interval: bool = False) -> Row:
    measured = {system: kept.of(known, system) for system in levels}
    values = {system: kept.recall(some, levels[system]) for system, some in measured.items()}
    shown = {system: _shown(value) for system, value in values.items()}
    if interval:
        for system, some in measured.items():
            correct = sum(a.correct for a in kept.accepted(some, levels[system]))
            shown[system] += " ({:.1f} to {:.1f})".format(*kept.wilson(correct, len(some)))
    chance = {
        peer: kept.chance(measured[SONGPRINT], measured[peer], levels[SONGPRINT], levels[peer])
        for peer in levels
        if peer != SONGPRINT
    }
    return Row(name, values, shown, chance=chance)


def compared_table(rows: Sequence[Row], systems: Sequence[str]) -> str:
    return table(["condition", *systems], [[row.name, *(row.shown[system] for system in systems)] for row in rows])


def worse_than_peers(rows: Sequence[Row]) -> str:
    """List the figures in which Songprint is worse than a peer."""
    lines = []
    for peer in [name for name in rows[0].values if name != SONGPRINT]:
        worse = [
            f"{row.name.replace('*', '').removesuffix(' (95% interval)')} ({_shown_pair(row, peer)})"
            for row in rows
            if _worse(row, peer)
        ]
        lines.append(f"Worse than {peer}: {'; '.join(worse) or 'nothing in this table'}.")
    return "\n\n".join(lines)


def _worse(row: Row, peer: str) -> bool:
    """Whether Songprint is worse in the figures as shown, after rounding."""
    ours, theirs = row.values[SONGPRINT], row.values[peer]
    return row.shown[SONGPRINT] != row.shown[peer] and (ours < theirs if row.more_is_better else ours > theirs)


def _shown_pair(row: Row, peer: str) -> str:
    ours, theirs = (row.shown[system].partition(" (")[0] for system in (SONGPRINT, peer))
    may_be_chance = row.chance is not None and row.chance[peer] > BY_CHANCE
    return f"{ours} against {theirs}" + (", may be chance" if may_be_chance else "")


def false_accepts(run: Run, answers: Sequence[Answer]) -> str:
    """Recall of each system at every false-accept rate that the number of unknown queries can measure."""
    count = len(kept.unknown(kept.of(answers, SONGPRINT)))
    possible = [rate for rate in kept.RATES if count >= kept.queries_needed(rate)]
    missing = [
        f"FAR {100 * rate:g}% needs {kept.queries_needed(rate):,}" for rate in kept.RATES if rate not in possible
    ]
    rows = []
    for system in run.systems:
        own = [a for a in kept.of(answers, system.name) if a.main]
        known, unknown = [a for a in own if a.known], kept.unknown(own)
        at = [kept.level(unknown, rate) for rate in possible]
        cells = [f"{kept.recall(known, level):.1f} ({level:.3g})" for level in at]
        rows.append([system.name, *cells, f"{kept.share(a.correct for a in known):.1f}"])
    rates = [f"FAR {100 * rate:g}% (threshold)" for rate in possible]
    note = f"\n\n{count} unknown clips were measured; {', '.join(missing)}." if missing else ""
    return table(["recall (%), all lengths", *rates, "correct name first, no threshold"], rows) + note


def as_shipped(run: Run, ours: Sequence[Answer]) -> str:
    known, unknown = [a for a in ours if a.main and a.known], kept.unknown(ours)
    accepted, false = kept.accepted(known, run.threshold), kept.accepted(unknown, run.threshold)
    nothing = sorted({a.condition for a in ours if not a.length and a.score >= run.threshold})
    at_length = ", ".join(
        f"{length:g} s: {sum(a.score >= run.threshold for a in some)} of {len(some)}"
        for length in queries.LENGTHS
        if (some := [a for a in unknown if a.length == length])
    )
    correct = [a for a in accepted if a.correct]
    return "\n".join(
        [
            f"Songprint at the default threshold (confidence {run.threshold:g}):",
            "",
            f"- recall {kept.recall(known, run.threshold):.1f}%; wrong names for known clips: "
            f"{len(accepted) - len(correct)} of {len(known)}",
            f"- false accepts: {len(false)} of {len(unknown)} unknown clips ({at_length}){_as_whom(false)}",
            "- silence, tones, noise, speech: "
            + (f"false accepts in {', '.join(nothing)}" if nothing else "no false accepts"),
            f"- position within {CLOSE:g} s {_shown(kept.share(a.within(CLOSE) for a in correct))}%, "
            f"within {VERY_CLOSE:g} s {_shown(kept.share(a.within(VERY_CLOSE) for a in correct))}%",
        ]
    )


def _as_whom(wrong: Sequence[Answer]) -> str:
    """List which files were reported for which: some may not be as unknown as assumed."""
    pairs = Counter(f"{a.track} for {a.reported}" for a in wrong if a.track)
    return "".join(f"; {times} x {pair}" for pair, times in pairs.most_common())


def by_length(ours: Sequence[Answer], threshold: float) -> str:
    """Recall at a threshold in percent: one row per condition, one column per length."""
    known = [a for a in ours if a.main and a.known]
    lengths = sorted({a.length for a in known})
    rows = []
    for condition in [*(c for c in queries.CONDITIONS if any(a.condition == c for a in known)), "all"]:
        chosen = [a for a in known if condition in (a.condition, "all")]
        accepted = kept.accepted(chosen, threshold)
        correct = [a for a in accepted if a.correct]
        figures = [
            *(kept.recall([a for a in chosen if a.length == length], threshold) for length in lengths),
            kept.recall(chosen, threshold),
            kept.share(a.within(CLOSE) for a in correct),
            kept.share(a.within(VERY_CLOSE) for a in correct),
        ]
        rows.append([condition, *map(_shown, figures), len(accepted) - len(correct)])
    columns = [*(f"{length:g} s" for length in lengths), "all", "position within 0.5 s", "within 0.1 s", "wrong names"]
    return table(["condition", *columns], rows)


def wide_rows(run: Run, answers: Sequence[Answer], levels: dict[str, float]) -> list[Row]:
    wide = [a for a in answers if a.length and not a.main]
    known = [a for a in wide if a.known]
    pairs = [pair for pair in queries.WIDE if any((a.condition, a.length) == pair for a in known)]
    rows = [
        _recall_row(
            f"{condition}, {length:g} s", [a for a in known if (a.condition, a.length) == (condition, length)], levels
        )
        for condition, length in pairs
    ]
    unknown = [a for a in wide if not a.known]
    if rows and unknown:
        rows.append(
            _row(
                "unknown clips of this grid: false accepts",
                {name: kept.share(a.score >= level for a in kept.of(unknown, name)) for name, level in levels.items()},
                more_is_better=False,
            )
        )
    return rows


def confidence(ours: Sequence[Answer]) -> str:
    """How often matches of each range of confidence are correct, over known and unknown music."""
    main = [a for a in ours if a.main]
    bins = kept.reliability(main, 5)
    rows = [
        [
            f"{start:.0f} to {end:.0f}",
            len(part),
            sum(a.correct for a in part),
            _shown(float(np.mean([a.score for a in part])) if part else math.nan),
            _shown(kept.share(a.correct for a in part)),
        ]
        for start, end, part in bins
    ]
    top = bins[-1][2]
    known = sum(a.known for a in main)
    return "\n".join(
        [
            table(["confidence", "matches", "correct", "mean confidence", "correct (%)"], rows),
            "",
            f"Of {len(top)} matches with confidence 80 to 100, {sum(a.correct for a in top)} are correct. Expected "
            f"calibration error {kept.calibration_error(main):.3f} (ten bins; {known} known and {len(main) - known} "
            "unknown clips).",
        ]
    )


def speeds(ours: Sequence[Answer], threshold: float) -> str:
    """How often the speed of correctly identified queries is correct within 0.5%."""
    identified = [a for a in kept.accepted(ours, threshold) if a.correct and a.length]
    lengths = sorted({a.length for a in identified} & set(queries.LENGTHS))
    rows = []
    for speed in sorted({a.speed for a in identified}):
        cells = []
        for length in lengths:
            some = [a.reported_speed for a in identified if (a.speed, a.length) == (speed, length)]
            correct = sum(each is not None and abs(each - speed) <= SPEED_TOLERANCE for each in some)
            cells.append(f"{correct} of {len(some)}" if some else "-")
        rows.append([f"{speed:.2f}", *cells])
    shown = table(["true speed", *(f"{length:g} s" for length in lengths)], rows)
    return f"Speed correct within 0.5%, of the correctly identified clips:\n\n{shown}"
