// Requests of the REST API as forms, built from the OpenAPI description: shown as code, sent, answered.

/** @import { Child } from "../dom.js" */
/** @import { OpenApi, OpenApiOperation, Parameter, Schema } from "../types.js" */

import { ApiError, getJson, isAbort, request } from "../api.js";
import { codeBlock, debounce, field, note, reportErrors, select } from "../components.js";
import { fill, h } from "../dom.js";
import { requestHeading, responseHeading } from "./panels.js";
import { example, fieldTables, jsonSchema, resolve, typeName } from "./schema.js";
import { quoted } from "./tc3.js";

const MAX_SHOWN = 200_000; // characters of a response
const FIRST = "POST /v1/identify"; // the operation that is shown first

/**
 * @typedef {object} Operation
 * @property {string} method
 * @property {string} path
 * @property {string} tag
 * @property {OpenApiOperation} description
 * @property {Parameter[]} parameters In the path and in the query.
 * @property {boolean} acceptsFile
 * @property {Record<string, Schema>} formFields Sent with the file.
 * @property {Schema | undefined} json The schema of the JSON body.
 */

/**
 * A request that the form describes. A file is sent with its form fields.
 *
 * @typedef {object} FilledRequest
 * @property {string} method
 * @property {string} path
 * @property {File | null} file
 * @property {[string, string][]} fields
 * @property {string} body
 */

/**
 * @param {HTMLElement} place
 * @param {{ signal: AbortSignal }} options
 */
export async function showRest(place, { signal }) {
  fill(place, h("p", { class: "soft" }, "Loading the description of the API…"));
  /** @type {OpenApi} */
  const api = await getJson("openapi.json", { signal });
  const operations = listOperations(api);
  let operation = operations.get(FIRST) ?? [...operations.values()][0];
  let language = "curl";
  const form = h("form", { class: "card form" });
  const about = h("p", { class: "small soft" });
  const fields = h("div", { class: "stack" });
  const code = h("div");
  const outcome = h("div", { class: "stack", "aria-live": "polite" });
  const reference = h("div", { class: "stack" });
  const operationMenu = h(
    "select",
    {
      on: {
        change: () => {
          operation = operations.get(operationMenu.value) ?? operation;
          draw();
        },
      },
    },
    optionGroups(operations),
  );
  operationMenu.value = nameOf(operation);
  const heading = requestHeading({ curl: "curl", python: "Python" }, language, (chosen) => {
    language = chosen;
    showCode();
  });
  fill(place, h("div", { class: "explore" }, form, h("div", { class: "stack" }, heading, code, outcome, reference)));
  fill(
    form,
    field("Request", operationMenu),
    about,
    fields,
    h("button", { type: "submit", class: "button main" }, "Send"),
    h("p", { class: "small" }, h("a", { href: "openapi.json" }, "OpenAPI description of all requests")),
  );
  form.addEventListener("input", debounce(showCode, 120));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    reportErrors(send);
  });
  draw();

  function draw() {
    const { description, summary } = operation.description;
    fill(about, withCode(description?.split("\n\n")[0].replaceAll("\n", " ") || summary || ""));
    fill(outcome);
    fill(fields, formControls(operation, api));
    fill(reference, h("h2", {}, "Reference"), h("ul", { class: "card lines" }, operationReference(operation, api)));
    showCode();
  }

  function showCode() {
    const filled = readForm(operation, new FormData(form));
    const address = new URL(filled.path, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
    fill(
      code,
      codeBlock(language === "curl" ? asCurl(filled, address) : asPython(filled, address), "Code of the request"),
    );
  }

  async function send() {
    const filled = readForm(operation, new FormData(form));
    const sentAt = performance.now();
    try {
      const response = await request(filled.method, filled.path, { ...encodeBody(filled), signal });
      fill(outcome, responseHeading(response.status, "good", sentAt), await responseBody(response));
    } catch (error) {
      if (isAbort(error) || !(error instanceof ApiError)) throw error;
      const status = error.status ? `${error.status} ${error.code}` : "No response";
      fill(outcome, responseHeading(status, "bad", sentAt), note(error.message, "bad"));
    }
  }
}

