// The request of Tencent Cloud's music identification as a form: signed, shown, sent; its answer and its callback.

import { fill, h } from "../dom.js";
import { button, code, field, note, select, tell, trying, unhurried } from "../parts.js";
import { may, read, send, session } from "../service.js";
import { moment } from "../words.js";
import { requestHead, responseHead } from "./exchange.js";
import { asCurl, asSdk, signed } from "./tc3.js";

const ACTIONS = {
  ProcessMedia: "ProcessMedia: identify the music",
  DescribeTaskDetail: "DescribeTaskDetail: one task",
  DescribeTasks: "DescribeTasks: a list",
  ManageTask: "ManageTask: abort a task",
  DescribeAIAnalysisTemplates: "DescribeAIAnalysisTemplates",
};
const INPUTS = { URL: "Address (URL)", COS: "Object in COS", "AWS-S3": "Object in S3" };
const EXTENDED = '{"tag":{"process_type":"1102"}}';
const LOOKS = 60; // for the callback, one a second

// While the page is open only: a secret key does not belong into the browser's storage.
const kept = { secretId: "", secretKey: "", action: "ProcessMedia", input: "URL", task: "", inbox: null };

export function showTencent(place, { signal }) {
  const fields = h("div", { class: "stack" });
  const form = h("form", { class: "card form" });
  const shown = h("div", { class: "stack" });
  const outcome = h("div", { class: "stack", "aria-live": "polite" });
  let asCode = "curl";
  const ways = requestHead({ curl: "curl", python: "Python SDK" }, asCode, (way) => {
    asCode = way;
    preview();
  });
  fill(place, h("div", { class: "explore" }, form, h("div", { class: "stack" }, ways, shown, outcome)));

  const secretId = h("input", {
    name: "secretId",
    value: kept.secretId,
    autocomplete: "off",
    spellcheck: false,
    required: true,
    placeholder: "SP…",
  });
  const secretKey = h("input", {
    name: "secretKey",
    type: "password",
    value: kept.secretKey,
    autocomplete: "off",
    required: true,
  });
  fill(
    form,
    field(
      "Action",
      select(
        ACTIONS,
        kept.action,
        (action) => {
          kept.action = action;
          draw();
        },
        { name: "action" },
      ),
    ),
    fields,
    h(
      "fieldset",
      { class: "form" },
      h("legend", { class: "legend" }, "Signed with"),
      field("SecretId", secretId),
      field("SecretKey", secretKey, "It stays on this page, and goes nowhere"),
      session.open
        ? h(
            "p",
            { class: "small soft" },
            "Signed requests need a key. ",
            h("a", { href: "#/keys" }, "Make one for yourself first"),
          )
        : may("admin") && h("div", {}, button("Make a key for trying", makeKey, { kind: "compact", sign: "keys" })),
    ),
    h("button", { type: "submit", class: "button main" }, "Sign and send"),
  );
  form.addEventListener("input", unhurried(preview, 120));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trying(go);
  });
  draw();

  function draw() {
    fill(fields, kept.action === "ProcessMedia" ? processFields() : otherFields());
    preview();
  }

  function processFields() {
    const text = (name, label, more = {}, hint = "") => field(label, h("input", { name, ...more }), hint);
    const bucket = () => [
      h(
        "div",
        { class: "two" },
        text("bucket", "Bucket", { required: true, placeholder: "music-1250000000" }),
        text("region", "Region", { placeholder: "ap-guangzhou" }),
      ),
      text("object", "Object", { required: true, placeholder: "/recordings/evening.mp4" }),
    ];
    const where = h("div", { class: "stack" });
    const showInput = () =>
      fill(
        where,
        kept.input === "URL"
          ? text("url", "Address of the audio or video", {
              required: true,
              type: "url",
              placeholder: "https://example.org/evening.mp4",
            })
          : bucket(),
      );
    showInput();
    return [
      field(
        "Input",
        select(
          INPUTS,
          kept.input,
          (input) => {
            kept.input = input;
            showInput();
            preview();
          },
          { name: "input" },
        ),
      ),
      where,
      h(
        "div",
        { class: "two" },
        text(
          "definition",
          "Template",
          { value: "21", inputMode: "numeric", required: true },
          "21: music identification",
        ),
        text("priority", "Priority", { type: "number", min: -10, max: 10, placeholder: "0" }),
      ),
      text("extended", "Extended parameter", { value: EXTENDED, class: "mono" }, "JSON as text, as the SDK wants it"),
      h(
        "details",
        {},
        h("summary", { class: "small" }, "Output and session"),
        h(
          "div",
          { class: "form section" },
          h("div", { class: "two" }, text("outputBucket", "Output bucket"), text("outputRegion", "Its region")),
          text("outputDir", "Output folder", { placeholder: "/results/" }),
          h(
            "div",
            { class: "two" },
            text("session", "SessionId", { maxLength: 50 }),
            text("context", "SessionContext", { maxLength: 1000 }),
          ),
        ),
      ),
      h(
        "fieldset",
        { class: "form" },
        h("legend", { class: "legend" }, "Callback"),
        h(
          "label",
          { class: "check" },
          h("input", { type: "checkbox", name: "here", checked: true }),
          "Receive it here, on this page",
        ),
        text("notifyUrl", "Or at another address", { type: "url", placeholder: "https://example.org/callback" }),
        text("notifyKey", "NotifyKey, by which it is signed", { value: "k3y" }),
      ),
    ];
  }

  function otherFields() {
    const task = field("TaskId", h("input", { name: "task", value: kept.task, required: true, class: "mono" }));
    if (kept.action === "DescribeTasks")
      return [
        field(
          "Status",
          select({ FINISH: "FINISH", PROCESSING: "PROCESSING", WAITING: "WAITING" }, "FINISH", null, {
            name: "status",
          }),
        ),
        field("Limit", h("input", { name: "limit", type: "number", min: 1, max: 100, value: 10 })),
      ];
    return kept.action === "DescribeAIAnalysisTemplates" ? [] : [task];
  }

  function request() {
    const form_ = new FormData(form),
      value = (name) => String(form_.get(name) ?? "").trim();
    kept.secretId = value("secretId");
    kept.secretKey = value("secretKey");
    if (kept.action === "ProcessMedia")
      return processMedia(value, form_.has("here") ? (kept.inbox?.url ?? "") : value("notifyUrl"));
    if (kept.action === "DescribeTasks") return { Status: value("status"), Limit: Number(value("limit")) || 10 };
    if (kept.action === "DescribeAIAnalysisTemplates") return {};
    kept.task = value("task");
    return kept.action === "ManageTask" ? { OperationType: "Abort", TaskId: kept.task } : { TaskId: kept.task };
  }

  function sealed() {
    const body = JSON.stringify(request());
    return {
      body,
      headers: signed({
        action: kept.action,
        body,
        host: location.host,
        secretId: kept.secretId,
        secretKey: kept.secretKey,
        now: Math.floor(Date.now() / 1000),
      }),
    };
  }

  function preview() {
    const { body, headers } = sealed();
    const text =
      asCode === "curl"
        ? asCurl(`${location.origin}/`, headers, body)
        : asSdk(kept.action, request(), location.host, location.protocol.slice(0, -1), kept.secretId);
    fill(
      shown,
      code(text, "the request"),
      asCode === "curl" && h("p", { class: "tiny soft" }, "A signature holds for five minutes."),
    );
  }

  async function makeKey() {
    const made = await send("POST", "v1/keys", { name: "API explorer", scope: "write" }).catch((error) => {
      tell(error.message);
    });
    if (!made) return;
    secretId.value = made.id;
    secretKey.value = made.secret_key;
    preview();
    tell("A key named API explorer was made. Revoke it under Keys when you are done");
  }

  async function go() {
    const here = new FormData(form).has("here");
    if (kept.action === "ProcessMedia" && here) kept.inbox = await send("POST", "v1/explorer/inbox");
    preview();
    const { body, headers } = sealed();
    const began = performance.now();
    const answer = await fetch("./", { method: "POST", headers, body, credentials: "omit", signal });
    const said = await answer.json().catch(() => ({}));
    const trouble = said.Response?.Error;
    const task = said.Response?.TaskId;
    if (task) kept.task = task;
    const received = h("div", { class: "stack" });
    fill(
      outcome,
      responseHead(trouble?.Code ?? answer.status, trouble ? "bad" : "good", began),
      code(unfolded(said), "the response"),
      task &&
        h(
          "div",
          { class: "row" },
          button(
            "Ask for its details",
            () => {
              kept.action = "DescribeTaskDetail";
              form.elements.action.value = kept.action;
              draw();
              trying(go);
            },
            { kind: "compact" },
          ),
        ),
      received,
    );
    if (kept.action === "ProcessMedia" && here && task) await awaitCallback(received);
  }

  async function awaitCallback(received) {
    const waiting = h("p", { class: "small soft" }, "The callback has not come yet…");
    fill(received, h("h2", {}, "Callback"), waiting);
    for (let look = 0; look < LOOKS && !signal.aborted; look += 1) {
      const { items } = await read(kept.inbox.read, { signal });
      if (items.length) {
        fill(
          received,
          h("h2", {}, "Callback"),
          items.map((each) => [
            h("p", { class: "small soft" }, moment(each.at)),
            code(unfolded(parsed(each.body)), "the callback"),
            code(
              Object.entries(each.headers)
                .map(([name, value]) => `${name}: ${value}`)
                .join("\n"),
              "the headers of the callback",
            ),
          ]),
        );
        return;
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 1000);
      });
    }
    fill(
      waiting,
      note(
        "No callback within a minute. The task may still run: ask for its details. Its page under Jobs shows every attempt.",
        "warn",
      ),
    );
  }
}

