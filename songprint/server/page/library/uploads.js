// Many files into the library: one after the other, each with its progress and its own fate.

import { fill, h, icon } from "../dom.js";
import { button, chip, progress } from "../parts.js";
import { upload } from "../service.js";
import { artists, bytes } from "../words.js";

const AT_ONCE = 2; // one is sent while another is listened to

export function uploadPanel({ signal, onAdded }) {
  const input = h("input", {
    type: "file",
    multiple: true,
    class: "sr-only",
    id: "add-music",
    accept: "audio/*,video/*",
    on: {
      change: () => {
        take(input.files);
        input.value = "";
      },
    },
  });
  const label = h("label", { class: "button main", for: "add-music" }, icon("plus"), "Add music");
  const list = h("ul", { class: "uploads" });
  const title = h("h2", {}, "Adding");
  const counts = h("span", { class: "small soft number", role: "status" });
  const close = button(
    "Done",
    () => {
      element.hidden = true;
      fill(list);
      tasks.length = 0;
    },
    { kind: "quiet compact", hidden: true },
  );
  const element = h(
    "section",
    { class: "card stack upload-panel", hidden: true, "aria-label": "Uploads" },
    h("div", { class: "row between" }, h("div", { class: "row" }, title, counts), close),
    list,
  );
  const tasks = [];
  let running = 0;

  function take(files) {
    element.hidden = false;
    for (const file of files) {
      const bar = progress(0, `Progress of ${file.name}`);
      const fate = h("div", { class: "fate" }, chip("Waiting"));
      const told = h("div", { class: "small soft wrap" }, bytes(file.size));
      const item = h(
        "li",
        {},
        h(
          "div",
          { class: "row between" },
          h("div", { class: "room" }, h("div", { class: "clip" }, file.name), told),
          fate,
        ),
        bar,
      );
      list.append(item);
      tasks.push({ file, bar, fate, told, state: "waiting" });
    }
    go();
  }

  function go() {
    count();
    while (running < AT_ONCE) {
      const task = tasks.find((each) => each.state === "waiting");
      if (!task || signal.aborted) return;
      task.state = "running";
      running += 1;
      add(task).finally(() => {
        running -= 1;
        go();
      });
    }
  }

  async function add(task) {
    const { file, bar, fate, told } = task;
    fill(fate, chip("Sending", "accent"));
    try {
      const added = await upload("v1/recordings", file, {
        signal,
        onProgress: (share) => {
          bar.set(share < 1 ? share : null);
          if (share >= 1) fill(fate, chip("Listening", "accent"));
        },
      });
      task.state = added.outcome;
      fill(
        fate,
        added.outcome === "known" ? chip("In the library already", "warn", "check") : chip("Added", "good", "check"),
      );
      told.textContent = [`${added.recording.title} · ${artists(added.recording)}`, ...(added.warnings ?? [])].join(
        ". ",
      );
      onAdded();
    } catch (error) {
      if (error.name === "AbortError") return;
      task.state = "failed";
      told.textContent = error.message;
      told.className = "small wrap trouble";
      fill(
        fate,
        chip("Not added", "bad", "cross"),
        button(
          "Again",
          () => {
            task.state = "waiting";
            go();
          },
          { kind: "quiet compact" },
        ),
      );
    }
    bar.hidden = true;
  }

  function count() {
    const number = (state) => tasks.filter((task) => task.state === state).length;
    const said = [
      [number("added"), "added"],
      [number("known"), "known"],
      [number("failed"), "failed"],
      [number("waiting") + number("running"), "to go"],
    ];
    counts.textContent = said
      .filter(([many]) => many)
      .map(([many, what]) => `${many} ${what}`)
      .join(", ");
    close.hidden = number("waiting") + number("running") > 0;
    title.textContent = close.hidden ? "Adding" : "Uploads";
  }

  return { element, take, button: h("div", { class: "add-music" }, input, label) };
}
