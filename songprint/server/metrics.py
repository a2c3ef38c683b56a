"""What Prometheus reads at /metrics, in its text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and durations of this process, and whatever numbers are asked for at the moment of reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._durations: dict[str, dict[Labels, list[float]]] = defaultdict(dict)  # counts of buckets, then the sum

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """One more of these."""
        with self._lock:
            self._counts[name][tuple(labels.items())] += amount

    def took(self, name: str, seconds: float, **labels: str) -> None:
        """Something took so long."""
        with self._lock:
            row = self._durations[name].setdefault(tuple(labels.items()), [0.0] * (len(BUCKETS) + 2))
            row[bisect_left(BUCKETS, seconds)] += 1
            row[-1] += seconds

    def text(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """Everything, and these numbers as they are now.

        >>> metrics = Metrics()
        >>> metrics.count("songprint_answers_total", kind="cover")
        >>> print(metrics.text({"songprint_recordings": {(): 3}}))
        # TYPE songprint_answers_total counter
        songprint_answers_total{kind="cover"} 1
        # TYPE songprint_recordings gauge
        songprint_recordings 3
        <BLANKLINE>
        """
        with self._lock:
            lines = [line for name, rows in sorted(self._counts.items()) for line in _family(name, "counter", rows)]
            for name, rows in sorted(self._durations.items()):
                lines += _histogram(name, rows)
        lines += [line for name, rows in sorted(gauges.items()) for line in _family(name, "gauge", rows)]
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, rows: Mapping[Labels, float]) -> Iterable[str]:
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{_braced(labels)} {_number(value)}" for labels, value in sorted(rows.items()))


def _histogram(name: str, rows: Mapping[Labels, list[float]]) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    for labels, (*counts, total) in sorted(rows.items()):
        reached = 0.0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            reached += count
            lines.append(f"{name}_bucket{_braced((*labels, ('le', bound)))} {_number(reached)}")
        lines += [f"{name}_sum{_braced(labels)} {_number(total)}", f"{name}_count{_braced(labels)} {_number(reached)}"]
    return lines


def _braced(labels: Labels) -> str:
    escaped = (value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for _, value in labels)
    inside = ",".join(f'{name}="{value}"' for (name, _), value in zip(labels, escaped, strict=True))
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
