"""Templates of Tencent's API: numbers under which clients store options, and what tasks make of them."""

from __future__ import annotations

import json

import pytest
from support.serving import serving, timeline_of
from support.tencent import Client, request_of

from songprint.server.tencent import templates

TENCENTS = 283568  # the number in Tencent's own example of a result
OPTIONS = json.dumps({"songprint": {"covers": False, "min_confidence": 95, "max_results": 1}})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def client(world) -> Client:
    return Client.of(world, world.server.keys.create("player", "identify"))


def created(client: Client, **fields: object) -> int:
    return client.call("CreateAIAnalysisTemplate", fields)["Definition"]


def described(client: Client, **filters: object) -> list[dict]:
    answer = client.call("DescribeAIAnalysisTemplates", {"Limit": 100, **filters})
    assert answer["TotalCount"] == len(answer["AIAnalysisTemplateSet"])
    return answer["AIAnalysisTemplateSet"]


def analysis(definition: object, **extended: object) -> dict:
    return request_of(AiAnalysisTask={"Definition": definition, "ExtendedParameter": json.dumps(extended)})


def submitted(client: Client, world, request: dict):
    task_id = client.call("ProcessMedia", request)["TaskId"]
    job = world.server.jobs.claim("test")
    world.server.jobs.finish(job, timeline_of(world), 15.0)
    detail = client.call("DescribeTaskDetail", {"TaskId": task_id})
    return job, detail["WorkflowTask"]["AiAnalysisResultSet"][0]["TagTask"]


def test_templates_are_created_described_modified_and_deleted(client):
    definition = created(client, Name="radio", Comment="for radio", CoverConfigure={"Switch": "OFF"})
    assert definition >= templates.FIRST_CUSTOM
    [shown] = described(client, Definitions=[definition])
    assert shown.pop("CreateTime") == shown.pop("UpdateTime")
    assert shown == {
        "Definition": definition,
        "Name": "radio",
        "Comment": "for radio",
        "ClassificationConfigure": None,
        "TagConfigure": {"Switch": "ON"},
        "CoverConfigure": {"Switch": "OFF"},
        "FrameTagConfigure": None,
        "Type": "Custom",
    }
    assert client.call("ModifyAIAnalysisTemplate", {"Definition": definition, "Name": "TV"}) == {}
    other = created(client, Name="film")
    assert [each["Name"] for each in described(client)] == ["Music identification", "TV", "film"]
    assert [each["Name"] for each in described(client, Type="Custom")] == ["TV", "film"]
    assert [each["Definition"] for each in described(client, Name="film")] == [other]
    [changed] = described(client, Name="TV")
    assert (changed["Comment"], changed["CoverConfigure"]) == ("for radio", {"Switch": "OFF"})

    assert client.call("DeleteAIAnalysisTemplate", {"Definition": definition}) == {}
    assert client.refusal("DeleteAIAnalysisTemplate", {"Definition": definition}) == (
        "ResourceNotFound.TemplateNotExist"
    )
    modified = client.refusal("ModifyAIAnalysisTemplate", {"Definition": definition, "Name": "x"})
    assert modified == "ResourceNotFound.TemplateNotExist"
    assert created(client) > other  # a number is never used again


def test_templates_are_described_in_pages(client):
    for number in range(3):
        created(client, Name=f"page {number}")
    page = client.call("DescribeAIAnalysisTemplates", {"Offset": 1, "Limit": 2})
    assert page["TotalCount"] == 4
    assert [each["Name"] for each in page["AIAnalysisTemplateSet"]] == ["page 0", "page 1"]


def test_a_task_uses_the_options_of_its_template_and_reports_its_number(client, world):
    definition = created(client, Name="strict", Comment=OPTIONS)
    job, task = submitted(client, world, analysis(definition))
    assert job.options["kinds"] == ["recording"]
    assert task["Input"] == {"Definition": definition, "ExtendedParameter": "{}"}
    assert task["Output"]["TagSet"] == []  # its songs have a confidence of 90
    job, task = submitted(client, world, analysis(definition, songprint={"min_confidence": 50, "covers": True}))
    assert job.options["kinds"] == ["recording", "cover"]
    assert len(task["Output"]["TagSet"]) == 1  # the request overrides the template, which limits the number

    client.call("ModifyAIAnalysisTemplate", {"Definition": definition, "TagConfigure": {"Switch": "OFF"}})
    assert client.refusal("ProcessMedia", analysis(definition)) == "InvalidParameterValue.Definition"
    client.call("DeleteAIAnalysisTemplate", {"Definition": definition})
    explicit = analysis(definition, tag={"process_type": "1102"})
    assert client.refusal("ProcessMedia", explicit) == "InvalidParameterValue.Definition"


