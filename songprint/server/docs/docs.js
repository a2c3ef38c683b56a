// Reads /openapi.json and shows every operation, with a form that sends it. No library, nothing from elsewhere.
"use strict";

let description;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function resolved(schema) {
  let found = schema || {};
  while (found.$ref) found = found.$ref.slice(2).split("/").reduce((at, name) => at[name], description);
  return found;
}

function typeOf(schema) {
  if (schema && schema.$ref) return schema.$ref.split("/").pop();
  const found = resolved(schema);
  if (found.enum) return found.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  const either = found.anyOf || found.oneOf;
  if (either) return either.map(typeOf).join(" | ");
  if (found.type === "array") return `list of ${typeOf(found.items)}`;
  if (found.format === "binary") return "file";
  return found.type || "anything";
}

// What a schema asks for, as a table; objects inside it follow below.
function schemaTable(schema, seen = new Set()) {
  const found = resolved(schema);
  const either = (found.anyOf || found.oneOf || []).filter((each) => resolved(each).properties);
  if (either.length) return element("div", {}, ...either.map((each) => schemaTable(each, seen)));
  if (found.type === "array") return schemaTable(found.items, seen);
  if (!found.properties || seen.has(found)) return element("p", { class: "soft" }, typeOf(schema));
  seen.add(found);
  const inner = [];
  const rows = Object.entries(found.properties).map(([name, property]) => {
    for (const each of [property, property.items, ...(property.anyOf || []), ...(property.oneOf || [])]) {
      const below = resolved(each && each.items ? each.items : each);
      if (each && below.properties && !seen.has(below)) inner.push([typeOf(each.items || each), each]);
    }
    return element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, typeOf(property)),
      element("td", {}, property.description || resolved(property).description || ""));
  });
  const table = element("table", {}, element("tbody", {}, ...rows));
  return element("div", {}, table, ...inner.map(([name, each]) =>
    element("div", {}, element("b", {}, name), schemaTable(each, seen))));
}

function exampleOf(schema, depth = 0) {
  const found = resolved(schema);
  if (found.default !== undefined) return found.default;
  if (found.examples) return found.examples[0];
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  const either = found.anyOf || found.oneOf;
  if (either) return exampleOf(either[0], depth);
  if (found.type === "array") return depth > 3 ? [] : [exampleOf(found.items, depth + 1)];
  if (found.properties) {
    const required = found.required || Object.keys(found.properties).slice(0, 2);
    return Object.fromEntries(required.map((name) => [name, exampleOf(found.properties[name], depth + 1)]));
  }
  return { string: "", integer: 1, number: 1, boolean: false }[found.type] ?? {};
}

function inputFor(schema) {
  const found = resolved(schema);
  if (found.format === "binary") return element("input", { type: "file" });
  if (found.type === "boolean") {
    return element("select", {}, element("option", { value: "" }, ""), element("option", {}, "true"),
      element("option", {}, "false"));
  }
  return element("input", { type: "text", size: "40", value: found.default ?? "" });
}

function field(name, schema, required, text) {
  const input = inputFor(schema);
  input.id = `field-${Math.random().toString(36).slice(2)}`;
  const row = element("tr", {}, element("td", {}, element("label", { for: input.id }, element("code", {}, name), required ? " *" : "")),
    element("td", {}, input, element("div", { class: "soft" }, [typeOf(schema), text].filter(Boolean).join(". "))));
  return { name, input, row };
}