/** @param {{ method: string, path: string }} operation */
function nameOf({ method, path }) {
  return `${method} ${path}`;
}

/**
 * @param {OpenApi} api
 * @returns {Map<string, Operation>} By name, such as "GET /v1/recordings".
 */
function listOperations(api) {
  const operations = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [name, description] of Object.entries(methods)) {
      const method = name.toUpperCase();
      const content = description.requestBody?.content ?? {};
      const form = resolve(content["multipart/form-data"]?.schema ?? {}, api).properties ?? {};
      const { file, ...formFields } = form;
      operations.set(nameOf({ method, path }), {
        method,
        path,
        tag: description.tags?.[0] ?? "other",
        description,
        parameters: (description.parameters ?? []).filter((each) => each.in === "path" || each.in === "query"),
        acceptsFile: Boolean(file) || "application/octet-stream" in content,
        formFields,
        json: jsonSchema(content),
      });
    }
  }
  return operations;
}

/** @param {Map<string, Operation>} operations */
function optionGroups(operations) {
  const tags = [...new Set([...operations.values()].map((each) => each.tag))];
  return tags.map((tag) =>
    h(
      "optgroup",
      { label: tag },
      [...operations]
        .filter(([, each]) => each.tag === tag)
        .map(([name, each]) => h("option", { value: name, title: each.description.summary }, name)),
    ),
  );
}

/**
 * @param {Operation} operation
 * @param {OpenApi} api
 */
function formControls({ parameters, acceptsFile, formFields, json }, api) {
  const jsonExample = json && JSON.stringify(example(json, api), null, 2);
  return [
    parameters.map(({ name, required, schema = {}, description = "" }) =>
      field(required ? name : `${name} (optional)`, control(name, schema, required), withCode(description)),
    ),
    acceptsFile && field("File", h("input", { type: "file", name: "file", accept: "audio/*,video/*" })),
    Object.entries(formFields).map(([name, schema]) =>
      field(`${name} (optional)`, control(name, schema, false), withCode(schema.description ?? "")),
    ),
    json &&
      field(
        acceptsFile ? "JSON body, without a file" : "JSON body",
        h("textarea", { name: "body", class: "mono", rows: 7, spellcheck: false, value: jsonExample }),
      ),
  ];
}

/**
 * @param {string} name
 * @param {Schema} schema
 * @param {boolean} [required]
 */
function control(name, schema, required = false) {
  const { enum: values } = schema.anyOf?.[0] ?? schema;
  if (values) {
    const options = Object.fromEntries(["", ...values].map((each) => [String(each), String(each)]));
    return select(options, String(schema.default ?? ""), null, { name });
  }
  return h("input", { name, required, placeholder: schema.default ?? "" });
}

/**
 * The types of the fields of an operation.
 *
 * @param {Operation} operation
 * @param {OpenApi} api
 */
function operationReference({ parameters, json, description }, api) {
  const details = (/** @type {string} */ title, /** @type {Child} */ content) =>
    h("li", {}, h("details", {}, h("summary", { class: "small" }, title), content));
  const responses = Object.entries(description.responses).filter(([status]) => Number(status) < 400);
  const errors = Object.entries(description.responses).filter(([status]) => Number(status) >= 400);
  return [
    parameters.length > 0 &&
      details(
        "Types of the parameters",
        h(
          "dl",
          { class: "facts small" },
          parameters.map(({ name, schema }) => [
            h("dt", {}, h("code", {}, name)),
            h("dd", {}, typeName(schema ?? {}, api)),
          ]),
        ),
      ),
    json && details("Fields of the JSON body", fieldTables(json, api)),
    responses.map(([status, { description: meaning, content }]) => {
      const schema = jsonSchema(content);
      const types = Object.keys(content ?? {}).join(", ") || "no content";
      return details(
        `Response ${status}: ${meaning ?? ""}`,
        schema && Object.keys(schema).length ? fieldTables(schema, api) : h("p", { class: "small soft" }, types),
      );
    }),
    errors.length > 0 &&
      details(
        "Errors",
        h(
          "dl",
          { class: "facts small" },
          errors.map(([status, { description: meaning }]) => [h("dt", {}, status), h("dd", {}, meaning)]),
        ),
      ),
  ];
}

