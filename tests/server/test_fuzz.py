"""schemathesis sends valid and invalid requests to a real server; none of them may cause an internal error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.server_process import serve
from support.serving import World, timeline_of

import songprint
from lab.data import synth
from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.jobs.jobs import Jobs

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = """
[parameters]
"path.job_id" = "{job_id}"
"path.recording_id" = 1
"path.position" = 0
"""


@pytest.mark.heavy
def test_no_request_causes_an_internal_error(tmp_path):
    with songprint.open(tmp_path / "library", create=True) as library:
        library.add(synth.write_pieces(tmp_path / "tunes", 2))
        database = library.store.catalog.database
        token = Keys(database, Vault(database, library.path)).create("fuzz", "admin", rate=1e6).token
        jobs = Jobs(database)
        job = jobs.submit({"type": "url", "url": "https://example.org/mix.mp3"})
        timeline = timeline_of(World(None, library, None, tmp_path))
        jobs.finish(jobs.claim("a test"), timeline, 15.0)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(job_id=job.id))
    with serve(tmp_path / "library", "--jobs", "0") as server:
        server.until_ready()
        result = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "--config-file",
                config,
                "run",
                f"{server.url}/openapi.json",
                "--checks",
                CHECKS,
                "--max-examples",
                "20",
                "--seed",
                "1",
                "--phases",
                "examples,coverage,fuzzing",
                "--continue-on-failure",
                "--request-timeout",
                "90",
                "--header",
                f"Authorization: Bearer {token}",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        ready = server.client.get("/readyz").status_code
    assert result.returncode == 0, result.stdout[-20_000:]
    assert ready == 200
