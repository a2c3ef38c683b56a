"""Measurement of large libraries: cost and accuracy with 1,000 to 100,000 recordings, and what more would need.

    python -m lab.measure.scale --songs 100000 --music DIR --unknown DIR --keep DIR
    python -m lab.measure.scale --songs 1000,10000 ... --only queries,listing     # some of the measurements
    python -m lab.measure.scale --from DIR/scale-1000.json DIR/scale-10000.json --report docs/scale.md

Every second file of --music goes into the library and is queried. The others are the sources of distractors
(`lab.data.distractors`), recordings of 4 minutes with the statistics of real music, which fill the library up. The
program first prints how similar distractors are to queries: the best of the rows of other recordings must have the
same cosine as among real music.

Each measurement runs in a process of its own. Times are processor time of that process, so another load of the machine
changes them little; the first answer is also given in elapsed time. Measurements that change the library use a copy.
Everything is kept in --keep, and an interrupted run continues: the library (75 KB for each recording), the queries and
the figures as JSON. --songs 1000 takes minutes, --songs 100000 hours.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import songprint
from lab import program
from lab.data import degrade, queries
from lab.data.distractors import Distractors, Likeness, likeness
from lab.measure import plots, report
from lab.measure.recordings import machine, music_in
from songprint.library import Library
from songprint.store.catalog import Addition
from songprint.types import Embeddings, Kind

AT_ONCE = 250  # distractors of one transaction
COMPARED = 20_714  # rows that the likeness of distractors is measured with
NEWER = 0.05  # share of the library that is newer than the index when it is opened
PENDING = 0.1  # share of the library that is newer than the index in the measurement of a changed library
REMOVED = 1000  # recordings that are removed from it; of small libraries, at most a tenth
CHANGES = 5  # additions after which the refresh is measured
PER_CONDITION = 40  # queries of known music
UNKNOWN_PER_CONDITION = 30
HARD = (
    ("noise -5 dB", 5.0),
    ("noise 0 dB", 3.0),
    ("room + noise 0 dB", 5.0),
    ("phone", 3.0),
    ("opus 12k", 3.0),
    ("pitch +1", 5.0),
)
USUAL = (("clean", 10.0), ("mp3 32k", 10.0), ("noise 5 dB", 10.0), ("room + noise 5 dB", 10.0), ("phone", 10.0))
PAGE = 101  # recordings that the web page reads for one page of 100
WORD = "ba"  # a part of many words


class Query:
    """A query: samples at the rate of the library, and the path of its music."""

    def __init__(self, samples: np.ndarray, rate: int, track: str, condition: str, length: float) -> None:
        self.samples, self.rate, self.track = samples.astype(np.float32) / 32767, rate, track
        self.condition, self.length = condition, length


class Bench:
    """The folder of one measurement: real music, queries, and a library of `songs` recordings."""

    def __init__(self, folder: Path, songs: int) -> None:
        self.folder, self.songs = folder, songs
        self.real, self.library = folder / "real", folder / f"library-{songs}"
        self.changed, self.queries = folder / f"changed-{songs}", folder / "queries.npz"
        self.figures = folder / f"scale-{songs}.json"

    def prepare(self, music: Sequence[Path], unknown: Sequence[Path], per_condition: int) -> None:
        """Encode the real music, make the queries and fill the library, as far as they are missing."""
        known, sources = music[::2], music[1::2]
        with songprint.open(self.real, create=True) as real:
            real.add([path for path in music if not real.store.catalog.has_source(str(path))], follow=False)
        if not self.queries.exists():
            rate = songprint.open(self.real).store.sample_rate
            write_queries(self.queries, known, unknown, per_condition, rate)
        with songprint.open(self.real) as real, songprint.open(self.library, create=True) as library:
            fill(library, real, [str(path) for path in known], [str(path) for path in sources], self.songs)

    def read_queries(self) -> list[Query]:
        with np.load(self.queries) as stored:
            facts = json.loads(str(stored["facts"]))
            return [Query(stored[f"q{number}"], **each) for number, each in enumerate(facts)]


def write_queries(
    file: Path, known: Sequence[Path], unknown: Sequence[Path], per_condition: int, sample_rate: int
) -> None:
    """Write queries of known and unknown music, in the conditions HARD and USUAL."""
    rng = np.random.default_rng(7)
    rooms = [degrade.decaying_noise(queries.RATE, rng.uniform(0.3, 0.9), rng) for _ in range(20)]
    using = queries.Disturbances([], [], rooms)
    grid = (*HARD, *USUAL)
    of_unknown = max(1, per_condition * UNKNOWN_PER_CONDITION // PER_CONDITION)
    drawn = [
        *queries.draw(known, per_condition, using, sample_rate, 1, grid=grid),
        *queries.draw(unknown, of_unknown, using, sample_rate, 2, grid=grid),
    ]
    is_known = {str(path) for path in known}
    facts = [
        {
            "rate": sample_rate,
            "track": each.track if each.track in is_known else "",
            "condition": each.condition,
            "length": each.length,
        }
        for each in drawn
    ]
    samples = {
        f"q{number}": np.clip(each.samples / max(1.0, np.abs(each.samples).max()) * 32767, -32767, 32767).astype(
            np.int16
        )
        for number, each in enumerate(drawn)
    }
    unfinished = file.with_suffix(".unfinished.npz")
    np.savez(unfinished, facts=json.dumps(facts), **samples)
    unfinished.rename(file)


def fill(library: Library, real: Library, known: Sequence[str], sources: Sequence[str], songs: int) -> None:
    """Add the known recordings and then distractors until the library contains `songs`."""
    present = len(library)
    if present >= songs:
        return
    by_source = {recording.source: recording for recording in real.recordings()}
    catalog = library.store.catalog
    first = [by_source[path] for path in known if path in by_source][:songs]
    catalog.add_many(
        [Addition(each.tags, each.duration, each.source, each.content_hash, _stored(real, each.id)) for each in first]
    )
    maker = distractors(real, sources)
    for start in range(max(0, present - len(first)), songs - len(first), AT_ONCE):
        add_distractors(library, maker, range(start, min(start + AT_ONCE, songs - len(first))))
        if start // AT_ONCE % 10 == 0:
            print(f"{len(first) + start:,} of {songs:,} recordings", file=sys.stderr, flush=True)
            catalog.database.checkpoint()
    catalog.database.checkpoint()


def add_distractors(library: Library, maker: Distractors, numbers: Sequence[int]) -> list[int]:
    """Add distractors in one transaction, and return their ids."""
    return library.store.catalog.add_many(
        [
            Addition(
                maker.tags(number),
                maker.duration,
                f"/distractors/{number // 1000}/{number}.flac",
                f"distractor-{maker.seed}-{number}",
                maker.embeddings(number),
            )
            for number in numbers
        ]
    )


def distractors(real: Library, sources: Sequence[str]) -> Distractors:
    """Return the maker of distractors from these files."""
    wanted = set(sources)
    chosen = [_stored(real, each.id) for each in real.recordings() if each.source in wanted]
    return Distractors([each for each in chosen if min(map(len, each.values())) > 0])


def _stored(library: Library, recording_id: int) -> dict[Kind, Embeddings]:
    return {kind: library.store.catalog.embeddings(kind, recording_id) for kind in library.store.levels}


# Measurements. Each one is a function from a bench to figures, and runs in a process of its own.


def measure_likeness(bench: Bench) -> dict[str, Any]:
    """How distractors resemble real music."""
    found: dict[str, Any] = {}
    with songprint.open(bench.real) as real, songprint.open(bench.library) as library:
        known = {recording.source for recording in library.recordings() if not _is_distractor(recording.source)}
        others = [recording.source for recording in real.recordings() if recording.source not in known]
        maker = distractors(real, others)
        made = [maker.embeddings(number) for number in range(120)]
        for kind in real.store.levels:
            rows = {
                "known": [_rows(real, kind, each.id) for each in real.recordings() if each.source in known],
                "real": [_rows(real, kind, each.id) for each in real.recordings() if each.source not in known],
                "distractors": [each[kind].vectors for each in made],
            }
            asked = np.concatenate(rows.pop("known"))
            asked = asked[np.random.default_rng(0).permutation(len(asked))[:2000]]
            # A like number of rows on both sides, or the larger side has the better best one.
            compared = min(COMPARED, *(sum(map(len, each)) for each in rows.values()))
            by_name = {name: likeness(each, asked, compared) for name, each in rows.items()}
            found[kind.value] = {name: _described(each) for name, each in by_name.items()}
            spreads = [each.spread for each in by_name.values()]
            found[kind.value]["difference of the covariance's eigenvalues"] = round(
                float(np.abs(spreads[0] - spreads[1]).sum() / spreads[0].sum()), 3
            )
    return found


def _described(each: Likeness) -> dict[str, float]:
    names = ("best", "compared", "next_row", "later", "mean")
    return {name: round(float(getattr(each, name)), 3) for name in names}


def _rows(library: Library, kind: Kind, recording_id: int) -> np.ndarray:
    made = library.store.catalog.embeddings(kind, recording_id)
    return made.vectors[made.has_content]


def _is_distractor(source: str) -> bool:
    return source.startswith("/distractors/")


def measure_rebuild(bench: Bench) -> dict[str, float]:
    """Build the index from the catalogue. The other measurements use it."""
    with songprint.open(bench.library) as library, peak_private() as peak, cpu() as spent:
        library.rebuild()
    with songprint.open(bench.library) as library:
        stats = library.stats()
    return {
        "cpu_s": spent["s"],
        "elapsed_s": spent["elapsed_s"],
        "peak_private_mb": peak["mb"],
        "recordings": stats.recordings,
        "hours": stats.duration / 3600,
        "catalogue_mb": stats.catalogue_bytes / 1e6,
        "index_mb": stats.index_bytes / 1e6,
    }


def measure_queries(bench: Bench) -> dict[str, float]:
    """Processor time of usual queries of 10 s, and the memory of a process after them."""
    return _timed_queries(bench, bench.library)


def measure_pending(bench: Bench) -> dict[str, float]:
    """The same after PENDING of the recordings were added and REMOVED ones removed."""
    with _changed(bench) as library:
        _add_newer(bench, library, PENDING)
        distractor_ids = [each.id for each in library.recordings() if _is_distractor(each.source)]
        count = min(REMOVED, len(distractor_ids) // 10)
        library.remove([int(each) for each in np.random.default_rng(3).permutation(distractor_ids)[:count]])
    return _timed_queries(bench, bench.changed)


def _timed_queries(bench: Bench, folder: Path) -> dict[str, float]:
    asked = [each for each in bench.read_queries() if (each.condition, each.length) in USUAL]
    known, unknown = [each for each in asked if each.track], [each for each in asked if not each.track]
    figures: dict[str, float] = {}
    with songprint.open(folder) as library:
        for each in (*known[:5], *unknown[:5]):  # loads networks, cohorts and pages of the index
            library.identify(each.samples, sample_rate=each.rate)
        for name, some in (("known", known), ("unknown", unknown)):
            times = []
            for each in some:
                with cpu() as spent:
                    library.identify(each.samples, sample_rate=each.rate)
                times.append(1000 * spent["s"])
            figures |= {f"{name}_p50_ms": _quantile(times, 0.5), f"{name}_p95_ms": _quantile(times, 0.95)}
        figures |= memory()
    return figures


def measure_opening(bench: Bench) -> dict[str, float]:
    """The first answer after opening a library with NEWER of its recordings newer than the index."""
    with _changed(bench) as library:
        newer = _add_newer(bench, library, NEWER)
    query = next(each for each in bench.read_queries() if each.track and (each.condition, each.length) in USUAL)
    with cpu() as spent, songprint.open(bench.changed) as library:
        library.identify(query.samples, sample_rate=query.rate)
    return {"newer": newer, "cpu_s": spent["s"], "elapsed_s": spent["elapsed_s"]}


def measure_refresh(bench: Bench) -> dict[str, float]:
    """Bring the indexes into step with one added recording, in another process than the one that adds."""
    with _changed(bench) as writer:
        numbers = _unused(bench)
        maker = _maker(bench)
        with songprint.open(bench.changed) as library:
            library.store.refresh()
            times = []
            for number in numbers[:CHANGES]:
                add_distractors(writer, maker, [number])
                with cpu() as spent:
                    library.store.refresh()
                times.append(1000 * spent["s"])
            with cpu() as spent:
                library.store.refresh()
    return {"ms": _quantile(times, 0.5), "unchanged_ms": 1000 * spent["s"]}


def measure_accuracy(bench: Bench) -> dict[str, Any]:
    """Queries of known music that are named, by condition, and of unknown music that get a name."""
    named: dict[str, list[int]] = {}
    wrong = unknown = unrelated = 0
    with songprint.open(bench.library) as library:
        for each in bench.read_queries():
            matches = library.identify(each.samples, sample_rate=each.rate).matches
            first = matches[0].recording.source if matches else ""
            if not each.track:
                unknown, unrelated = unknown + 1, unrelated + bool(matches)
                continue
            counts = named.setdefault(f"{each.condition}, {each.length:g} s", [0, 0])
            counts[0] += first == each.track
            counts[1] += 1
            wrong += first not in ("", each.track)
    hard, usual = (
        [sum(named[f"{condition}, {length:g} s"][place] for condition, length in grid) for place in (0, 1)]
        for grid in (HARD, USUAL)
    )
    return {
        "hard": hard,
        "usual": usual,
        "unrelated": [unrelated, unknown],
        "wrong_names": wrong,
        "by_condition": named,
    }


def measure_listing(bench: Bench) -> dict[str, float]:
    """Lists as the command line and the web page request them, without the start of a process."""
    from click.testing import CliRunner

    from songprint.cli import main as command_line

    def command(*words: str) -> Callable[[], object]:
        return lambda: CliRunner().invoke(
            command_line, ["--library", str(bench.library), *words], catch_exceptions=False
        )

    with songprint.open(bench.library) as library:
        catalog = library.store.catalog
        rare = library.recording(len(library)).title.split()[0]
        middle = len(library) // 2

        def page(query: str = "", order: str = "id", offset: int = 0) -> Callable[[], object]:
            return lambda: catalog.page(query, order=order, offset=offset, limit=PAGE - 1)

        return {
            "list_all_ms": _median_ms(command("list"), 1),
            "stats_ms": _median_ms(command("stats")),
            "page_ms": _median_ms(page()),
            "page_in_the_middle_by_title_ms": _median_ms(page(order="title", offset=middle)),
            "page_by_artist_ms": _median_ms(page(order="artists")),
            "word_ms": _median_ms(page(rare)),
            "part_of_words_ms": _median_ms(page(WORD)),
            "several_words_by_title_ms": _median_ms(page(f"{WORD} {rare}", order="title")),
        }


MEASUREMENTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "rebuild": measure_rebuild,
    "likeness": measure_likeness,
    "listing": measure_listing,
    "queries": measure_queries,
    "accuracy": measure_accuracy,
    "opening": measure_opening,
    "refresh": measure_refresh,
    "pending": measure_pending,
}


@contextmanager
def _changed(bench: Bench) -> Iterator[Library]:
    """A fresh copy of the library, for measurements that change it."""
    shutil.rmtree(bench.changed, ignore_errors=True)
    shutil.copytree(bench.library, bench.changed)
    with songprint.open(bench.changed) as library:
        yield library


def _maker(bench: Bench) -> Distractors:
    with songprint.open(bench.real) as real, songprint.open(bench.library) as library:
        known = {recording.source for recording in library.recordings()}
        return distractors(real, [each.source for each in real.recordings() if each.source not in known])


def _unused(bench: Bench) -> range:
    """Return the numbers of distractors that the library does not contain."""
    return range(bench.songs, 2 * bench.songs)


def _add_newer(bench: Bench, library: Library, share: float) -> int:
    maker, count = _maker(bench), max(1, round(share * bench.songs))
    for start in range(0, count, AT_ONCE):
        add_distractors(library, maker, _unused(bench)[start : min(start + AT_ONCE, count)])
    return count


@contextmanager
def cpu() -> Iterator[dict[str, float]]:
    """Measure the processor time and the elapsed time of the block, in seconds."""
    spent: dict[str, float] = {}
    began, began_elapsed = time.process_time(), time.perf_counter()
    yield spent
    spent |= {"s": time.process_time() - began, "elapsed_s": time.perf_counter() - began_elapsed}


@contextmanager
def peak_private() -> Iterator[dict[str, float]]:
    """Measure the greatest private memory during the block, in MB, ten times a second."""
    peak, done = {"mb": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak["mb"] = max(peak["mb"], memory()["private_mb"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak["mb"] = max(peak["mb"], memory()["private_mb"])


def memory() -> dict[str, float]:
    """Return the private memory of this process and the resident part of the files it maps, in MB."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # not Linux
        return {"private_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "mapped_mb": float("nan")}
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Anonymous"] / 1024
    return {"private_mb": private, "mapped_mb": kilobytes["Rss"] / 1024 - private}


def _quantile(times: Sequence[float], share: float) -> float:
    return float(np.quantile(times, share)) if times else float("nan")


def _median_ms(function: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        with cpu() as spent:
            function()
        times.append(1000 * spent["s"])
    return _quantile(times, 0.5)


def run(bench: Bench, names: Sequence[str], limit: float) -> dict[str, Any]:
    """Run measurements, each in its own process, and add their figures to the JSON file of the bench."""
    figures = json.loads(bench.figures.read_text(encoding="utf-8")) if bench.figures.exists() else {}
    figures |= {"songs": bench.songs, "machine": machine(), "version": songprint.__version__}
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "lab.measure.scale", "--songs", str(bench.songs), "--keep", str(bench.folder)]
        try:
            done = subprocess.run([*command, "--task", name], stdout=subprocess.PIPE, timeout=limit, check=True)
            figures[name] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            figures[name] = {"longer_than_s": limit}
        except subprocess.CalledProcessError as error:
            figures[name] = {"failed": error.returncode}
        bench.figures.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(bench.changed, ignore_errors=True)
    return figures


# Line of the report -> measurement, its figures, and how they are shown.
LINES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "10 s query, known music, p50 / p95, ms": ("queries", ("known_p50_ms", "known_p95_ms"), "{:.0f} / {:.0f}"),
    "10 s query, unknown music, p50 / p95, ms": ("queries", ("unknown_p50_ms", "unknown_p95_ms"), "{:.0f} / {:.0f}"),
    "changed library, known music, p50 / p95, ms": ("pending", ("known_p50_ms", "known_p95_ms"), "{:.0f} / {:.0f}"),
    "changed library, unknown music, p50 / p95, ms": (
        "pending",
        ("unknown_p50_ms", "unknown_p95_ms"),
        "{:.0f} / {:.0f}",
    ),
    "first answer after opening, elapsed, s": ("opening", ("elapsed_s",), "{:.1f}"),
    "refresh after one change, ms": ("refresh", ("ms",), "{:.1f}"),
    "full rebuild, s; peak private memory, MB": ("rebuild", ("cpu_s", "peak_private_mb"), "{:.0f}; {:.0f}"),
    "private memory of a process; mapped, MB": ("queries", ("private_mb", "mapped_mb"), "{:.0f}; {:.0f}"),
    "hard queries named": ("accuracy", ("hard",), "{0[0]} of {0[1]}"),
    "usual queries named": ("accuracy", ("usual",), "{0[0]} of {0[1]}"),
    "unknown queries that get a name": ("accuracy", ("unrelated",), "{0[0]} of {0[1]}"),
    "list of all recordings, ms": ("listing", ("list_all_ms",), "{:.0f}"),
    "stats, ms": ("listing", ("stats_ms",), "{:.0f}"),
    "page of the library, ms": ("listing", ("page_ms",), "{:.1f}"),
    "search by a word, ms": ("listing", ("word_ms",), "{:.1f}"),
    "catalogue; index, MB": ("rebuild", ("catalogue_mb", "index_mb"), "{:.0f}; {:.0f}"),
}


