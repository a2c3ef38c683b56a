"""What was made of an array is at hand for when it is asked for again."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from songprint.covers.cache import ArrayCache


class Doubled:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, given: np.ndarray) -> np.ndarray:
        self.asked += 1
        return 2 * given


def arrays(count: int, random: np.random.Generator) -> list[np.ndarray]:
    return list(random.standard_normal((count, 20, 5)))


def test_what_is_asked_again_is_not_made_again(random):
    function, given = Doubled(), arrays(1, random)[0]
    remembered = ArrayCache(function, 10_000)
    first, again = remembered(given), remembered(np.asfortranarray(given.copy()))
    assert function.asked == 1
    np.testing.assert_array_equal(first, 2 * given)
    np.testing.assert_array_equal(first, again)


def test_what_differs_in_one_number_is_another(random):
    function, given = Doubled(), arrays(1, random)[0]
    remembered = ArrayCache(function, 10_000)
    remembered(given)
    given[7, 3] += 1
    np.testing.assert_array_equal(remembered(given), 2 * given)


def test_what_was_asked_for_longest_ago_makes_room(random):
    function, (a, b, c) = Doubled(), arrays(3, random)
    remembered = ArrayCache(function, 2 * a.nbytes)
    for given in (a, b, a, c):
        remembered(given)
    assert function.asked == 3
    remembered(a)
    assert function.asked == 3
    remembered(b)
    assert function.asked == 4


def test_without_room_nothing_is_kept_and_all_is_told(random):
    function, given = Doubled(), arrays(1, random)[0]
    remembered = ArrayCache(function, 10)
    np.testing.assert_array_equal(remembered(given), remembered(given))
    assert function.asked == 2


def test_nobody_can_spoil_what_is_shared(random):
    with pytest.raises(ValueError, match="read-only"):
        ArrayCache(Doubled(), 10_000)(arrays(1, random)[0])[0] = 0


def test_threads_that_ask_for_the_same_are_told_the_same(random):
    given = arrays(6, random)
    remembered = ArrayCache(Doubled(), 4 * given[0].nbytes)
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(remembered, given * 30)):
            np.testing.assert_array_equal(found, 2 * given[number % len(given)])
