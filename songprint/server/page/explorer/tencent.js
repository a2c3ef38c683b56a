// Requests of Tencent Cloud's music identification as a form: signed, shown as code, sent, with response and callback.

/** @import { Child } from "../dom.js" */

import { getJson, isAllowed, sendJson, session } from "../api.js";
import { button, codeBlock, debounce, field, note, notify, reportErrors, select } from "../components.js";
import { fill, h } from "../dom.js";
import { formatDateTime } from "../format.js";
import { requestHeading, responseHeading } from "./panels.js";
import { asCurl, asSdk, signedHeaders } from "./tc3.js";

/** @typedef {(name: string) => string} Values Reads a field of the form. */
/** @typedef {{ url: string, read: string }} Inbox Where a callback is sent, and where it can be read. */
/** @typedef {{ at: string, headers: Record<string, string>, body: string }} ReceivedCallback */

/** @type {Record<string, string>} */
const ACTIONS = {
  ProcessMedia: "ProcessMedia: identify music",
  DescribeTaskDetail: "DescribeTaskDetail: one task",
  DescribeTasks: "DescribeTasks: a list of tasks",
  ManageTask: "ManageTask: abort a task",
  DescribeAIAnalysisTemplates: "DescribeAIAnalysisTemplates",
};
const INPUTS = { URL: "URL", COS: "Object in COS", "AWS-S3": "Object in S3" };
const EXTENDED_PARAMETER = '{"tag":{"process_type":"1102"}}';
const CALLBACK_TIMEOUT = 60; // seconds, with one poll per second

/** What the form keeps while the page is open. A secret key does not belong in the browser's storage. */
const kept = {
  secretId: "",
  secretKey: "",
  action: "ProcessMedia",
  input: "URL",
  task: "",
  inbox: /** @type {Inbox | null} */ (null),
};

/**
 * @param {HTMLElement} place
 * @param {{ signal: AbortSignal }} options
 */