def text(measured: Sequence[dict[str, Any]]) -> str:
    """Return the figures of each size as a table. A measurement that was not made, or failed, is a dash."""
    rows = []
    for line, (name, keys, shown) in LINES.items():
        parts = [each.get(name, {}) for each in measured]
        rows.append([line, *(shown.format(*(part[key] for key in keys)) if keys[0] in part else "-" for part in parts)])
    return program.table(["processor time of one process", *(f"{each['songs']:,}" for each in measured)], rows)


# Bytes for each vector on a server, with 8 bits for each of 128 values, ids and lists.
BYTES_ON_SERVER = 150
VECTORS = 270  # of a song of 4 minutes, of both kinds
LARGER = (100_000, 1_000_000, 10_000_000, 100_000_000)  # songs of libraries that were not measured
ON_ONE_MACHINE = 1_000_000  # songs, at most; more need a server of vectors


def sizing(measured: Sequence[dict[str, Any]]) -> str:
    """Return what libraries of all sizes need: measured for the ones here, extrapolated from the largest for others.

    Files grow in proportion to the music. The cost of a query grows with a power of the number of songs, which is the
    one between the two largest measured libraries.
    """
    complete = sorted(
        (each for each in measured if "catalogue_mb" in each.get("rebuild", {}) and "known_p50_ms" in each["queries"]),
        key=lambda each: int(each["songs"]),
    )
    if not complete:
        return ""
    rows = [
        _needs(
            each["songs"],
            *(each["rebuild"][name] / 1000 for name in ("catalogue_mb", "index_mb")),
            *(each["queries"][name] for name in ("known_p50_ms", "unknown_p50_ms")),
            how="measured",
        )
        for each in complete
    ]
    last = complete[-1]
    for songs in (each for each in LARGER if each > last["songs"]):
        times = songs / last["songs"]
        rows.append(
            _needs(
                songs,
                *(last["rebuild"][name] / 1000 * times for name in ("catalogue_mb", "index_mb")),
                *(
                    last["queries"][name] * times ** _growth(complete, name)
                    for name in ("known_p50_ms", "unknown_p50_ms")
                ),
                how="extrapolated",
            )
        )
    head = ["songs of 4 minutes", "hours", "catalogue, GB", "index files, GB", "vectors on servers, GB"]
    return program.table([*head, "CPU of a 10 s query, known / unknown, ms", ""], rows)