/**
 * @param {Operation} operation
 * @param {FormData} given
 * @returns {FilledRequest}
 */
function readForm({ method, path, parameters, formFields }, given) {
  const text = (/** @type {string} */ name) => String(given.get(name) ?? "").trim();
  const query = new URLSearchParams();
  let filledPath = path.slice(1); // relative, so that it works behind a proxy that adds a path
  for (const { name, in: where } of parameters) {
    const value = text(name);
    if (where === "path") filledPath = filledPath.replace(`{${name}}`, encodeURIComponent(value) || `{${name}}`);
    else if (value) query.set(name, value);
  }
  const chosen = given.get("file");
  const file = chosen instanceof File && chosen.size ? chosen : null;
  /** @type {[string, string][]} */
  const fields = Object.keys(formFields).map((name) => [name, text(name)]);
  return {
    method,
    path: query.size ? `${filledPath}?${query}` : filledPath,
    file,
    fields: file ? fields.filter(([, value]) => value) : [],
    body: file ? "" : text("body"),
  };
}

/** @param {FilledRequest} request */
function encodeBody({ file, fields, body }) {
  if (!file) return body ? { body, headers: { "content-type": "application/json" } } : {};
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append("file", file);
  return { body: form }; // the browser sets the content type with its boundary
}

/** @param {Response} response */
async function responseBody(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!/json|text|xml/.test(type) || type.includes("event-stream")) {
    await response.body?.cancel();
    return h("p", { class: "small soft" }, type ? `The response (${type}) is not shown here.` : "No content.");
  }
  const text = await response.text();
  return text && codeBlock(format(text, type), "Body of the response");
}

/**
 * Text with its parts between backticks as code.
 *
 * @param {string} text
 */
function withCode(text) {
  return text
    .split("`")
    .map((part, index) => (index % 2 ? h("code", {}, part) : part))
    .filter(Boolean);
}

/**
 * @param {FilledRequest} request
 * @param {string} address
 */
function asCurl({ method, file, fields, body }, address) {
  const lines = [
    `curl ${method === "GET" ? "" : `-X ${method} `}${quoted(address)}`,
    '  -H "Authorization: Bearer $SONGPRINT_TOKEN"',
  ];
  for (const [name, value] of fields) lines.push(`  -F ${quoted(`${name}=${value}`)}`);
  if (file) lines.push(`  -F ${quoted(`file=@${file.name}`)}`);
  if (body) lines.push("  -H 'Content-Type: application/json'", `  -d ${quoted(body)}`);
  return lines.join(" \\\n");
}

/**
 * @param {FilledRequest} request
 * @param {string} address
 */
function asPython({ method, file, fields, body }, address) {
  const options = [JSON.stringify(method), JSON.stringify(address)];
  if (fields.length) options.push(`data=${JSON.stringify(Object.fromEntries(fields))}`);
  if (file) options.push(`files={"file": open(${JSON.stringify(file.name)}, "rb")}`);
  if (body) options.push(`content=${JSON.stringify(body)}`, 'headers={"Content-Type": "application/json"}');
  return `# pip install httpx
import os

import httpx

client = httpx.Client(headers={"Authorization": f"Bearer {os.environ['SONGPRINT_TOKEN']}"}, timeout=60)
response = client.request(
${options.map((option) => `    ${option},`).join("\n")}
)
print(response.status_code, response.text)`;
}

/**
 * @param {string} text
 * @param {string} type
 */
function format(text, type) {
  if (text.length > MAX_SHOWN) return `${text.slice(0, MAX_SHOWN)}\n… and ${text.length - MAX_SHOWN} more characters`;
  if (!type.includes("json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