export function showTencent(place, { signal }) {
  const fields = h("div", { class: "stack" });
  const form = h("form", { class: "card form" });
  const code = h("div", { class: "stack" });
  const outcome = h("div", { class: "stack", "aria-live": "polite" });
  let language = "curl";
  const heading = requestHeading({ curl: "curl", python: "Python SDK" }, language, (chosen) => {
    language = chosen;
    showCode();
  });
  const actionMenu = select(ACTIONS, kept.action, chooseAction, { name: "action" });
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
  fill(place, h("div", { class: "explore" }, form, h("div", { class: "stack" }, heading, code, outcome)));
  fill(
    form,
    field("Action", actionMenu),
    fields,
    h(
      "fieldset",
      { class: "form" },
      h("legend", { class: "legend" }, "Credential"),
      field("SecretId", secretId),
      field("SecretKey", secretKey, "Signs requests in this page; it is never sent"),
      session.open ? openServerHint() : isAllowed("admin") && keyButton(),
    ),
    h("button", { type: "submit", class: "button main" }, "Sign and send"),
  );
  form.addEventListener("input", debounce(showCode, 120));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    reportErrors(send);
  });
  draw();

  function draw() {
    fill(fields, kept.action === "ProcessMedia" ? processMediaFields(showCode) : otherFields(kept.action));
    showCode();
  }

  /** @param {string} action */
  function chooseAction(action) {
    kept.action = action;
    actionMenu.value = action;
    draw();
  }

  function keyButton() {
    return h("div", {}, button("Create a key for testing", createKey, { kind: "compact", iconName: "keys" }));
  }

  async function createKey() {
    const key = await sendJson("POST", "v1/keys", { name: "API explorer", scope: "write" });
    secretId.value = key.id;
    secretKey.value = key.secret_key;
    showCode();
    notify("Created a key named API explorer. Revoke it under Keys when you are done.");
  }

  /** The parameters of the request, from the form. */
  function parameters() {
    const given = new FormData(form);
    const value = (/** @type {string} */ name) => String(given.get(name) ?? "").trim();
    kept.secretId = value("secretId");
    kept.secretKey = value("secretKey");
    if (kept.action === "ProcessMedia") {
      const receiver = given.has("here") ? (kept.inbox?.url ?? "") : value("notifyUrl");
      return processMediaParameters(value, receiver);
    }
    if (kept.action === "DescribeTasks") return { Status: value("status"), Limit: Number(value("limit")) || 10 };
    if (kept.action === "DescribeAIAnalysisTemplates") return {};
    kept.task = value("task");
    return kept.action === "ManageTask" ? { OperationType: "Abort", TaskId: kept.task } : { TaskId: kept.task };
  }

  function signedRequest() {
    const { action } = kept;
    const body = JSON.stringify(parameters());
    const { secretId, secretKey } = kept;
    const now = Math.floor(Date.now() / 1000);
    return { body, headers: signedHeaders({ action, body, host: location.host, secretId, secretKey, now }) };
  }

  function showCode() {
    const { body, headers } = signedRequest();
    const { action, secretId } = kept;
    const { host, origin } = location;
    const protocol = location.protocol.slice(0, -1);
    const text =
      language === "curl"
        ? asCurl(`${origin}/`, headers, body)
        : asSdk({ action, parameters: parameters(), host, protocol, secretId });
    fill(
      code,
      codeBlock(text, "Code of the request"),
      language === "curl" && h("p", { class: "tiny soft" }, "A signature is valid for five minutes."),
    );
  }

  async function send() {
    const isReceivedHere = kept.action === "ProcessMedia" && new FormData(form).has("here");
    if (isReceivedHere) kept.inbox = await sendJson("POST", "v1/explorer/inbox");
    showCode();
    const { body, headers } = signedRequest();
    const sentAt = performance.now();
    const response = await fetch("./", { method: "POST", headers, body, credentials: "omit", signal });
    const answer = await response.json().catch(() => ({}));
    const error = answer.Response?.Error;
    const task = answer.Response?.TaskId;
    if (task) kept.task = task;
    const received = h("div", { class: "stack" });
    const describeTask = () => {
      chooseAction("DescribeTaskDetail");
      return send();
    };
    fill(
      outcome,
      responseHeading(error?.Code ?? response.status, error ? "bad" : "good", sentAt),
      codeBlock(formatJson(answer), "Body of the response"),
      task && h("div", { class: "row" }, button("Describe this task", describeTask, { kind: "compact" })),
      received,
    );
    if (isReceivedHere && task && kept.inbox) await waitForCallback(kept.inbox, received, signal);
  }
}

function openServerHint() {
  return h(
    "p",
    { class: "small soft" },
    "Signed requests need a key, and this server has none. ",
    h("a", { href: "#/keys" }, "Create an admin key for yourself first"),
  );
}

/**
 * Show the callback when it arrives.
 *
 * @param {Inbox} inbox
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 */
async function waitForCallback(inbox, place, signal) {
  const state = h("div", { class: "small soft" }, "Waiting for the callback…");
  fill(place, h("h2", {}, "Callback"), state);
  for (let second = 0; second < CALLBACK_TIMEOUT && !signal.aborted; second += 1) {
    /** @type {{ items: ReceivedCallback[] }} */
    const { items } = await getJson(inbox.read, { signal });
    if (items.length) {
      fill(place, h("h2", {}, "Callback"), items.map(receivedCallback));
      return;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 1000);
    });
  }
  fill(
    state,
    note("No callback within a minute. The task may still run. Its page under Jobs shows all attempts.", "warn"),
  );
}

/** @param {ReceivedCallback} callback */
function receivedCallback({ at, headers, body }) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return [
    h("p", { class: "small soft" }, formatDateTime(at)),
    codeBlock(formatJson(parseJson(body)), "Body of the callback"),
    codeBlock(lines.join("\n"), "Headers of the callback"),
  ];
}

/**
 * @param {string} name
 * @param {string} label
 * @param {object} [properties]
 * @param {string} [hint]
 */
function textField(name, label, properties = {}, hint = "") {
  return field(label, h("input", { name, ...properties }), hint);
}

/** @param {...Child} children */
function columns(...children) {
  return h("div", { class: "two" }, children);
}

