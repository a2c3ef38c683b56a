"""Checks of Dockerfile and compose.yaml that need no container engine."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from songprint import config
from songprint.cli import main

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
SECRETS = {"MARIADB_PASSWORD": "p%40ss", "STORE_ACCESS_KEY": "key", "STORE_SECRET_KEY": "secret"}
COMPOSE = yaml.safe_load(
    re.sub(
        r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: SECRETS[found[1]], (ROOT / "compose.yaml").read_text(encoding="utf-8")
    )
)
OURS = ("songprint", "worker")


def steps(name: str) -> list[str]:
    return [rest.strip() for word, rest in STEPS if word == name]


def check_arguments(words: list[str]) -> None:
    """Fail if `songprint` does not accept these arguments."""
    command = main.commands[words[0]]
    command.make_context(words[0], words[1:])


def test_copied_files_exist_and_are_not_ignored():
    assert {word for word, _ in STEPS} <= KNOWN
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copied in steps("COPY"):
        words = [word for word in shlex.split(copied) if not word.startswith("--")]
        if "--from=build" not in copied:
            assert all((ROOT / word).exists() and word in allowed for word in words[:-1]), copied


def test_the_image_has_all_extras_of_the_service():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"\[([a-z,]+)\]\"", DOCKERFILE)
    assert set(wanted.split(",")) == extras.keys() - {"test", "plot", "docs"}


def test_the_image_runs_as_an_unprivileged_user_and_has_a_health_check():
    assert steps("USER") == ["10001:10001"]
    assert "/healthz" in steps("HEALTHCHECK")[0]
    assert steps("EXPOSE") == [str(config.ServerSettings().port)]
    environ = dict(word.split("=", 1) for line in steps("ENV") for word in shlex.split(line))
    assert config.load(environ).library == Path("/data/library")
    compile(json.loads(steps("HEALTHCHECK")[0].partition("CMD ")[2])[2], "health check", "exec")


def test_the_arguments_of_the_containers_are_valid():
    assert json.loads(steps("ENTRYPOINT")[0]) == ["songprint"]
    check_arguments(json.loads(steps("CMD")[0]))
    check_arguments(COMPOSE["services"]["worker"]["command"])


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_the_containers_are_valid(name):
    environ = {key: str(value) for key, value in COMPOSE["services"][name]["environment"].items()}
    settings = config.load(environ)
    assert settings.database.startswith("mysql://songprint:p%40ss@mariadb/")
    assert settings.index == "milvus:http://milvus:19530"
    (store,) = settings.server.storages
    assert (store.endpoint, store.secret_key) == ("http://store:8333", "secret")


def test_services_and_volumes_of_compose_are_complete():
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys()
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
        volumes = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert set(volumes) <= COMPOSE["volumes"].keys() and volumes, f"{name} has no volume"
        assert {each["source"] for each in service.get("configs", [])} <= COMPOSE["configs"].keys()
        assert re.fullmatch(r"[a-z/]+:v?[0-9.]+", service["image"]), f"{name}: the image has no version"
    s3 = json.loads(COMPOSE["configs"]["s3"]["content"])["identities"][0]["credentials"]
    assert s3 == [{"accessKey": "key", "secretKey": "secret"}]
    yaml.safe_load(COMPOSE["configs"]["etcd"]["content"])


def test_only_songprint_publishes_a_port_and_only_on_loopback():
    published = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert published.pop("songprint") == ["127.0.0.1:8080:8080"]
    assert not any(published.values())
