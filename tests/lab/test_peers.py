"""Other systems are used correctly, which a fair comparison requires."""

import doctest
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from lab.data import degrade, synth
from lab.measure import peers
from songprint.audio import files as audio

RATE = 16_000
installed = {"audfprint": find_spec("audfprint2") is not None, "chromaprint": shutil.which("fpcalc") is not None}


def test_the_best_position_is_where_the_fewest_bits_differ(random):
    track = random.integers(0, 1 << 32, 500, dtype=np.uint32)
    query = track[123:183].copy()
    assert peers.best_place(query, track) == (0.0, 123)
    flipped = query ^ np.uint32(0b1011)  # 3 of 32 bits
    assert peers.best_place(flipped, track) == (3 / 32, 123)
    assert peers.best_place(track, track) == (0.0, 0)
    assert not doctest.testmod(peers).failed


def test_unrelated_fingerprints_differ_in_nearly_half_of_the_bits(random):
    track, query = (random.integers(0, 1 << 32, count, dtype=np.uint32) for count in (2000, 60))
    assert 0.4 < peers.best_place(query, track)[0] < 0.5


def test_chromaprint_reports_the_track_that_differs_least(random, monkeypatch, tmp_path):
    prints = {name: random.integers(0, 1 << 32, 300, dtype=np.uint32) for name in "abc"}
    monkeypatch.setattr(peers.Chromaprint, "__init__", lambda self: setattr(self, "_prints", dict(prints)))
    peer = peers.Chromaprint()
    monkeypatch.setattr(peers, "fingerprint", lambda path: prints["b"][100:150])
    match = peer.identify(np.zeros(RATE, np.float32), RATE)
    assert match == peers.PeerMatch("b", 1.0, pytest.approx(100 * 1365 / 11025))
    assert peer.bytes == 3 * 300 * 4
    for nothing in (np.zeros(0, np.uint32), np.zeros(400, np.uint32)):  # too short, longer than any track
        monkeypatch.setattr(peers, "fingerprint", lambda path, nothing=nothing: nothing)
        assert peer.identify(np.zeros(RATE, np.float32), RATE) is None


def test_a_missing_peer_is_an_error_with_the_command_that_installs_it(monkeypatch):
    with pytest.raises(peers.PeerMissing, match=r"peer 'dejavu' is unknown\. Known are audfprint, chromaprint"):
        peers.find("dejavu")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(peers.PeerMissing, match="apt install libchromaprint-tools"):
        peers.find("chromaprint")
    monkeypatch.setitem(sys.modules, "audfprint2", None)
    with pytest.raises(peers.PeerMissing, match=r"pip install -r lab/requirements\.txt"):
        peers.find("audfprint")


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_finds_the_position_of_a_noisy_query(name, tmp_path, random):
    if not installed[name]:
        pytest.skip(f"{name} is not installed: see lab/requirements.txt")
    files = sorted(synth.write_pieces(tmp_path / "music", count=3))
    peer = peers.find(name)
    peer.add(files, workers=1)
    music = audio.load(files[1], RATE)
    query = degrade.add_noise(music[8 * RATE : 16 * RATE], 20, random)
    match = peer.identify(query, RATE)
    assert match.track == str(files[1])
    assert match.start == pytest.approx(8, abs=0.3)
    assert peer.bytes > 0
    silent = peer.identify(np.zeros(5 * RATE, np.float32), RATE)
    assert silent is None or silent.score < match.score