/** @param {() => void} onChange */
function processMediaFields(onChange) {
  const inputFields = h("div", { class: "stack" });
  const chooseInput = (/** @type {string} */ input) => {
    kept.input = input;
    fill(inputFields, input === "URL" ? urlField() : objectFields());
  };
  chooseInput(kept.input);
  const inputMenu = select(
    INPUTS,
    kept.input,
    (input) => {
      chooseInput(input);
      onChange();
    },
    { name: "input" },
  );
  return [
    field("Input", inputMenu),
    inputFields,
    columns(
      textField(
        "definition",
        "Template",
        { value: "21", inputMode: "numeric", required: true },
        "21: music identification",
      ),
      textField("priority", "Priority", { type: "number", min: -10, max: 10, placeholder: "0" }),
    ),
    textField("extended", "Extended parameter", { value: EXTENDED_PARAMETER, class: "mono" }, "JSON as a string"),
    h(
      "details",
      {},
      h("summary", { class: "small" }, "Output and session"),
      h(
        "div",
        { class: "form section" },
        columns(textField("outputBucket", "Output bucket"), textField("outputRegion", "Output region")),
        textField("outputDir", "Output folder", { placeholder: "/results/" }),
        columns(
          textField("session", "SessionId", { maxLength: 50 }),
          textField("context", "SessionContext", { maxLength: 1000 }),
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
        "Show the callback on this page",
      ),
      textField("notifyUrl", "Otherwise send it to", { type: "url", placeholder: "https://example.org/callback" }),
      textField("notifyKey", "NotifyKey", { value: "k3y" }, "Signs the callback"),
    ),
  ];
}

function urlField() {
  const properties = { required: true, type: "url", placeholder: "https://example.org/evening.mp4" };
  return textField("url", "URL of the audio or video", properties);
}

function objectFields() {
  return [
    columns(
      textField("bucket", "Bucket", { required: true, placeholder: "music-1250000000" }),
      textField("region", "Region", { placeholder: "ap-guangzhou" }),
    ),
    textField("object", "Object", { required: true, placeholder: "/recordings/evening.mp4" }),
  ];
}

/** @param {string} action */
function otherFields(action) {
  if (action === "DescribeAIAnalysisTemplates") return [];
  if (action === "DescribeTasks") {
    const states = { FINISH: "FINISH", PROCESSING: "PROCESSING", WAITING: "WAITING" };
    return [
      field("Status", select(states, "FINISH", null, { name: "status" })),
      textField("limit", "Limit", { type: "number", min: 1, max: 100, value: 10 }),
    ];
  }
  return [textField("task", "TaskId", { value: kept.task, required: true, class: "mono" })];
}

/**
 * @param {Values} value
 * @param {string} notifyUrl
 */
function processMediaParameters(value, notifyUrl) {
  const bucket = value("outputBucket");
  const notifyKey = value("notifyKey");
  return {
    InputInfo: inputParameters(value),
    AiAnalysisTask: { Definition: Number(value("definition")), ExtendedParameter: value("extended") },
    ...(bucket && {
      OutputStorage: { Type: "COS", CosOutputStorage: { Bucket: bucket, Region: value("outputRegion") } },
    }),
    ...(value("outputDir") && { OutputDir: value("outputDir") }),
    ...(notifyUrl && {
      TaskNotifyConfig: { NotifyType: "URL", NotifyUrl: notifyUrl, ...(notifyKey && { NotifyKey: notifyKey }) },
    }),
    ...(value("priority") && { TasksPriority: Number(value("priority")) }),
    ...(value("session") && { SessionId: value("session") }),
    ...(value("context") && { SessionContext: value("context") }),
  };
}

/** @param {Values} value */
function inputParameters(value) {
  const bucket = value("bucket");
  const region = value("region");
  const object = value("object");
  switch (value("input")) {
    case "COS":
      return { Type: "COS", CosInputInfo: { Bucket: bucket, Region: region, Object: object } };
    case "AWS-S3":
      return { Type: "AWS-S3", S3InputInfo: { S3Bucket: bucket, S3Region: region, S3Object: object } };
    default:
      return { Type: "URL", UrlInputInfo: { Url: value("url") } };
  }
}

/** @param {string} text */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * Format JSON. The field SpecialInfo contains JSON as a string; it is shown parsed.
 *
 * @param {unknown} value
 */
function formatJson(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, (key, inner) => (key === "SpecialInfo" ? parseJson(inner) : inner), 2);
}
