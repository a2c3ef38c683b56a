"""The cache of functions of arrays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from songprint.covers.cache import ArrayCache


class Doubled:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, given: np.ndarray) -> np.ndarray:
        self.calls += 1
        return 2 * given


def arrays(count: int, random: np.random.Generator) -> list[np.ndarray]:
    return list(random.standard_normal((count, 20, 5)))


def test_equal_arrays_are_computed_once(random):
    function, given = Doubled(), arrays(1, random)[0]
    cached = ArrayCache(function, 10_000)
    first, again = cached(given), cached(np.asfortranarray(given.copy()))
    assert function.calls == 1
    np.testing.assert_array_equal(first, 2 * given)
    np.testing.assert_array_equal(first, again)


def test_arrays_that_differ_are_computed_separately(random):
    function, given = Doubled(), arrays(1, random)[0]
    cached = ArrayCache(function, 10_000)
    cached(given)
    given[7, 3] += 1
    np.testing.assert_array_equal(cached(given), 2 * given)


def test_the_least_recently_used_result_is_evicted(random):
    function, (a, b, c) = Doubled(), arrays(3, random)
    cached = ArrayCache(function, 2 * a.nbytes)
    for given in (a, b, a, c):
        cached(given)
    assert function.calls == 3
    cached(a)
    assert function.calls == 3
    cached(b)
    assert function.calls == 4


def test_results_larger_than_the_cache_are_not_kept(random):
    function, given = Doubled(), arrays(1, random)[0]
    cached = ArrayCache(function, 10)
    np.testing.assert_array_equal(cached(given), cached(given))
    assert function.calls == 2


def test_results_are_read_only(random):
    with pytest.raises(ValueError, match="read-only"):
        ArrayCache(Doubled(), 10_000)(arrays(1, random)[0])[0] = 0


def test_threads_get_correct_results(random):
    given = arrays(6, random)
    cached = ArrayCache(Doubled(), 4 * given[0].nbytes)
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(cached, given * 30)):
            np.testing.assert_array_equal(found, 2 * given[number % len(given)])
