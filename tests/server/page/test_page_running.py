"""The views for operators and developers: keys and signing in, usage, jobs, the API explorer."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from support.page_world import KNOWN, until


def today() -> str:
    return datetime.now(UTC).date().isoformat()


@contextmanager
def with_a_key(site, visit):
    """Create the first key on the page, which signs in with it; yields (page, token). Revokes all keys at the end."""
    page = visit("keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("Head of music")
    page.get_by_role("button", name="Create key").click()
    token = page.locator("dialog pre").first.inner_text()
    page.get_by_role("button", name="I have copied them").click()
    page.locator(".who").wait_for()
    try:
        yield page, token
    finally:
        keys = site.keys
        for key in keys.all(revoked=False):
            keys.revoke(key.id)


def test_users_sign_in_with_a_key_once_one_exists(site, visit):
    with with_a_key(site, visit) as (page, token):
        assert token.startswith("sp_") and page.locator(".who").inner_text() == "Head of music"
        # Scripts cannot read the cookie, and a request that changes something needs more than the cookie.
        assert page.evaluate("document.cookie") == "" and token not in page.evaluate("JSON.stringify(localStorage)")
        refused = page.evaluate(
            "fetch('v1/keys', {method: 'POST', headers: {'content-type': 'application/json'},"
            ' body: \'{"name": "x", "scope": "admin"}\'}).then((answer) => answer.status)'
        )
        assert refused == 403
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        assert not page.locator("#nav").is_visible()
        page.get_by_label("Token of your key").fill("sp_wrong")
        page.get_by_role("button", name="Sign in").click()
        assert "not valid" in page.get_by_role("alert").inner_text()
        page.get_by_label("Token of your key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.locator(".who").wait_for()
        # Other keys can be created and revoked.
        page.get_by_role("link", name="Keys").click()
        page.get_by_role("button", name="New key").click()
        page.get_by_label("Name").fill("Player in the lobby")
        page.get_by_role("button", name="Create key").click()
        page.get_by_role("button", name="I have copied them").click()
        page.get_by_role("button", name="Revoke Player in the lobby").click()
        page.get_by_role("button", name="Revoke", exact=True).click()
        page.locator("tr.past", has_text="Player in the lobby").wait_for()


def test_a_key_with_the_scope_identify_gets_no_buttons_for_changes(site, visit):
    with with_a_key(site, visit) as (page, _):
        token = site.keys.create("Guest", "identify").token
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Token of your key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Library").click()
        page.locator(".recordings tbody tr").first.wait_for()
        assert page.get_by_role("link", name="Keys").count() == 0
        assert page.get_by_role("button", name="Edit").count() == 0 and page.locator("#add-music").count() == 0


def test_the_audit_log_lists_changes_with_their_authors(site, visit):
    for number in range(60):
        site.audit.note("", "jobs.forget", f"{number} that ended 30 days ago")
    with with_a_key(site, visit) as (page, _):
        key = site.keys.all(revoked=False)[0]
        guest, job = site.keys.create("Guest", "identify").key, 32 * "a"
        for action, subject in [
            ("keys.create", f"{guest.id} Guest (identify)"),
            ("keys.revoke", f"{guest.id} {key.id}"),
            ("recordings.add", f"5 <i>Hymn</i> from job {job}"),
            ("recordings.edit", "5 Hymn: to joy: title, year"),
            ("recordings.remove", "5"),
            ("works.link", "W 7: [5, 6]"),
            ("works.unlink", "5 Hymn"),
            ("jobs.cancel", job),
            ("verdicts.reject", f"{job} segment 3"),
            ("verdicts.correct", f"{job} gap 0: 5"),
            ("a.new.one", "of tomorrow"),
        ]:
            site.audit.note(key.id, action, subject)
        page.get_by_role("link", name="Keys").click()
        page.get_by_role("link", name="Audit log").click()
        page.get_by_role("heading", name="Today").wait_for()
        entries = page.locator(".entry > span")
        assert entries.all_inner_texts()[:13] == [
            f"Head of music {change}"
            for change in (
                "a.new.one of tomorrow",
                "corrected unknown music in a job: recording 5",
                "rejected a match in a job",
                "cancelled a job",
                "unlinked Hymn from its work",
                "linked 2 recordings to the work W 7",
                "removed recording 5",
                "changed title and year of Hymn: to joy",
                "added <i>Hymn</i> from a job",
                "revoked the keys Guest and Head of music",
                "created the key Guest with the scope identify",
                "signed in",
            )
        ] + ["A local user created the key Head of music with the scope admin"]
        assert page.get_by_role("link", name="a job").first.get_attribute("href") == f"#/jobs/{job}"
        assert entries.count() == 50
        page.get_by_role("button", name="Show earlier changes").click()
        page.get_by_text("deleted 1 job that ended more than 30 days ago").wait_for()


def test_usage_is_shown_by_day_and_key(visit, site):
    site.usage.add_queries("", today(), 1, 3599.0)
    page = visit("usage")
    page.locator(".usage-chart svg rect").first.wait_for()
    minutes = int(page.locator(".usage-chart .big").inner_text().replace(",", ""))
    assert minutes >= 60
    assert "Local, without a key" in page.locator("table").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.path().read_text().startswith("day,key,jobs,queries,seconds,minutes")


def test_the_chart_combines_all_keys_after_the_fifth(visit, site):
    for number in range(1, 9):
        site.usage.add_queries(f"KEY-{number}-of-a-customer", today(), 1, 600_000.0 * number)
    page = visit("usage")
    legend = page.locator(".legend-list li")
    legend.nth(5).wait_for()
    assert legend.all_inner_texts() == [*(f"KEY-{number}-of…" for number in (8, 7, 6, 5, 4)), "All others"]
    assert page.locator("table tbody tr").count() >= 8
    others = page.locator("rect.shade-5 title").text_content()
    assert int("".join(filter(str.isdigit, others.split("others: ")[1]))) >= 60_000  # 1, 2, 3 and others


def test_jobs_are_listed_by_state(site, visit):
    job = site.jobs.submit({"type": "url", "url": "http://127.0.0.1:9/nothing-here.mp4"})
    page = visit(f"jobs/{job.id}")
    page.get_by_role("button", name="Cancel").or_(page.get_by_role("button", name="Run again")).wait_for()
    if page.get_by_role("button", name="Cancel").count():
        page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Run again").wait_for()
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("button", name="Cancelled").or_(page.get_by_role("button", name="Failed")).first.wait_for()
    state = site.jobs.get(job.id).state
    page.get_by_role("button", name=state.capitalize()).click()
    page.get_by_role("link", name="nothing-here.mp4").first.wait_for()


def test_leaving_a_job_while_it_loads_is_no_error(site, visit, job):
    def leave(page) -> None:
        with page.expect_event("requestfailed"):  # the page aborts its request
            page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_role("heading", name="Jobs").wait_for()
        page.wait_for_timeout(100)

    waiting, held = site.jobs.submit({"type": "url", "url": "http://127.0.0.1:9/left.mp4"}), []
    page = visit(f"jobs/{waiting.id}")
    page.get_by_role("heading", name="left.mp4").wait_for()
    with page.expect_request(f"**/v1/jobs/{waiting.id}"):  # the event stream reports the end of the job
        page.route(f"**/v1/jobs/{waiting.id}", lambda route: held.append(route))
        site.jobs.cancel(waiting.id)
    leave(page)
    page.route("**/deliveries", lambda route: held.append(route))
    with page.expect_request("**/deliveries"):
        page.goto(f"{site.address}/#/jobs/{job}")
    leave(page)
    assert len(held) == 2


def test_a_late_response_does_not_replace_a_newer_one(site, visit, job):
    from playwright.sync_api import Error

    page, held = visit("jobs"), []
    page.get_by_role("link", name="Evening show").first.wait_for()
    page.route("**/v1/jobs?state=finished**", lambda route: held.append(route))
    page.get_by_role("button", name="Finished").click()
    page.get_by_role("button", name="Running").click()
    page.get_by_text("No running jobs").wait_for()
    with suppress(Error):  # the page has aborted it
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.get_by_text("No running jobs").is_visible()


def test_the_explorer_signs_and_sends_a_tencent_request_and_shows_its_callback(site, visit, tmp_path):
    with serving(site.files.broadcast.parent) as address, with_a_key(site, visit) as (page, _):
        page.get_by_role("link", name="API", exact=True).click()
        page.get_by_role("button", name="Create a key for testing").click()
        until(page, "document.querySelector('input[name=secretKey]').value.length > 20")
        page.get_by_label("URL of the audio or video").fill(f"{address}/excerpt.wav")
        page.get_by_label("SessionContext").evaluate("(field) => { field.value = 'from the page'; }")
        assert "curl" in page.get_by_role("region", name="Code of the request").inner_text()
        page.get_by_role("button", name="Python SDK").click()
        code = page.get_by_role("region", name="Code of the request").inner_text()
        compile(code, "shown", "exec")
        assert "ProcessMediaRequest" in code and "mps_client" in code
        page.get_by_role("button", name="Sign and send").click()
        assert "WorkflowTask" in page.get_by_role("region", name="Body of the response").inner_text()
        callback = page.get_by_role("region", name="Body of the callback", exact=True)
        callback.wait_for()
        assert KNOWN[2].title in callback.inner_text() and '"Sign"' in callback.inner_text()
        assert "from the page" in callback.inner_text()
        page.get_by_role("button", name="Describe this task").click()
        page.get_by_text('"Status": "FINISH"').first.wait_for()
        # The page of the job lists the delivery, and can send it again.
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_role("link", name="excerpt.wav").first.click()
        page.locator(".attempts li").first.wait_for()
        page.get_by_role("button", name="Send again").click()
        page.get_by_role("button", name="Send", exact=True).click()
        page.locator(".attempts li").nth(1).wait_for()
        page.locator(".chip", has_text="Delivered").wait_for()


def test_the_explorer_sends_requests_of_the_rest_api(site, visit):
    page = visit("explorer/rest")
    page.get_by_role("combobox", name="Request").select_option("GET /v1/recordings")
    page.get_by_label("q (optional)").fill(KNOWN[1].title)
    page.get_by_role("button", name="Python").click()
    code = page.get_by_role("region", name="Code of the request").inner_text()
    compile(code, "shown", "exec")
    assert "/v1/recordings?q=" in code
    page.get_by_role("button", name="Send").click()
    assert KNOWN[1].artist in page.get_by_role("region", name="Body of the response").inner_text()


def test_the_explorer_sends_files_with_form_fields(site, visit):
    page = visit("explorer/rest")
    page.get_by_role("combobox", name="Request").select_option("POST /v1/recordings")
    page.locator("input[name=file]").set_input_files(site.files.new)
    page.get_by_label("title (optional)").fill("Sent by the explorer")
    code = page.get_by_role("region", name="Code of the request")
    code.get_by_text("-F 'title=Sent by the explorer'").wait_for()
    page.get_by_role("button", name="Python").click()
    compile(code.inner_text(), "shown", "exec")
    assert "data=" in code.inner_text() and "files=" in code.inner_text()
    page.get_by_role("button", name="Send").click()
    page.get_by_role("region", name="Body of the response").wait_for()
    (added,) = site.library.recordings("Sent by the explorer")
    site.library.remove(added.id)


def test_docs_opens_the_explorer_without_a_key(site, visit):
    site.keys.create("Somebody else", "admin")
    try:
        page = visit("listen")
        page.get_by_role("heading", name="Sign in").wait_for()
        page.goto(f"{site.address}/docs")
        page.get_by_role("combobox", name="Request").select_option("GET /v1/jobs/{job_id}")
        page.get_by_text("Response 200").click()
        fields = page.get_by_role("region", name="Fields of Job", exact=True)
        assert "created_at" in fields.inner_text() and "finished" in fields.inner_text()
        page.get_by_role("textbox", name="job_id").fill("abc")
        page.get_by_role("button", name="Send").click()
        assert "401" in page.locator(".chip.bad").inner_text()
        page.get_by_role("link", name="Sign in").click()
        page.get_by_role("heading", name="Sign in").wait_for()
    finally:
        for key in site.keys.all(revoked=False):
            site.keys.revoke(key.id)


def test_signatures_equal_those_of_the_specification(visit):
    page = visit("explorer/tencent")
    signed = page.evaluate("""async () => {
      const { signedHeaders } = await import('/page/explorer/tc3.js');
      return signedHeaders({ action: 'DescribeTaskDetail', body: '{"TaskId": "1-WorkflowTask-abc"}',
                             host: '127.0.0.1:8080', secretId: 'AKIDlocal', secretKey: 'localsecret',
                             now: 1700000000 });
    }""")
    specified = "751e0af3feb563a95e2903c28ff30dbd9e2a5d9e255119eb5f9ab974e2013d05"
    assert signed["Authorization"].endswith(f"Signature={specified}")


@contextmanager
def serving(folder):
    """A file server on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