@pytest.mark.parametrize("definition", [TENCENTS, float(TENCENTS), str(TENCENTS), f"{TENCENTS}.0"])
def test_a_number_of_a_tencent_account_works_where_the_request_selects_music(client, world, definition):
    _, task = submitted(client, world, analysis(definition, tag={"process_type": "1102"}))
    assert task["Input"]["Definition"] == TENCENTS and len(task["Output"]["TagSet"]) == 2
    assert client.refusal("ProcessMedia", analysis(definition)) == "InvalidParameterValue.Definition"


def test_templates_belong_to_the_key_that_created_them(client, world):
    keys = world.server.keys
    parent = keys.create("parent", "identify")
    mine, above = Client.of(world, keys.create("child", "identify", parent=parent.key.id)), Client.of(world, parent)
    definition = created(mine, Name="mine")
    for stranger in (client, Client.of(world, keys.create("sibling", "identify", parent=parent.key.id))):
        assert described(stranger, Definitions=[definition]) == []
        assert stranger.refusal("ProcessMedia", analysis(definition)) == "InvalidParameterValue.Definition"
        for action in ("Modify", "Delete"):
            refused = stranger.refusal(f"{action}AIAnalysisTemplate", {"Definition": definition})
            assert refused == "ResourceNotFound.TemplateNotExist"
    administrator = Client.of(world, keys.create("administrator", "admin"))
    for owner in (mine, above, administrator):
        assert [each["Name"] for each in described(owner, Definitions=[definition])] == ["mine"]
        assert owner.call("ProcessMedia", analysis(definition))["TaskId"]
    above.call("DeleteAIAnalysisTemplate", {"Definition": definition})
    noted = [(entry.action, entry.subject) for entry in world.server.audit.entries(limit=2)]
    assert noted == [("templates.delete", str(definition)), ("templates.create", f"{definition} mine")]


@pytest.mark.parametrize(
    ("action", "fields", "code"),
    [
        ("Create", {"Name": "x" * 65}, "InvalidParameterValue.Name"),
        ("Create", {"Comment": "x" * 257}, "InvalidParameterValue.Comment"),
        ("Create", {"Comment": '{"songprint": {"covers": "maybe"}}'}, "InvalidParameterValue.Comment"),
        ("Create", {"Comment": '{"songprint": {"tempo": 1}}'}, "InvalidParameterValue.Comment"),
        ("Create", {"TagConfigure": {"Switch": "on"}}, "InvalidParameterValue.TagConfigure"),
        ("Create", {"FrameTagConfigure": {"Switch": "1"}}, "InvalidParameterValue.FrameTagConfigure"),
        ("Create", {"TagConfigure": {}}, "MissingParameter"),
        ("Create", {"TagConfigure": "ON"}, "InvalidParameter"),
        ("Create", {"Definition": 5}, "UnknownParameter"),
        ("Modify", {"Name": "x"}, "MissingParameter"),
        ("Modify", {"Definition": 21, "Name": "x"}, "InvalidParameterValue.ModifyDefaultTemplate"),
        ("Modify", {"Definition": TENCENTS, "Name": "x"}, "ResourceNotFound.TemplateNotExist"),
        ("Modify", {"Definition": -1}, "ResourceNotFound.TemplateNotExist"),
        ("Delete", {}, "MissingParameter"),
        ("Delete", {"Definition": 21}, "InvalidParameterValue.DeleteDefaultTemplate"),
        ("Delete", {"Definition": 10**17}, "ResourceNotFound.TemplateNotExist"),
        ("Delete", {"Definition": 21, "Name": "x"}, "UnknownParameter"),
    ],
)
def test_invalid_requests_are_refused(client, action, fields, code):
    assert client.refusal(f"{action}AIAnalysisTemplate", fields) == code
    assert described(client, Type="Custom") == []


def test_a_key_can_have_only_so_many_templates(client, monkeypatch):
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 2)
    created(client), created(client)
    assert client.refusal("CreateAIAnalysisTemplate", {}) == "LimitExceeded.TooMuchTemplate"
