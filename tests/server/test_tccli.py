"""Tencent's command line, `tccli`, against `songprint serve`. Its package takes 650 MB, so no test extra installs it.

The tests run where a program `tccli` is installed: `pip install tccli`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from support import server_process
from support.commandline import really_run

TCCLI = shutil.which("tccli")
MEDIA = {"Type": "URL", "UrlInputInfo": {"Url": "http://example.org/mix.mp4"}}
TASK = {"Definition": 283568, "ExtendedParameter": '{"tag":{"process_type":"1102"}}'}

pytestmark = pytest.mark.skipif(TCCLI is None, reason="tccli is not installed; `pip install tccli` takes 650 MB")

Call = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def call(tmp_path_factory) -> Iterator[Call]:
    """Calls an action; the parameters are given as objects, and options by their names."""
    home = tmp_path_factory.mktemp("home")
    library = home / "library"
    key = json.loads(really_run("--library", library, "keys", "create", "--name", "tccli", "--json").stdout)
    with server_process.serve(library, "--jobs", "0") as server:

        def call(action: str, path: str = "", **parameters: object) -> subprocess.CompletedProcess:
            given = {
                "endpoint": server.url + path,
                "secretId": key["id"],
                "secretKey": key["secret_key"],
                "region": "ap-guangzhou",
                **parameters,
            }
            words = [
                word
                for name, value in given.items()
                for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
            ]
            address = server.url.removeprefix("http://")
            local = f"127.0.0.1,{address}"
            return subprocess.run(
                [str(TCCLI), "mps", action, *words],
                capture_output=True,
                text=True,
                timeout=120,
                env=os.environ | {"HOME": str(home), "NO_PROXY": local, "no_proxy": local},
            )

        yield call


def answer(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_tccli_submits_and_describes_a_task(call):
    task_id = answer(call("ProcessMedia", InputInfo=MEDIA, AiAnalysisTask=TASK))["TaskId"]
    assert answer(call("DescribeTaskDetail", TaskId=task_id))["Status"] == "WAITING"
    assert answer(call("DescribeTaskDetail", path="/some/prefix", TaskId=task_id))["Status"] == "WAITING"


def test_tccli_prints_errors_in_the_chosen_language(call):
    chinese = call("DescribeTaskDetail", TaskId="nope")  # its default
    english = call("DescribeTaskDetail", TaskId="nope", language="en-US")
    assert "code:ResourceNotFound" in chinese.stdout + chinese.stderr
    assert re.search("[\u4e00-\u9fff]", chinese.stdout + chinese.stderr)
    assert "There is no task with this TaskId." in english.stdout + english.stderr
