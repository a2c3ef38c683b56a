"""`songprint serve` in its own process, with the shipped networks."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from support.commandline import assert_one_line, really_run
from support.jobs import Receiver
from support.server_process import serve

from lab.data import synth
from songprint.audio import files


@pytest.fixture(scope="module")
def tunes(tmp_path_factory) -> list[Path]:
    return synth.write_pieces(tmp_path_factory.mktemp("tunes"), 4)


def test_a_server_adds_recordings_scans_a_programme_and_sends_a_callback(tunes, tmp_path):
    with (
        Receiver() as receiver,
        serve(
            tmp_path / "library", SONGPRINT_SERVER_ALLOW_CALLBACKS="127.0.0.1", SONGPRINT_SERVER_ALLOW_HOSTS="127.0.0.1"
        ) as server,
    ):
        server.until_ready()
        ids = {}
        for tune in tunes[:3]:
            with tune.open("rb") as file:
                answer = server.client.post("/v1/recordings", files={"file": (tune.name, file)})
            assert answer.status_code == 201, answer.text
            ids[tune.name] = answer.json()["recording"]["id"]

        programme, places = programme_of(tunes[:2], tmp_path / "programme.wav")
        callback = {"callback": {"url": receiver.url, "secret": "whsec_" + "a" * 32}, "session_context": "mine"}
        with programme.open("rb") as file:
            answer = server.client.post(
                "/v1/jobs", files={"file": ("My programme.wav", file)}, data={"options": json.dumps(callback)}
            )
        assert answer.status_code == 202, answer.text
        address = answer.headers["location"]

        job = server.client.get(f"{address}?wait=60").json()
        assert job["state"] == "finished", job
        assert job["result"]["source"] == "My programme.wav"
        found = job["result"]["segments"]
        assert [each["recording"]["id"] for each in found] == [ids[tune.name] for tune in tunes[:2]]
        for segment, (start, end) in zip(found, places, strict=True):
            assert (segment["start"], segment["end"]) == (pytest.approx(start, abs=2), pytest.approx(end, abs=2))

        events = [event for event in server.client.get(f"{address}/events").text.split("\n\n") if "event: job" in event]
        assert '"state": "finished"' in events[-1]
        assert server.client.get(f"{address}/export?format=srt").text.startswith("1\n00:00:0")
        assert max(server.client.get(f"{address}/peaks?points=100").json()["peaks"]) > 0.1
        assert server.client.get(f"{address}/audio", headers={"range": "bytes=0-3"}).content == b"RIFF"
        give_up = time.monotonic() + 20
        while not receiver.received and time.monotonic() < give_up:
            time.sleep(0.1)
        assert json.loads(receiver.received[0].body)["id"] == job["id"]
        assert str(tmp_path) not in receiver.received[0].body.decode()
        assert receiver.received[0].headers["webhook-signature"].startswith("v1,")
        (delivery,) = server.client.get(f"{address}/deliveries").json()["items"]
        assert delivery["attempts"][0]["status"] == 200
        minutes = sum(row["minutes"] for row in server.client.get("/v1/usage").json()["items"])
        assert minutes >= 1


def programme_of(tunes: list[Path], target: Path) -> tuple[Path, list[tuple[float, float]]]:
    """Twelve seconds of each tune, separated by silence. Returns the file and the interval of each tune."""
    silence = np.zeros(4 * synth.SAMPLE_RATE, np.float32)
    pieces, places = [silence], []
    for number, tune in enumerate(tunes):
        pieces += [files.load(tune, synth.SAMPLE_RATE, start=5, duration=12), silence]
        places.append((4 + 16 * number, 16 + 16 * number))
    synth.write(target, np.concatenate(pieces))
    return target, places


def test_the_server_does_not_listen_for_other_machines_without_keys(tmp_path):
    refused = really_run("--library", tmp_path / "library", "serve", "--host", "0.0.0.0", "--port", "0", text=True)
    assert refused.returncode == 2
    assert_one_line(refused.stderr)
    assert "songprint keys create" in refused.stderr


def test_a_port_in_use_is_reported_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = really_run("--library", tmp_path / "library", "serve", "--port", taken.getsockname()[1], text=True)
    assert refused.returncode == 2
    assert_one_line(refused.stderr)
    assert "--port" in refused.stderr
