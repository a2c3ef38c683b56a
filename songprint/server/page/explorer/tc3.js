// Requests as Tencent Cloud's SDKs sign them (TC3-HMAC-SHA256), and how the same is written for a terminal and an SDK.

import { hex, hmac, sha256 } from "./sha256.js";

const VERSION = "2019-06-12";
const TYPE = "application/json";

/** The headers of a signed POST to `/` of this host; `now` is seconds since 1970. */
export function signed({ action, body, host, secretId, secretKey, now }) {
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

export function asCurl(address, headers, body) {
  const lines = Object.entries(headers).map(([name, value]) => `  -H ${quoted(`${name}: ${value}`)}`);
  return [`curl ${quoted(address)}`, ...lines, `  --data-binary ${quoted(body)}`].join(" \\\n");
}

/** For the shell. */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function asSdk(action, request, host, protocol, secretId) {
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
request.from_json_string(json.dumps(${python(request, "")}))
print(client.${action}(request).to_json_string(indent=2))`;
}

/** A value as Python writes it. */
function python(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  if (Array.isArray(value)) return `[${value.map((each) => python(each, indent)).join(", ")}]`;
  const lines = Object.entries(value).map(([key, each]) => `${inner}${JSON.stringify(key)}: ${python(each, inner)},`);
  return lines.length ? `{\n${lines.join("\n")}\n${indent}}` : "{}";
}
