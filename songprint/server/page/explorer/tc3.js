// Requests of the Tencent API: their signature (TC3-HMAC-SHA256), and their code for a terminal and for the SDK.

import { hex, hmac, sha256 } from "./sha256.js";

const VERSION = "2019-06-12";
const TYPE = "application/json";

/**
 * The headers of a signed POST request to `/` of a host.
 *
 * @param {object} request
 * @param {string} request.action
 * @param {string} request.body
 * @param {string} request.host
 * @param {string} request.secretId
 * @param {string} request.secretKey
 * @param {number} request.now Seconds since 1970.
 * @returns {Record<string, string>}
 */
export function signedHeaders({ action, body, host, secretId, secretKey, now }) {
  const date = new Date(1000 * now).toISOString().slice(0, 10);
  const scope = `${date}/mps/tc3_request`;
  const canonical = [
    "POST",
    "/",
    "",
    `content-type:${TYPE}\nhost:${host}\n`,
    "content-type;host",
    hex(sha256(body)),
  ].join("\n");
  const toSign = ["TC3-HMAC-SHA256", now, scope, hex(sha256(canonical))].join("\n");
  const key = ["mps", "tc3_request"].reduce((secret, part) => hmac(secret, part), hmac(`TC3${secretKey}`, date));
  return {
    Authorization:
      `TC3-HMAC-SHA256 Credential=${secretId}/${scope}, ` +
      `SignedHeaders=content-type;host, Signature=${hex(hmac(key, toSign))}`,
    "Content-Type": TYPE,
    "X-TC-Action": action,
    "X-TC-Version": VERSION,
    "X-TC-Timestamp": String(now),
  };
}

/**
 * @param {string} address
 * @param {Record<string, string>} headers
 * @param {string} body
 */
export function asCurl(address, headers, body) {
  const lines = Object.entries(headers).map(([name, value]) => `  -H ${quoted(`${name}: ${value}`)}`);
  return [`curl ${quoted(address)}`, ...lines, `  --data-binary ${quoted(body)}`].join(" \\\n");
}

/**
 * Quote text for the shell.
 *
 * @param {string} text
 */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * @param {object} request
 * @param {string} request.action
 * @param {object} request.parameters
 * @param {string} request.host
 * @param {string} request.protocol
 * @param {string} request.secretId
 */
export function asSdk({ action, parameters, host, protocol, secretId }) {
  return `# pip install tencentcloud-sdk-python-mps
import json
import os

from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612 import models, mps_client

profile = ClientProfile(httpProfile=HttpProfile(protocol=${JSON.stringify(protocol)}, endpoint=${JSON.stringify(host)}))
credential = Credential(${JSON.stringify(secretId || "YOUR-SECRET-ID")}, os.environ["SECRET_KEY"])
client = mps_client.MpsClient(credential, "", profile)

request = models.${action}Request()
request.from_json_string(json.dumps(${pythonLiteral(parameters)}))
print(client.${action}(request).to_json_string(indent=2))`;
}

/**
 * A JSON value as a Python literal.
 *
 * @param {unknown} value
 * @param {string} [indent]
 * @returns {string}
 */
function pythonLiteral(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  if (Array.isArray(value)) return `[${value.map((each) => pythonLiteral(each, indent)).join(", ")}]`;
  const lines = Object.entries(value ?? {}).map(
    ([key, each]) => `${inner}${JSON.stringify(key)}: ${pythonLiteral(each, inner)},`,
  );
  return lines.length ? `{\n${lines.join("\n")}\n${indent}}` : "{}";
}
