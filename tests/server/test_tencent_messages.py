"""Error messages of Tencent's API: in English, and in Chinese for clients that ask for it."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.serving import serving
from support.tencent import Client, request_of

import songprint.server.tencent
from songprint.outside import hosts
from songprint.server.rest import problems
from songprint.server.tencent import messages

CHINESE = re.compile("[\u4e00-\u9fff]")
ENGLISH = re.compile(r"(?<![A-Za-z.])[a-z]{3,}(?![A-Za-z.])")  # words of prose, not names such as TaskId


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield Client.of(world, world.server.keys.create("player", "identify"))


def raised() -> Iterator[tuple[str, ast.expr]]:
    """The messages of all errors of the package: (file and line, argument)."""
    for file in Path(songprint.server.tencent.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                yield f"{file.name}:{node.lineno}", node.args[1]


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_every_message_has_a_chinese_form():
    found = set()
    for place, argument in raised():
        if isinstance(argument, ast.Attribute):
            continue  # messages.INTERNAL_ERROR, and the copy of a message
        assert isinstance(argument, ast.Constant), f"{place}: a message must be a constant with placeholders"
        assert argument.value in messages.CHINESE, place
        found.add(argument.value)
    assert set(messages.CHINESE) - found == {messages.INTERNAL_ERROR, messages.UNAVAILABLE}
    assert f"{problems.UNAVAILABLE}." == messages.UNAVAILABLE
    for english, chinese in messages.CHINESE.items():
        assert placeholders(english) >= placeholders(chinese), english
        assert chinese == "{reason}。" or CHINESE.search(chinese), english
        assert chinese.endswith("。"), english


def test_every_reason_to_refuse_a_url_has_a_chinese_form():
    tree = ast.parse(Path(hosts.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RefusedURL":
            [argument] = node.args
            branches = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
            for branch in branches:
                text = eval(compile(ast.Expression(branch), "", "eval"), {"LONGEST_URL": 8192})
                assert messages.reason(f"the URL is refused: {text}") != messages.reason("anything else"), text


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("ProcessMedia", {}),
        ("ProcessMedia", request_of("http://127.0.0.1/a.mp3")),
        ("ProcessMedia", request_of("http://example.org:22/a.mp3")),
        ("ProcessMedia", request_of("ftp://example.org/a.mp3")),
        ("ProcessMedia", request_of(TasksPriority=11)),
        ("ProcessMedia", request_of(OutputDir="x")),
        ("ProcessMedia", request_of(Surprise=1)),
        ("DescribeTaskDetail", {"TaskId": "nope"}),
        ("NoSuchThing", {}),
        ("EditMedia", {}),
    ],
)
def test_clients_choose_the_language_of_messages(client, action, parameters):
    codes = set()
    for language, is_chinese in (("", False), ("en-US", False), ("fr-FR", False), ("zh-CN", True)):
        error = client.call(action, parameters, **({"x_tc_language": language} if language else {}))["Error"]
        codes.add(error["Code"])
        assert bool(CHINESE.search(error["Message"])) == is_chinese, error
        if is_chinese:
            assert not ENGLISH.search(re.sub(r"`[^`]*`|https?://", "", error["Message"])), error
    assert len(codes) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signature_v1_has_the_language_as_a_parameter(client, method):
    for parameters, is_chinese in (({"Language": "zh-CN"}, True), ({"TaskId": "&Language=zh-CN"}, False)):
        message = client.v1(method, "DescribeTaskDetail", parameters)["Error"]["Message"]
        assert bool(CHINESE.search(message)) == is_chinese


def test_requests_without_a_valid_signature_get_messages_in_their_language_too(client):
    headers = {"x-tc-action": "ProcessMedia", "x-tc-language": "zh-CN"}
    assert CHINESE.search(client.opened("POST", "/", b"{}", headers)["Error"]["Message"])
    assert CHINESE.search(client.opened("PUT", "/", b"{}", headers)["Error"]["Message"])
