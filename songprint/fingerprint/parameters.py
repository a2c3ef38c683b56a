"""Every tuned constant of kind "recording", with its unit and the reason for its value.

Constants that define what is stored (the log-mel front end, the coding of landmarks) are not here: they stay in
`logmel` and `landmarks`, because a library has to be rebuilt when they change. The values here may change at any time.
Thresholds that depend on scores were set on music that no network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class QueryParameters:
    """How a query is cut into segments (`query`)."""

    short: float = 2.0  # seconds; a query shorter than this gets denser segments
    short_hop: float = 1 / 16  # seconds between the segments of such a query
    short_segments: int = 5  # segments of such a query; it is padded with silence to fit them


@dataclass(frozen=True)
class SearchParameters:
    """How windows of a query are searched (`identify`, `candidates`)."""

    neighbours: int = 50  # nearest vectors that vote, for each segment
    neighbours_with_exclusions: int = 400  # retrieved when some recordings are excluded, so that enough are left
    max_window: float = 15.0  # seconds; a longer query is searched in several windows
    window: float = 10.0  # seconds of each of those windows, approximately
    certain: float = 4.0  # log-odds; fewer than 1 in 10,000 unknown queries reach this
    max_unsearched: int = 3  # windows in a row in which a certain recording may continue without a new search
    max_drift: float = 0.25  # seconds by which the speed of a window may miss the position in the last one

    max_candidates: int = 30  # candidates of a window that are aligned
    max_refined: int = 8  # best alignments of a window that are refined
    max_per_recording: int = 2  # refined alignments of one recording
    min_segments: int = 2  # one segment alone is no evidence
    min_duration: float = 2.5  # seconds that must agree, unless the window is too short for that
    min_share: float = 0.6  # share of the segments of a short window that must agree
    skip_below: float = 0.85  # share of a conclusive alignment's summed cosine; weaker alignments are not verified

    continuation_cosine: float = 0.6  # mean cosine at which a recording is accepted as continuing
    continuation_support: float = 0.3  # cosine from which a segment supports the continuation
    continuation_max_unsupported: float = 0.05  # share of segments that may lack that support
    continuation_max_deviation: float = 0.6  # seconds off the expected position

    max_overlap: float = 0.5  # share of a match that a better one of the same recording may cover
    quick_candidates: int = 10  # candidates that are aligned when only the likeness of a query is needed


@dataclass(frozen=True)
class AlignmentParameters:
    """How a line `reference = speed * query + offset` is fitted (`align`)."""

    min_vote_cosine: float = 0.3  # unrelated segments reach this by chance; only the excess counts as a vote
    min_cosine: float = 0.2  # a segment supports an alignment above this and contradicts it below
    bin: float = 0.5  # seconds; width of an offset bin, pooled with its two neighbours
    min_speed: float = 0.91  # slowest and
    max_speed: float = 1.1  # fastest ratio that is tried; the embeddings do not survive larger changes
    speed_step: float = 0.01
    max_shift: float = 0.75  # seconds around the offset of a candidate
    shift_step: float = 0.125  # seconds
    min_duration_for_speed: float = 3.0  # seconds; the speed of a shorter query is not estimated
    max_residual: float = 0.4  # seconds off the line at which a segment is an outlier of the fit
    max_loss: float = 0.02  # mean cosine that a refined line may lose
    speed_penalty: float = 0.2  # mean cosine per 100% change of speed: equal fits prefer the original speed
    min_speed_errors: float = 2.0  # standard errors by which a speed has to differ from 1 to be reported
    overlapping_segments: int = 4  # neighbouring segments of a query share audio; this many count as one

    # Duplicates: two recordings in the library with the same audio do not compete with each other.
    duplicate_cosine: float = 0.8  # mean cosine, row by row
    duplicate_contrast: float = 0.15  # by which it exceeds the cosine at other offsets (drones resemble each other)
    duplicate_offsets: tuple[int, ...] = (-9, -7, -5, 5, 7, 9)  # rows of those other offsets
    duplicate_max_speed_difference: float = 0.03

    @property
    def speeds(self) -> np.ndarray:
        """The speeds that are tried for every candidate."""
        return np.arange(self.min_speed, self.max_speed + 1e-4, self.speed_step)

    @property
    def shifts(self) -> np.ndarray:
        """The shifts around the offset of a candidate that are tried, in seconds."""
        return np.arange(-self.max_shift, self.max_shift + 1e-4, self.shift_step)


@dataclass(frozen=True)
class FeatureParameters:
    """Features of an alignment (`evidence`)."""

    max_contrast: float = 12.0  # standard deviations; larger values carry no more information
    high_score: float = 0.6  # mean cosine above which a close rival counts against an alignment
    close_lead: float = 0.15  # mean cosine by which a rival is no longer close
    disjoint: float = 1.25  # seconds after which two segments of a query share no audio


@dataclass(frozen=True)
class VerificationParameters:
    """How landmarks are laid over the spectrogram of a query (`landmarks`)."""

    full_prominence: float = 15.0  # dB above its surroundings at which a point of the query counts in full
    step: float = 0.0058  # relative step of speed and pitch: a tenth of a semitone
    pitch_steps: int = 25  # steps up and down, 2.5 semitones
    speed_steps: int = 18  # steps up and down, 11%
    shift_frames: int = 8  # frames around the suggested position, 0.25 s; it is at most 0.24 s off
    min_peaks: int = 8  # fewer landmarks under a query give no result
    wide_peaks: int = 160  # landmarks that the wide search uses; the fine search uses all
    min_contrast: float = 3.0  # standard deviations, and
    min_prominence: float = 0.1  # prominence (0 to 1) from which speed, pitch and position are reliable
    conclusive: float = 2.0  # a result is conclusive at this multiple of both
    nearest_other: float = 1.0  # seconds from the position to the nearest other moment that it is compared with,
    farthest_other: float = 8.0  # to the farthest,
    other_step: float = 0.14  # and from one to the next
    usual_deviation: float = 0.05  # of the prominence at other moments, if there are too few of them
    min_deviation: float = 0.01
    speed_fit: float = 0.08  # seconds by which the ends of a query move over the range of the final speed fit
    speed_blur: float = 0.045  # seconds; over the duration of a query, the error of its speed
    pitch_blur: float = 0.003  # error of the pitch (ratio)

    @property
    def other_moments(self) -> np.ndarray:
        """Seconds from the position of a query to the other moments of the recording it is compared with."""
        later = np.arange(self.nearest_other, self.farthest_other + 0.1, self.other_step)
        earlier = np.arange(-self.farthest_other, 0.1 - self.nearest_other, self.other_step)
        return np.concatenate([earlier, later])


@dataclass(frozen=True)
class PeakSearchParameters:
    """How landmarks are counted over the whole library (`peak_search`)."""

    max_hours: float = 200.0  # hours of music in a library whose peaks are kept in memory, 1 MB per hour
    # Larger libraries are searched by pairs of peaks on disk (`peak_files`).
    max_recent_hours: float = 20.0  # hours of music in memory that the files do not contain yet
    max_postings: int = 6_000_000  # pairs of the library that a query reads; more frequent ones are left out
    max_places: int = 6_000  # positions with most pairs, whose single peaks are tested
    counted_places: int = 48  # positions that agree best, whose peaks are counted in full
    count_reach: int = 5  # frames from such a position at which peaks are counted
    # The best position of 200 hours, by chance, has this many times the count that a Poisson distribution gives.
    chance_excess: float = 1.2
    max_removed: float = 0.25  # share of removed recordings above which a part is written again
    min_peaks: int = 8  # of a query; fewer give no result
    max_candidates: int = 2  # best positions that become candidates
    rivals: int = 6  # recordings with most peaks; the best one of another piece of music is the rival
    max_lead: float = 8.0  # standard deviations; larger leads carry no more information
    near: float = 1.0  # seconds; a position this close to an alignment belongs to it
    slack_frames: int = 5  # frames that the position of an alignment may be off
    elsewhere_from: float = 1.0  # seconds from the alignment at which other positions of the recording begin,
    elsewhere_to: float = 8.0  # and end


@dataclass(frozen=True)
class TrackParameters:
    """How hits in a long recording are found and linked into tracks (`tracks`)."""

    hop: float = 0.25  # seconds between vectors: half as dense as those of a query
    window: float = 8.0  # seconds searched at once
    step: float = 5.0  # seconds from one window to the next
    max_candidates: int = 12  # candidates of a window that are aligned
    max_refined: int = 4  # best alignments of a window that are refined
    min_score: float = 0.45  # mean cosine; correct hits in programmes, with speech and fades, had 0.57 and more
    min_logit: float = -4.0  # log-odds below which a hit is dropped
    min_logit_without_verification: float = -9.0  # verification added at most 11 to the log-odds, seldom more than 7
    max_deviation: float = 0.6  # seconds between a hit and its track,
    max_drift: float = 0.02  # plus this for each second between them
    max_gap: float = 60.0  # seconds without a hit that a track may bridge
    straight: float = 0.15  # seconds off a straight line that are measurement error
    chance_rows: int = 400  # rows of the reference, evenly spread, that measure the chance level of a vector
    chance_deviations: float = 2.0  # standard deviations above the mean; 1.0 leaves twice as many wrong seconds
    max_chance: float = 0.65  # cosine; noise stays below, and music that resembles itself throughout reaches more
    chance_smoothing: float = 2.0  # seconds over which the chance level is averaged


@dataclass(frozen=True)
class PresenceParameters:
    """How presences and their ends are found (`presence`)."""

    min_cosine: float = 0.3  # a vector supports a track above this
    support_per_second: float = 10.0  # log-odds per second and unit of cosine above `min_cosine`
    no_content_margin: float = 0.1  # a vector without content counts as this much below `min_cosine`
    max_penalty: float = -1.0  # log-odds; limits the effect of one masked vector (speech, a click)
    max_simultaneous: int = 2  # references audible at the same time
    chunk: float = 600.0  # seconds decoded at once
    end_search: float = 4.0  # seconds around an end in which its exact position is searched
    min_end_cosine: float = 0.2  # the threshold of an end is never below this
    unrelated_cosine: float = 0.12  # mean cosine of unrelated music
    min_fade_cosine: float = 0.3  # cosine at which a fade is still audible, at least,
    fade_margin: float = 0.12  # and above that of what follows
    fade_smoothing: int = 4  # vectors that are averaged in a fade
    max_fade: float = 8.0  # seconds
    max_cut: float = 0.75  # seconds from half the agreement to none; a longer decline is a fade


@dataclass(frozen=True)
class ExtentParameters:
    """The part of a query in which a recording is audible (`extents`)."""

    min_query: float = 4.0  # seconds; the extent in a shorter query is not refined
    min_vectors: int = 4  # vectors with content that the alignment must contain
    min_margin: float = 0.05  # cosine; a smaller distance between a recording and chance is not resolved
    without_content: float = -0.3  # support of a vector without content; -1 to 1
    snap: float = 1.0  # seconds around the ends of the recording in which it may begin or end
    tolerance: float = 0.5  # seconds by which an end has to move; the alignment itself is that exact


@dataclass(frozen=True)
class TrackerParameters:
    """The tracker of long recordings (`tracker`)."""

    reach: float = 60.0  # seconds that a track is followed beyond its hits
    min_logit: float = 0.0  # log-odds of the best hit of a track that is reported
    windows_per_hour: int = 720  # a wrong name can come up by chance in each of them
    certain: float = 4.0  # log-odds of a hit that may continue without a search
    max_unsearched: int = 3  # windows in a row without a search
    settling: float = 30.0  # seconds after which more audio does not change a segment
    start_margin: float = 2.0  # seconds before a recording that are needed to find its start
    snap: float = 1.5  # seconds around the ends of the audio in which a recording may begin or end
    min_segment: float = 2.0  # seconds; a shorter rest of a segment that overlaps another one is dropped


@dataclass(frozen=True)
class SpeedSearchParameters:
    """How a query that was not found is searched at other speeds and pitches (`speed_search`)."""

    change: float = 1.16  # ratio: 16%, or 2.6 semitones
    min_duration: float = 3.0  # seconds of a query that is searched again,
    max_duration: float = 30.0  # at most
    penalty: float = 4.0  # log-odds: large changes are rare, and each pass is another chance of a false match
    certain: float = 98.0  # confidence at which no other change is tried
    quick_hop: float = 0.5  # seconds between vectors in the first pass
    min_likeness: float = 0.7  # mean cosine of the first pass; true matches had 0.77 and more
    large_speed: float = 0.1  # change of speed, and
    large_key: float = 2.2  # semitones from which the first estimate is imprecise and is refined

    @property
    def changes(self) -> tuple[tuple[float, float], ...]:
        """Tempo and pitch ratios that a query is given. A change of tempo alone is found up to 20%."""
        up, down = self.change, 1 / self.change
        return ((down, down), (up, up), (1.0, down), (1.0, up))


@dataclass(frozen=True)
class FingerprintParameters:
    """All groups of parameters of kind "recording"."""

    query: QueryParameters = field(default_factory=QueryParameters)
    search: SearchParameters = field(default_factory=SearchParameters)
    alignment: AlignmentParameters = field(default_factory=AlignmentParameters)
    features: FeatureParameters = field(default_factory=FeatureParameters)
    verification: VerificationParameters = field(default_factory=VerificationParameters)
    peak_search: PeakSearchParameters = field(default_factory=PeakSearchParameters)
    tracks: TrackParameters = field(default_factory=TrackParameters)
    presence: PresenceParameters = field(default_factory=PresenceParameters)
    extents: ExtentParameters = field(default_factory=ExtentParameters)
    tracker: TrackerParameters = field(default_factory=TrackerParameters)
    speed_search: SpeedSearchParameters = field(default_factory=SpeedSearchParameters)


DEFAULT = FingerprintParameters()