def _needs(songs: int, catalogue: float, index: float, known: float, unknown: float, *, how: str) -> list[str]:
    on_server = songs * VECTORS * BYTES_ON_SERVER / 1e9
    return [
        f"{songs:,}",
        f"{songs / 15:,.0f}",
        f"{catalogue:,.3g}" if catalogue < 100 else f"{catalogue:,.0f}",
        f"{index:,.3g}" if index < 100 else f"{index:,.0f}",
        f"{on_server:,.0f}" if songs > ON_ONE_MACHINE / 10 else "-",
        f"{known:,.0f} / {unknown:,.0f}",
        how,
    ]


def _growth(complete: Sequence[dict[str, Any]], name: str) -> float:
    """Return the exponent of the growth of a cost with the number of songs, at least 0."""
    if len(complete) < 2:
        return 0.0
    before, last = complete[-2:]
    growth = np.log(last["queries"][name] / before["queries"][name]) / np.log(last["songs"] / before["songs"])
    return max(0.0, float(growth))


# Plot -> lines: their label, the measurement, the figure, and whether it is a count of a total.
COST = {
    "known music": ("queries", "known_p50_ms"),
    "unknown music": ("queries", "unknown_p50_ms"),
    "known music, changed library": ("pending", "known_p50_ms"),
    "unknown music, changed library": ("pending", "unknown_p50_ms"),
}
RECALL = {"usual queries": ("accuracy", "usual"), "hard queries": ("accuracy", "hard")}


