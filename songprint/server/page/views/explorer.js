// Try requests without writing a program, and copy the program that makes them.

import { fill, h } from "../dom.js";
import { choice, head } from "../parts.js";

const TABS = { tencent: "Like Tencent Cloud", rest: "REST" };

export async function show(main, { path: [tab], signal }) {
  const place = h("div", { class: "section" });
  const start = TABS[tab] ? tab : "tencent";
  fill(
    main,
    head("API explorer", "Fill in a request, see it as a program would send it, send it, and see what comes back."),
    choice("Which API", TABS, start, open),
    place,
  );
  await open(start);

  async function open(chosen) {
    history.replaceState(null, "", `#/explorer/${chosen}`);
    if (chosen === "rest") await (await import("../explorer/rest.js")).showRest(place, { signal });
    else (await import("../explorer/tencent.js")).showTencent(place, { signal });
  }
}