async function send(method, path, fields, body, shown) {
  const address = new URL(path.replace(/\{(\w+)\}/g, (_, name) =>
    encodeURIComponent(fields.find((each) => each.place === "path" && each.name === name).input.value)), location.origin);
  for (const each of fields.filter((one) => one.place === "query" && one.input.value !== "")) {
    address.searchParams.append(each.name, each.input.value);
  }
  const headers = {};
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  let content;
  let curl = `curl -X ${method.toUpperCase()} '${address}'`;
  if (token) curl += " -H 'Authorization: Bearer '$TOKEN";
  if (body && body.form) {
    content = new FormData();
    for (const each of body.form) {
      const value = each.input.type === "file" ? each.input.files[0] : each.input.value;
      if (!value) continue;
      content.append(each.name, value);
      curl += each.input.type === "file" ? ` -F '${each.name}=@${value.name}'` : ` -F '${each.name}=${value}'`;
    }
  } else if (body) {
    content = body.text.value;
    headers["Content-Type"] = "application/json";
    curl += ` -H 'Content-Type: application/json' -d '${content}'`;
  }
  shown.replaceChildren(element("p", {}, "Waiting for the answer ..."));
  try {
    const answer = await fetch(address, { method: method.toUpperCase(), headers, body: content });
    const kind = answer.headers.get("content-type") || "";
    let text = "";
    if (/json/.test(kind)) text = JSON.stringify(await answer.json(), null, 2);
    else if (/^text\//.test(kind) && !/event-stream/.test(kind)) text = await answer.text();
    else text = `(${kind || "nothing"})`;
    shown.replaceChildren(element("pre", {}, curl), element("p", {}, `${answer.status} ${answer.statusText}`),
      element("pre", {}, text));
  } catch (error) {
    shown.replaceChildren(element("pre", {}, curl), element("p", {}, `no answer: ${error.message}`));
  }
}

function operation(method, path, told) {
  const fields = (told.parameters || []).map((each) =>
    Object.assign(field(each.name, each.schema, each.required, each.description), { place: each.in }));
  const shown = element("div", { "aria-live": "polite" });
  const parts = [element("p", {}, told.description || "")];
  if (fields.length) parts.push(element("table", {}, element("tbody", {}, ...fields.map((each) => each.row))));
  const bodies = Object.entries((told.requestBody || {}).content || {}).filter(([kind]) => kind !== "application/octet-stream");
  for (const [kind, { schema }] of bodies.length ? bodies : [[null, {}]]) {
    let body = null;
    if (kind === "multipart/form-data") {
      body = { form: Object.entries(resolved(schema).properties).map(([name, each]) => field(name, each, name === "file", each.description)) };
      parts.push(element("h4", {}, kind), element("table", {}, element("tbody", {}, ...body.form.map((each) => each.row))));
    } else if (kind) {
      body = { text: element("textarea", { rows: "6", "aria-label": "Body of the request" }) };
      body.text.value = JSON.stringify(exampleOf(schema), null, 2);
      parts.push(element("h4", {}, kind), schemaTable(schema), body.text);
    }
    parts.push(element("p", {}, element("button", { type: "button", onclick: () => send(method, path, fields, body, shown) }, "Send")));
  }
  parts.push(shown, element("h4", {}, "Answers"));
  for (const [status, answer] of Object.entries(told.responses)) {
    const schema = Object.values(answer.content || {}).map((each) => each.schema).find(Boolean);
    parts.push(element("p", {}, element("b", {}, status), " ", answer.description || ""));
    if (schema && Number(status) < 400) parts.push(schemaTable(schema));
  }
  const details = element("details", { id: told.operationId });
  details.append(element("summary", {}, element("span", { class: `verb ${method}` }, method.toUpperCase()),
    element("code", {}, path), element("span", { class: "soft" }, told.summary || "")), element("div", {}, ...parts));
  return details;
}

async function show() {
  description = await (await fetch("/openapi.json")).json();
  document.getElementById("version").textContent = description.info.version;
  document.getElementById("about").textContent = description.info.description.replace(/`/g, "");
  const groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, told] of Object.entries(methods)) {
      const group = (told.tags || ["other"])[0];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(operation(method, path, told));
    }
  }
  for (const [group, operations] of groups) {
    document.getElementById("contents").append(element("a", { href: `#group-${group}` }, group));
    document.getElementById("operations").append(element("section", {}, element("h2", { id: `group-${group}` }, group), ...operations));
  }
}

show().catch((error) => { document.getElementById("about").textContent = `The description cannot be read: ${error.message}`; });
