"""The container image, compose.yaml, pinned versions and licences agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PINNED = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_has_a_memory_limit_a_health_check_and_a_fixed_version(name):
    service = COMPOSE["services"][name]
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert name == "songprint" or service["healthcheck"]["test"][0] == "CMD", "the image of Songprint has its own"
    assert re.fullmatch(r"[\w/]+:v?\d[\w.]*", service["image"])
    for other, condition in service.get("depends_on", {}).items():
        assert COMPOSE["services"][other]["healthcheck"] and condition == {"condition": "service_healthy"}


def test_one_pair_of_milvus_server_and_client_is_named_everywhere():
    image = COMPOSE["services"]["milvus"]["image"].removeprefix("milvusdb/milvus:v")
    assert f"milvus=={image}" in (ROOT / "Makefile").read_text()
    documented = (ROOT / "docs" / "engines.md").read_text()
    assert f"the client pymilvus {PINNED['pymilvus']}, the server Milvus {image}" in documented
    assert f"pymilvus=={PINNED['pymilvus']}" in (ROOT / "constraints.txt").read_text()


def test_every_package_of_the_image_is_pinned_with_hashes_and_none_names_a_host():
    entries = re.split(r"\n(?=[A-Za-z0-9])", LOCK.partition("\n")[2])
    assert len(entries) == len(PINNED) and all("--hash=sha256:" in entry for entry in entries)
    for text in (LOCK, (ROOT / "constraints.txt").read_text()):
        assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_everything_that_songprint_requires_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["server"] + extras["mysql"] + extras["postgresql"] + extras["milvus"]
    names = {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for each in wanted}
    assert names <= PINNED.keys()


def test_the_notices_list_every_package_and_name_the_gpl_libraries_of_the_pyav_wheel():
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
    for name, version in PINNED.items():
        assert f"| {name} | {version} |" in notices
    assert "libx264 and libx265" in notices
    assert not re.search(r"\| [^|]*A?GPL[^|]* \|$", notices, re.MULTILINE)


def test_the_image_builds_pyav_against_an_ffmpeg_without_gpl_for_any_architecture():
    assert "--no-binary av" in DOCKERFILE and "VALIDSIG" in DOCKERFILE
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all(f"!{source}" in ignored for source in line.split()), line
    configure = DOCKERFILE[DOCKERFILE.index("./configure") : DOCKERFILE.index("make --jobs")]
    assert "--enable-gpl" not in configure and "--enable-nonfree" not in configure
    assert not re.search(r"x86_64|amd64(?!,)|aarch64", DOCKERFILE)
