// Any request of the REST API as a form, made from its own description: shown for a terminal and for Python, sent,
// answered.

import { fill, h } from "../dom.js";
import { code, field, note, select, trying, unhurried } from "../parts.js";
import { ask, read } from "../service.js";
import { requestHead, responseHead } from "./exchange.js";
import { quoted } from "./tc3.js";

const SHOWN = 200_000; // characters of an answer
const LEFT_OUT = ["/metrics", "/healthz", "/readyz"];

export async function showRest(place, { signal }) {
  const description = await read("openapi.json", { signal });
  const operations = listed(description);
  let chosen = operations.has("POST /v1/identify") ? "POST /v1/identify" : operations.keys().next().value,
    asCode = "curl";
  const form = h("form", { class: "card form" }),
    fields = h("div", { class: "stack" }),
    shown = h("div");
  const outcome = h("div", { class: "stack", "aria-live": "polite" });
  const menu = h(
    "select",
    {
      on: {
        change: () => {
          chosen = menu.value;
          draw();
        },
      },
    },
    grouped(operations),
  );
  menu.value = chosen;
  const about = h("p", { class: "small soft" });
  const ways = requestHead({ curl: "curl", python: "Python" }, asCode, (way) => {
    asCode = way;
    preview();
  });
  fill(place, h("div", { class: "explore" }, form, h("div", { class: "stack" }, ways, shown, outcome)));
  fill(
    form,
    field("Request", menu),
    about,
    fields,
    h("button", { type: "submit", class: "button main" }, "Send"),
  );
  form.addEventListener("input", unhurried(preview, 120));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trying(go);
  });
  draw();

  function draw() {
    const operation = operations.get(chosen);
    fill(about, marked(operation.description || operation.summary || ""));
    fill(outcome);
    fill(
      fields,
      operation.parameters.map((each) =>
        field(`${each.name}${each.required ? "" : " (optional)"}`, input(each), marked(each.description ?? "")),
      ),
      operation.file && field("File", h("input", { type: "file", name: "file", accept: "audio/*,video/*" })),
      operation.json &&
        field(
          "Body, in JSON",
          h("textarea", {
            name: "body",
            class: "mono",
            rows: 7,
            spellcheck: false,
            value: JSON.stringify(example(operation.json, description), null, 2),
          }),
        ),
    );
    preview();
  }

  function made() {
    const operation = operations.get(chosen),
      given = new FormData(form);
    let path = operation.path.slice(1);
    const query = new URLSearchParams();
    for (const each of operation.parameters) {
      const value = String(given.get(each.name) ?? "").trim();
      if (each.in === "path") path = path.replace(`{${each.name}}`, encodeURIComponent(value) || `{${each.name}}`);
      else if (value) query.set(each.name, value);
    }
    const file = given.get("file") instanceof File && given.get("file").size ? given.get("file") : null;
    return {
      method: operation.method,
      path: query.size ? `${path}?${query}` : path,
      file,
      body: file ? null : given.get("body") || null,
    };
  }

  function preview() {
    const request = made(),
      address = new URL(request.path, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
    fill(shown, code(asCode === "curl" ? asCurl(request, address) : asPython(request, address), "the request"));
  }

  async function go() {
    const { method, path, file, body } = made();
    const began = performance.now();
    const headers = file
      ? { "content-type": file.type || "application/octet-stream", "x-file-name": encodeURIComponent(file.name) }
      : body
        ? { "content-type": "application/json" }
        : {};
    let answer,
      problem = null;
    try {
      answer = await ask(method, path, { body: file ?? body ?? undefined, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      problem = error;
    }
    if (problem) {
      const status = problem.status ? `${problem.status} ${problem.code}` : "No answer";
      fill(outcome, responseHead(status, "bad", began), note(problem.message, "bad"));
      return;
    }
    const type = answer.headers.get("content-type") ?? "";
    const text =
      /json|text|xml/.test(type) && !type.includes("event-stream")
        ? await answer.text()
        : `${type || "Nothing"}: not shown here`;
    fill(outcome, responseHead(answer.status, "good", began), text && code(pretty(text, type), "the response"));
  }
}

/** What stands between backticks is code. */
function marked(text) {
  return text
    .split("`")
    .map((part, at) => (at % 2 ? h("code", {}, part) : part))
    .filter(Boolean);
}

function listed(description) {
  const found = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    if (LEFT_OUT.includes(path) || path.endsWith("/events")) continue;
    for (const [method, operation] of Object.entries(methods)) {
      const content = operation.requestBody?.content ?? {};
      found.set(`${method.toUpperCase()} ${path}`, {
        method: method.toUpperCase(),
        path,
        summary: operation.summary,
        description: operation.description?.split("\n\n")[0].replaceAll("\n", " "),
        tag: operation.tags?.[0] ?? "other",
        parameters: (operation.parameters ?? []).filter((each) => each.in !== "header" && each.in !== "cookie"),
        file: "multipart/form-data" in content || "application/octet-stream" in content,
        json: content["application/json"]?.schema,
      });
    }
  }
  return found;
}

function grouped(operations) {
  const tags = [...new Set([...operations.values()].map((each) => each.tag))];
  return tags.map((tag) =>
    h(
      "optgroup",
      { label: tag },
      [...operations]
        .filter(([, each]) => each.tag === tag)
        .map(([name, each]) => h("option", { value: name, title: each.summary }, name)),
    ),
  );
}

function input(parameter) {
  const schema = parameter.schema?.anyOf?.[0] ?? parameter.schema ?? {};
  if (schema.enum)
    return select(
      Object.fromEntries(["", ...schema.enum].map((each) => [each, each])),
      parameter.schema.default ?? "",
      null,
      { name: parameter.name },
    );
  return h("input", {
    name: parameter.name,
    required: Boolean(parameter.required),
    placeholder: parameter.schema?.default ?? "",
  });
}

/** A small body that has what is required. */
function example(schema, description, depth = 0) {
  if (schema.$ref)
    return example(
      schema.$ref
        .split("/")
        .slice(1)
        .reduce((inside, name) => inside[name], description),
      description,
      depth,
    );
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const one = schema.anyOf ?? schema.oneOf;
  if (one) return example(one[0], description, depth);
  if (schema.type === "object" && schema.properties) {
    const wanted =
      depth || schema.required
        ? Object.entries(schema.properties).filter(([name]) => schema.required?.includes(name))
        : Object.entries(schema.properties).slice(0, 2);
    return Object.fromEntries(wanted.map(([name, inner]) => [name, example(inner, description, depth + 1)]));
  }
  return (
    {
      string: "",
      integer: 1,
      number: 1,
      boolean: true,
      array: schema.items ? [example(schema.items, description, depth + 1)] : [],
    }[schema.type] ?? null
  );
}

function asCurl({ method, file, body }, address) {
  const lines = [
    `curl ${method === "GET" ? "" : `-X ${method} `}${quoted(address)}`,
    '  -H "Authorization: Bearer $SONGPRINT_TOKEN"',
  ];
  if (file) lines.push(`  -F ${quoted(`file=@${file.name}`)}`);
  if (body) lines.push("  -H 'Content-Type: application/json'", `  -d ${quoted(body)}`);
  return lines.join(" \\\n");
}

function asPython({ method, file, body }, address) {
  const more = file
    ? `,\n    files={"file": open(${JSON.stringify(file.name)}, "rb")}`
    : body
      ? `,\n    data=${JSON.stringify(body)},\n    headers={"Content-Type": "application/json"}`
      : "";
  return `# pip install httpx
import os

import httpx

client = httpx.Client(headers={"Authorization": f"Bearer {os.environ['SONGPRINT_TOKEN']}"}, timeout=60)
answer = client.request(
    ${JSON.stringify(method)},
    ${JSON.stringify(address)}${more.replace("data=", "content=")},
)
print(answer.status_code, answer.text)`;
}

function pretty(text, type) {
  const cut = text.length > SHOWN ? `${text.slice(0, SHOWN)}\n… ${text.length - SHOWN} characters more` : text;
  if (!type.includes("json") || cut !== text) return cut;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