def draw(measured: Sequence[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Write the plots of cost and recall by size into the folder and return their captions by file name."""

    def lines(axes: Any, named: dict[str, tuple[str, str]]) -> None:
        for (label, (name, key)), colour in zip(named.items(), plots.COLOURS, strict=False):
            found = [(each["songs"], each[name][key]) for each in measured if key in each.get(name, {})]
            values = [100 * value[0] / value[1] if isinstance(value, list) else value for _, value in found]
            axes.plot([songs for songs, _ in found], values, marker="o", markersize=3, color=colour, label=label)
        axes.set(xscale="log", xlabel="songs in the library")

    def cost(axes: Any) -> None:
        lines(axes, COST)
        axes.set_ylabel("CPU of a 10 s query, median, ms")

    def recall(axes: Any) -> None:
        lines(axes, RECALL)
        axes.set_ylabel("named, %")

    plots.save(folder / "cost-by-size.svg", cost)
    plots.save(folder / "recall-by-size.svg", recall, top=103)
    return {
        "cost-by-size.svg": "CPU time of a query by size of the library",
        "recall-by-size.svg": "Known queries that are named by size of the library",
    }


def main() -> None:
    parser = program.parser(__doc__, report=None)
    parser.add_argument("--songs", default="1000", help="recordings of the library; several sizes: 1000,10000")
    parser.add_argument("--music", type=Path, nargs="+", default=[], metavar="DIR", help="music for both purposes")
    parser.add_argument("--unknown", type=Path, nargs="+", default=[], metavar="DIR", help="music that is not added")
    parser.add_argument("--keep", type=Path, default=Path("scale"), metavar="DIR", help="folder of everything made")
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help=f"some of {', '.join(MEASUREMENTS)}; or none")
    parser.add_argument("--queries", type=int, default=PER_CONDITION, help="per condition (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for each measurement (default: %(default)s)")
    parser.add_argument("--from", dest="stored", type=Path, nargs="+", default=[], metavar="JSON", help="only report")
    parser.add_argument("--task", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(each) for each in options.songs.split(",")]
    if options.task:
        print(json.dumps(MEASUREMENTS[options.task](Bench(options.keep, sizes[0]))))
        return
    names = [each for each in options.only.split(",") if each]
    if unknown := set(names) - {*MEASUREMENTS, "none"}:
        parser.error(f"--only {','.join(sorted(unknown))}: the measurements are {', '.join(MEASUREMENTS)}")
    names = [each for each in MEASUREMENTS if each in names]
    with report.written(options.report, "Scale", report.SCALE) as write:
        if options.stored:
            measured = [json.loads(file.read_text(encoding="utf-8")) for file in options.stored]
        else:
            options.keep.mkdir(parents=True, exist_ok=True)
            music = [path.resolve() for path in music_in(options.music)]
            unknown_music = [path.resolve() for path in music_in(options.unknown)]
            if len(music) < 4 or not unknown_music:
                raise ValueError("--music needs at least four files of 30 s and more, and --unknown at least one")
            measured = []
            for songs in sizes:
                bench = Bench(options.keep, songs)
                bench.prepare(music, unknown_music, options.queries)
                measured.append(run(bench, names, options.limit))
        parts = [text(measured)]
        if options.report:
            drawn = draw(measured, options.report.parent / "figures")
            parts += [*(f"![{words}](figures/{name})" for name, words in drawn.items()), sizing(measured)]
        write("\n\n".join(filter(None, parts)))


if __name__ == "__main__":
    main()
