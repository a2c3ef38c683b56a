// Schemas of the OpenAPI description: as type names, as tables of fields, as examples.

/** @import { Content, OpenApi, Schema } from "../types.js" */

import { h } from "../dom.js";

/**
 * Replace a reference to a schema by the schema.
 *
 * @param {Schema} schema
 * @param {OpenApi} api
 * @returns {Schema}
 */
export function resolve(schema, api) {
  if (!schema.$ref) return schema;
  /** @type {any} */
  let found = api;
  for (const name of schema.$ref.split("/").slice(1)) found = found[name];
  return resolve(found, api);
}

/**
 * The type of a schema in a few words.
 *
 * @param {Schema} schema
 * @param {OpenApi} api
 * @returns {string}
 */
export function typeName(schema, api) {
  if (schema.$ref) return schema.$ref.split("/").pop() ?? "";
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return alternatives.map((each) => typeName(each, api)).join(" | ");
  if (schema.type === "array") return `list of ${typeName(schema.items ?? {}, api)}`;
  return schema.format === "binary" ? "file" : (schema.type ?? "any");
}

/**
 * Tables of the fields of a schema and of all schemas it refers to.
 *
 * @param {Schema} schema
 * @param {OpenApi} api
 */
export function fieldTables(schema, api) {
  const named = new Map();
  collect(schema, typeName(schema, api), api, named);
  if (!named.size) return [h("p", { class: "small soft" }, typeName(schema, api))];
  return [...named].map(([name, each]) => fieldTable(name, each, api));
}

/**
 * Collect all object schemas by name.
 *
 * @param {Schema} schema
 * @param {string} name
 * @param {OpenApi} api
 * @param {Map<string, Schema>} found
 */
function collect(schema, name, api, found) {
  const resolved = resolve(schema, api);
  if (found.has(name)) return;
  if (resolved.properties) found.set(name, resolved);
  const parts = [
    ...Object.values(resolved.properties ?? {}),
    ...(resolved.anyOf ?? []),
    ...(resolved.oneOf ?? []),
    ...(resolved.items ? [resolved.items] : []),
  ];
  for (const part of parts) collect(part, typeName(part, api), api, found);
}

/**
 * @param {string} name
 * @param {Schema} schema
 * @param {OpenApi} api
 */
function fieldTable(name, schema, api) {
  const rows = Object.entries(schema.properties ?? {}).map(([key, property]) =>
    h(
      "tr",
      {},
      h("td", {}, h("code", {}, key), schema.required?.includes(key) && " *"),
      h("td", { class: "soft wrap" }, typeName(property, api)),
      h("td", { class: "wrap" }, property.description ?? resolve(property, api).description?.split("\n\n")[0]),
    ),
  );
  const head = ["Field", "Type", "Meaning"].map((label) => h("th", { scope: "col" }, label));
  return h(
    "div",
    { class: "schema", tabIndex: 0, role: "region", "aria-label": `Fields of ${name}` },
    h("h4", {}, name),
    h("table", { class: "small" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
  );
}

/**
 * A small example with the required fields.
 *
 * @param {Schema} schema
 * @param {OpenApi} api
 * @param {number} [depth]
 * @returns {unknown}
 */
export function example(schema, api, depth = 0) {
  const resolved = resolve(schema, api);
  if (resolved.examples) return resolved.examples[0];
  if (resolved.const !== undefined) return resolved.const;
  if (resolved.enum) return resolved.enum[0];
  const alternatives = resolved.anyOf ?? resolved.oneOf;
  if (alternatives) return example(alternatives[0], api, depth);
  if (resolved.properties) {
    const all = Object.entries(resolved.properties);
    const isPartial = depth > 0 || resolved.required;
    const shown = isPartial ? all.filter(([name]) => resolved.required?.includes(name)) : all.slice(0, 2);
    return Object.fromEntries(shown.map(([name, property]) => [name, example(property, api, depth + 1)]));
  }
  if (resolved.type === "array") return resolved.items ? [example(resolved.items, api, depth + 1)] : [];
  const values = new Map(Object.entries({ string: "", integer: 1, number: 1, boolean: true }));
  return values.get(resolved.type ?? "") ?? null;
}

/**
 * The schema of the JSON in a request or response.
 *
 * @param {Content | undefined} content
 */
export function jsonSchema(content) {
  return content?.["application/json"]?.schema;
}
