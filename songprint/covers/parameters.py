"""Every tuned constant of kind "cover", with its unit and the reason for its value.

Constants that define what is stored or what a network reads (tonal frames, the rows of renditions, the bands of the
verifier) are not here: they stay in their modules, because networks have to be trained again when they change.
Thresholds that depend on scores were set on music that no network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PathParameters:
    """The best path through a cross-similarity matrix (`paths`)."""

    min_deviations: float = 1.3  # standard deviations above which a cell supports an alignment
    max_support: float = 1.0  # support of one cell, at most
    max_penalty: float = 0.5  # penalty of one cell, at most
    jump_penalty: float = 18.0  # penalty for continuing elsewhere: a repeat, a cut, another order of the sections


@dataclass(frozen=True)
class KeyParameters:
    """The ranking of keys on coarse pictures of two renditions (`keys`)."""

    anywhere_rows: int = 4  # coarse rows of a moment that is searched anywhere in the reference: 6.4 s
    path_rows: int = 2  # coarse rows of a moment on a path: 3.2 s
    min_deviations: float = 0.7  # standard deviations above which a coarse cell supports a path
    anywhere_weight: float = 2.0  # weight of the first comparison; that of the path is 1
    path_keys: int = 6  # keys, best by the first comparison, in which a path is searched


@dataclass(frozen=True)
class AlignmentParameters:
    """The alignment of tonal frames (`align`)."""

    keys: int = 2  # most likely transpositions in which a reference is aligned
    min_section: float = 6.0  # seconds; shorter sections are not reported
    straight: float = 30.0  # seconds in which renditions keep their tempo
    displacement: tuple[int, int] = (8, 150)  # rows (3.2 s to a minute) by which a path is displaced for comparison
    min_displaced_share: float = 0.5  # share of a displaced path that has to lie in the reference


@dataclass(frozen=True)
class ExtentParameters:
    """The parts of a cover in which it agrees with the reference (`extents`)."""

    chance: float = 0.2  # evidence of a moment that the best path between unrelated songs gains, on average
    start_cost: float = 8.0  # evidence that a part has to collect, and by which two parts have to be separated
    min_detached: float = 24.0  # evidence of a first or last piece beyond a jump
    max_bridge: float = 30.0  # seconds of a performance that need not agree, if the song keeps its time
    max_deviation: float = 3.0  # seconds by which it may be early or late after that
    tolerance: float = 1.0  # seconds by which an end has to move; a path is not more exact


@dataclass(frozen=True)
class CohortParameters:
    """Cohort normalisation (`cohort`, `windows`)."""

    neighbours: int = 10  # nearest cohort windows whose mean cosine is the hubness of a window
    min_songs: int = 4  # songs without which scores are normalised by the typical values below
    typical_cosine: tuple[float, float] = (0.2, 0.1)  # mean and standard deviation for unrelated music
    typical_alignment: tuple[float, float] = (1.4, 0.5)
    typical_coarse: tuple[float, float] = (1.9, 0.35)
    consistent_distance: float = 7.5  # seconds off the path at which the nearest window is consistent with it
    cache_bytes: int = 1 << 20  # hubness of the windows of some thousand recordings


@dataclass(frozen=True)
class SearchParameters:
    """The search for covers of one window of a query (`search`)."""

    neighbours: int = 1000  # nearest windows that the index returns for each window of a query
    max_compared: int = 30  # recordings that are aligned
    surveyed_per_compared: int = 6  # recordings for each of those whose coarse picture is compared first
    # Both for queries in which a recording was identified. Half the time; of 64 queries against 1,064 recordings with
    # one other rendition each, 28 find it, as with 30 and 6.
    max_compared_identified: int = 15
    surveyed_per_compared_identified: int = 4
    min_duration: float = 8.0  # seconds that have to be aligned; shorter tunes occur in unrelated songs
    coarse_weight: float = 0.5  # weight of the coarse picture; that of the windows is 1
    embedding_weight: float = 0.5  # weight of the windows, and
    alignment_weight: float = 0.5  # of the alignment in the score
    best_by_each: int = 5  # references, best by either comparison, that are aligned in more keys:
    best_keys: int = 6  # this many
    max_verified: int = 5  # best candidates that are verified and returned
    rivals: int = 10  # best candidates that are rivals of each other


@dataclass(frozen=True)
class TempoSearchParameters:
    """The search at other tempos (`tempo_search`)."""

    change: float = 1.6  # ratio; renditions align well up to 1.4 times the tempo, and not beyond 2
    max_duration: float = 90.0  # seconds of a query that is searched at other tempos; longer ones are found without
    max_compared: int = 20  # recordings that are aligned at another tempo; most of the gain is among the first
    certain: float = 2.0  # log-odds at which no other tempo is tried

    @property
    def tempos(self) -> tuple[float, float]:
        """Tempo ratios that a query is given."""
        return (1 / self.change, self.change)


@dataclass(frozen=True)
class QueryParameters:
    """How a query is cut into windows (`identify`)."""

    max_whole: float = 600.0  # seconds; a shorter query is searched as one
    window: float = 60.0  # seconds of the windows of a longer one, at most
    max_gap: float = 30.0  # seconds between two windows of one song
    cached_references: int = 500  # recordings in memory: the tempo search reads many a second time


@dataclass(frozen=True)
class TrackerParameters:
    """The tracker of long recordings (`tracker`)."""

    window: float = 60.0  # seconds searched at once
    step: float = 30.0  # seconds from one window to the next
    max_compared: int = 16  # recordings that a window is aligned with
    cached_references: int = 128  # recordings in memory
    max_followed: int = 4  # best candidates of a window that are followed
    min_logit: float = -3.0  # log-odds of a candidate that is followed
    rivals: int = 6  # recordings that a passage is compared with: those found in it most often
    max_passage: float = 300.0  # seconds of a passage that is classified as one
    certain: float = 6.0  # log-odds above which the longest candidate is preferred
    margin: float = 10.0  # seconds around a passage that are classified with it
    near_end: float = 5.0  # seconds; a song this close to an end of a passage may continue beyond it
    max_extensions: int = 4  # times that a passage is extended
    settling: float = 20.0  # seconds at the end of the audio that wait for more
    min_sounding: float = 0.8  # share of the frames of a performance that contain tones


@dataclass(frozen=True)
class DuplicateParameters:
    """Duplicates within a library (`within_library`)."""

    probes: int = 12  # rows of a recording whose nearest neighbours may belong to a duplicate
    neighbours: int = 20


@dataclass(frozen=True)
class CoverParameters:
    """All groups of parameters of kind "cover"."""

    paths: PathParameters = field(default_factory=PathParameters)
    keys: KeyParameters = field(default_factory=KeyParameters)
    alignment: AlignmentParameters = field(default_factory=AlignmentParameters)
    extents: ExtentParameters = field(default_factory=ExtentParameters)
    cohort: CohortParameters = field(default_factory=CohortParameters)
    search: SearchParameters = field(default_factory=SearchParameters)
    tempo_search: TempoSearchParameters = field(default_factory=TempoSearchParameters)
    query: QueryParameters = field(default_factory=QueryParameters)
    tracker: TrackerParameters = field(default_factory=TrackerParameters)
    duplicates: DuplicateParameters = field(default_factory=DuplicateParameters)


DEFAULT = CoverParameters()
