"""Identify a short query: every kind of match is searched in turn, and the answers become a Report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio import files
from songprint.audio.channels import ChannelMeter, Part
from songprint.audio.sound import Sound
from songprint.errors import AudioError
from songprint.processes.threads import one_thread
from songprint.store.duplicates import by_tags
from songprint.store.level import threshold_of
from songprint.store.store import Store, incomplete
from songprint.store.works import in_order
from songprint.types import Kind, Match, Report

if TYPE_CHECKING:
    from songprint.config import Settings

LONGEST = 3600.0  # seconds of a query, which is kept in memory: 60 MB. A small file may contain silence for days


@one_thread()
def identify(
    blocks: Iterable[np.ndarray], store: Store, *, top: int = 0, source: str = "", settings: Settings | None = None
) -> Report:
    """Identify a query, given as blocks of (n,) float32 mono samples at the store's sample rate.

    Recordings come first, then covers. Of several copies of a recording, the best tagged one is the match, and the
    others are its alternatives. Matches below the threshold are left out; the best `top` of them are listed as
    candidates. Raises AudioError if the query is longer than LONGEST.
    """
    began = time.perf_counter()
    settings = settings or store.settings
    store.refresh()
    too_long = AudioError(
        f"the query is longer than {LONGEST / 60:.0f} minutes. `songprint scan` finds all songs in it"
    )
    sound = Sound(at_most(blocks, store.sample_rate, LONGEST, too_long), store.sample_rate)
    thresholds = {kind: threshold_of(level, settings) for kind, level in store.levels.items()}
    matches: list[Match] = []
    below: list[Match] = []
    reason = ""
    first, *others = store.levels.values()
    query = first.matcher.query(sound, first)  # reads the blocks
    with ThreadPoolExecutor(1) as background:  # encoding for one kind takes about as long as the search for another
        pending = {level.kind: background.submit(level.matcher.query, sound, level) for level in others}
        for level in store.levels.values():
            if level is not first:
                query = pending[level.kind].result()
            if query is None:
                continue
            known = _named(matches)
            answer = level.matcher.identify(query, level, known)
            threshold = thresholds[level.kind] = threshold_of(level, settings, answer.case)
            found = _without_copies(answer.matches, known, store)
            matches += _one_of_copies([match for match in found if match.confidence >= threshold], store)
            below += [match for match in found if match.confidence < threshold]
            reason = reason or answer.reason
    named = _named(matches)
    candidates = sorted(
        (match for match in below if match.recording.id not in named), key=lambda match: -match.confidence
    )
    return Report(
        matches=in_order(matches, store.catalog),
        candidates=candidates[:top],
        duration=sound.duration,
        thresholds=thresholds,
        searched=store.identity.searched,
        elapsed=time.perf_counter() - began,
        source=source,
        reason="" if matches else reason,
        warnings=tuple(incomplete(store)),
    )


def identify_file(
    source: files.Source,
    store: Store,
    *,
    top: int = 0,
    name: str = "",
    settings: Settings | None = None,
    track: int | None = None,
    limited: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]] = iter,
) -> Report:
    """Identify a file: all of its audio tracks, or the one with number `track`, from 1.

    Channels that the mono mix does not contain are identified apart. `limited` wraps the blocks of samples.
    """
    reports: list[Report] = []
    with files.rereadable(source) as file:
        tracks, warnings = files.readable_tracks(file, track)

        def read(part: Part, meter: ChannelMeter | None, warn: files.Warn) -> None:
            blocks = files.blocks(file, store.sample_rate, on_warning=warn, part=part, meter=meter)
            with closing(blocks):
                report = identify(limited(blocks), store, top=top, source=name, settings=settings)
            reports.append(_found_in(report, part))

        for number in tracks:
            meter = ChannelMeter()
            read(Part(number), meter, warnings.append)
            for part in meter.lost():
                read(replace(part, track=number), None, lambda warning: None)
    return _merged(reports, warnings, store)


def _found_in(report: Report, part: Part) -> Report:
    """Set the track and the channel of all matches."""
    return replace(
        report,
        matches=[replace(match, track=part.track, channel=part.channel) for match in report.matches],
        candidates=[replace(match, track=part.track, channel=part.channel) for match in report.candidates],
    )


def _merged(reports: list[Report], warnings: list[str], store: Store) -> Report:
    """Merge reports of the parts of one file; each recording is named once."""
    first, *others = reports
    matches = list(first.matches)
    for report in others:
        for match in _without_copies(report.matches, {each.recording.id for each in matches}, store):
            same = next((each for each in matches if each.recording.id == match.recording.id), None)
            if same is None:
                matches.append(match)
            elif match.query.duration > same.query.duration + 1:  # the mix contains only some of it
                matches[matches.index(same)] = match
            elif same.channel != match.channel and same.channel and same.track == match.track:
                matches[matches.index(same)] = replace(same, channel="")  # in several channels
    if others:
        matches = in_order(
            sorted(matches, key=lambda each: (each.kind != Kind.RECORDING, -each.confidence)), store.catalog
        )
    named = _named(matches)
    reasons = [report.reason for report in reports if report.reason and "silent" not in report.reason]
    return replace(
        first,
        matches=matches,
        candidates=[each for each in first.candidates if each.recording.id not in named],
        duration=max(report.duration for report in reports),
        elapsed=sum(report.elapsed for report in reports),
        reason="" if matches else next(iter(reasons), first.reason),
        warnings=(*warnings, *first.warnings),
    )


def at_most(blocks: Iterable[np.ndarray], rate: int, seconds: float, too_long: AudioError) -> Iterator[np.ndarray]:
    """Yield blocks of samples at `rate` (Hz); raise `too_long` when they exceed `seconds`."""
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > seconds * rate:
            raise too_long
        yield block


def _without_copies(matches: list[Match], known: set[int], store: Store) -> list[Match]:
    """Leave out copies of recordings that an earlier kind has identified: the same sound is no cover of itself."""
    copies = store.copies([match.recording.id for match in matches], of=known)
    return [match for match in matches if match.recording.id not in copies]


def _one_of_copies(matches: list[Match], store: Store) -> list[Match]:
    """Keep one match of several copies of a recording: the one with most tags. The others become its alternatives."""
    if len(matches) < 2:
        return matches
    groups: list[list[Match]] = []
    for match in matches:
        copies = store.copies({group[0].recording.id for group in groups}, of=[match.recording.id])
        group = next((group for group in groups if group[0].recording.id in copies), None)
        if group is None:
            groups.append([match])
        else:
            group.append(match)
    found = []
    for group in groups:
        best, *others = sorted(group, key=lambda each: by_tags(each.recording))
        found.append(replace(best, alternatives=tuple(each.recording.id for each in others)))
    return found


def _named(matches: Iterable[Match]) -> set[int]:
    """The ids of the recordings that matches name, with their alternatives."""
    return {recording_id for match in matches for recording_id in (match.recording.id, *match.alternatives)}
