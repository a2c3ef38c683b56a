"""API keys, their rights and rates, and the audit log."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from songprint.accounts.audit import Audit
from songprint.accounts.keys import Keys, key_object
from songprint.accounts.limiter import Limiter
from songprint.accounts.vault import MASTER_KEY_FILE, MASTER_KEY_VARIABLE, Vault
from songprint.errors import KeyRefused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir()
    return path


def keys_of(database, folder: Path, environ: dict[str, str]) -> Keys:
    return Keys(database, Vault(database, folder, environ))


@pytest.fixture
def keys(database, folder) -> Keys:
    return keys_of(database, folder, {})


def test_a_key_has_a_secret_for_signatures_and_a_bearer_token(keys):
    made = keys.create("player", "write", rate=5)
    assert len(made.key.id) == 34 and made.key.id.startswith("SP") and made.key.id.isalnum()
    assert keys.by_secret_id(made.key.id) == (made.key, made.secret_key)
    assert keys.by_token(made.token) == made.key
    assert (made.key.may("identify"), made.key.may("write"), made.key.may("admin")) == (True, True, False)
    assert keys.all() == [made.key] and keys.any()
    assert key_object(made.key)["parent"] is None


def test_secrets_are_stored_encrypted_and_the_master_key_is_private(database, keys, folder):
    made = keys.create("player", "identify")
    with database.reading() as connection:
        [row] = connection.execute(text("SELECT * FROM api_keys")).all()
    stored = b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert made.secret_key.encode() not in stored and made.token.encode() not in stored
    assert stat.S_IMODE((folder / MASTER_KEY_FILE).stat().st_mode) == 0o600
    assert os.listdir(folder) == [MASTER_KEY_FILE]


def test_the_master_key_can_be_set_in_the_environment(database, folder):
    given = {MASTER_KEY_VARIABLE: base64.urlsafe_b64encode(bytes(range(32))).decode()}
    made = keys_of(database, folder, given).create("player", "identify")
    assert os.listdir(folder) == []
    assert keys_of(database, folder / "on another machine", given).by_secret_id(made.key.id)[1] == made.secret_key
    wrong = {MASTER_KEY_VARIABLE: base64.urlsafe_b64encode(bytes(32)).decode()}
    with pytest.raises(KeyRefused, match="was encrypted with another master key"):
        keys_of(database, folder, wrong).by_secret_id(made.key.id)
    with pytest.raises(KeyRefused, match=r"in \$SONGPRINT_MASTER_KEY must be 32 bytes in base64"):
        keys_of(database, folder, {MASTER_KEY_VARIABLE: "secret"}).create("other", "identify")


def test_a_lost_master_key_is_not_replaced(database, keys, folder):
    made = keys.create("player", "identify")
    (folder / MASTER_KEY_FILE).unlink()
    again = keys_of(database, folder, {})
    with pytest.raises(KeyRefused, match=r"master\.key is missing, but there are keys already"):
        again.create("other", "identify")
    with pytest.raises(KeyRefused, match="cannot read the master key"):
        again.by_secret_id(made.key.id)
    assert again.by_token(made.token)  # tokens do not need the master key


def test_concurrent_processes_create_one_master_key(database, folder):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda name: keys_of(database, folder, {}).create(name, "identify"), "abcd"))
    for each in made:
        assert keys_of(database, folder, {}).by_secret_id(each.key.id)[1] == each.secret_key


def test_a_key_is_followed_by_those_above_it(keys):
    top = keys.create("label", "write").key
    middle = keys.create("shop", "write", parent=top.id).key
    player = keys.create("player", "identify", parent=middle.id, rate=2).key
    assert keys.with_parents(player) == [player, middle, top] and keys.with_parents(top) == [top]


def test_a_request_passes_all_limits_or_counts_in_none():
    now = 0.0
    limiter = Limiter(clock=lambda: now)
    assert [limiter.wait_for_all([("child", 1), ("parent", 2)]) for _ in range(2)] == [0.0, 1.0]
    assert [limiter.wait_for_all([("other child", 2), ("parent", 2)]) for _ in range(2)] == [0.0, 0.5]
    now = 1.0
    assert limiter.wait("parent", 2) == 0.0


def test_a_sub_key_has_at_most_the_rights_of_its_parent(keys):
    parent = keys.create("label", "write", rate=10).key
    assert keys.create("player", "identify", parent=parent.id, rate=3).key.rate == 3
    assert keys.create("player", "write", parent=parent.id).key.rate == 10
    with pytest.raises(KeyRefused, match="has the scope write: its sub-keys cannot have admin"):
        keys.create("root", "admin", parent=parent.id)
    with pytest.raises(KeyRefused, match="has a rate of 10 requests per second: its sub-keys cannot have 11"):
        keys.create("fast", "identify", parent=parent.id, rate=11)
    with pytest.raises(KeyRefused, match="no key SPnobody"):
        keys.create("lost", "identify", parent="SPnobody")


def test_revoking_a_key_revokes_its_sub_keys(keys):
    label = keys.create("label", "admin")
    shop = keys.create("shop", "write", parent=label.key.id)
    player = keys.create("player", "identify", parent=shop.key.id)
    other = keys.create("other", "admin")
    assert keys.family(label.key.id) == [label.key.id, shop.key.id, player.key.id]
    assert {key.id for key in keys.revoke(label.key.id)} == {label.key.id, shop.key.id, player.key.id}
    for each in (label, shop, player):
        with pytest.raises(KeyRefused, match=f"the key {each.key.id} was revoked"):
            keys.by_token(each.token)
        with pytest.raises(KeyRefused, match="was revoked"):
            keys.by_secret_id(each.key.id)
    assert [key.id for key in keys.all(revoked=False)] == [other.key.id]
    with pytest.raises(KeyRefused, match="was revoked"):
        keys.revoke(label.key.id)
    with pytest.raises(KeyRefused, match="was revoked"):
        keys.create("late", "identify", parent=shop.key.id)
    keys.revoke(other.key.id)
    assert not keys.any()


def test_only_top_level_administrators_see_all_keys(keys):
    label = keys.create("label", "admin").key
    shop = keys.create("shop", "admin", parent=label.id).key
    player = keys.create("player", "identify", parent=shop.id).key
    writer = keys.create("writer", "write").key
    assert keys.visible_to(label) is None and keys.visible_to(None) is None
    assert keys.visible_to(shop) == [shop.id, player.id]
    assert keys.visible_to(player) == [player.id]
    assert keys.visible_to(writer) == [writer.id]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scope": "root"}, "scope='root' must be one of identify, write, admin"),
        ({"rate": 0}, r"rate=0 must be positive \(requests per second\)"),
        ({"name": " "}, "a key needs a name"),
    ],
)
def test_invalid_values_are_refused(keys, values, message):
    with pytest.raises(KeyRefused, match=message):
        keys.create(**{"name": "player", "scope": "identify"} | values)


def test_an_unknown_key_is_refused(keys):
    with pytest.raises(KeyRefused, match="no key SPnobody"):
        keys.by_secret_id("SPnobody")
    with pytest.raises(KeyRefused, match="no key with this token"):
        keys.by_token("sp_wrong")


def test_requests_pass_at_their_rate_with_a_burst_of_one_second():
    now = [100.0]
    limiter = Limiter(clock=lambda: now[0])
    assert [limiter.wait("SPme", 4) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert limiter.wait("SPother", 4) == 0
    now[0] += 0.25
    assert [limiter.wait("SPme", 4) for _ in range(2)] == [0, 0.25]
    now[0] += 60
    assert [limiter.wait("SPme", 4) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert [limiter.wait("slow", 0.5) for _ in range(2)] == [0, 2.0]


def test_the_limiter_deletes_idle_buckets():
    now = [0.0]
    limiter = Limiter(clock=lambda: now[0])
    for number in range(30_000):
        now[0] += 0.01
        limiter.wait(f"address {number}", rate=1)
    assert len(limiter._buckets) <= 10_001


def test_the_audit_log_lists_actions_newest_first(database):
    audit = Audit(database)
    audit.note("", "keys.create", "SPme player\0")
    audit.note("SPme", "recordings.add", "7")
    latest, first = audit.entries()
    assert (latest.key_id, latest.action, latest.subject) == ("SPme", "recordings.add", "7")
    assert first.subject == "SPme player" and first.at <= latest.at
    assert audit.entries(key_id="SPme") == [latest]
    assert audit.entries(before=latest.number, limit=1) == [first]