function processMedia(value, notifyUrl) {
  const bucket = value("bucket"),
    region = value("region"),
    object = value("object");
  const inputs = {
    URL: () => ({ Type: "URL", UrlInputInfo: { Url: value("url") } }),
    COS: () => ({ Type: "COS", CosInputInfo: { Bucket: bucket, Region: region, Object: object } }),
    "AWS-S3": () => ({ Type: "AWS-S3", S3InputInfo: { S3Bucket: bucket, S3Region: region, S3Object: object } }),
  };
  const made = {
    InputInfo: inputs[value("input")](),
    AiAnalysisTask: { Definition: Number(value("definition")), ExtendedParameter: value("extended") },
  };
  if (value("outputBucket"))
    made.OutputStorage = {
      Type: "COS",
      CosOutputStorage: { Bucket: value("outputBucket"), Region: value("outputRegion") },
    };
  if (value("outputDir")) made.OutputDir = value("outputDir");
  if (notifyUrl)
    made.TaskNotifyConfig = {
      NotifyType: "URL",
      NotifyUrl: notifyUrl,
      ...(value("notifyKey") && { NotifyKey: value("notifyKey") }),
    };
  if (value("priority")) made.TasksPriority = Number(value("priority"));
  if (value("session")) made.SessionId = value("session");
  if (value("context")) made.SessionContext = value("context");
  return made;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** JSON to read; what is JSON within text is unfolded beside it. */
function unfolded(value) {
  const open = (key, inner) => (key === "SpecialInfo" && typeof inner === "string" ? parsed(inner) : inner);
  return typeof value === "string" ? value : JSON.stringify(value, open, 2);
}
