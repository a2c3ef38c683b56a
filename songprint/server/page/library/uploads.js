// Uploads of files into the library, each with its progress and its outcome.

/** @import { Recording } from "../types.js" */

import { ApiError, isAbort, messageOf, upload } from "../api.js";
import { button, chip, notify, progressBar } from "../components.js";
import { fill, h, icon } from "../dom.js";
import { artistNames, capitalize, formatBytes, titleOf } from "../format.js";

const CONCURRENT = 2; // one file uploads while the server encodes another
// Suffixes of audio files whose type browsers do not know.
const AUDIO_SUFFIX = /\.(ape|dff|dsf|m4b|mka|mpc|opus|tak|tta|wma|wv)$/i;

/**
 * @typedef {object} Task
 * @property {File} file
 * @property {ReturnType<typeof progressBar>} bar
 * @property {HTMLElement} outcome
 * @property {HTMLElement} details
 * @property {"waiting" | "running" | "added" | "known" | "failed"} state
 */

/** @type {[Task["state"][], string][]} The states in the summary, with their labels. */
const SUMMARY = [
  [["added"], "added"],
  [["known"], "already in the library"],
  [["failed"], "failed"],
  [["waiting", "running"], "remaining"],
];

/** @param {File} file */
function isMedia({ name, type }) {
  return type.startsWith("audio/") || type.startsWith("video/") || AUDIO_SUFFIX.test(name);
}

/** @param {{ signal: AbortSignal, onAdded: () => void }} options */
export function uploadPanel({ signal, onAdded }) {
  /** @type {Task[]} */
  const tasks = [];
  const input = h("input", {
    type: "file",
    multiple: true,
    class: "sr-only",
    id: "add-music",
    accept: "audio/*,video/*",
    on: {
      change: () => {
        addFiles(input.files ?? []);
        input.value = "";
      },
    },
  });
  const folder = h("input", {
    type: "file",
    webkitdirectory: true,
    hidden: true,
    id: "add-folder",
    "aria-label": "A folder of music",
    on: {
      change: () => {
        addFolder([...(folder.files ?? [])]);
        folder.value = "";
      },
    },
  });
  const label = h("label", { class: "button main", for: "add-music" }, icon("plus"), "Add music");
  const list = h("ul", { class: "uploads" });
  const title = h("h2");
  const counts = h("span", { class: "small soft number", role: "status" });
  const close = button("Close", clear, { kind: "quiet compact", hidden: true });
  const element = h(
    "section",
    { class: "card stack upload-panel", hidden: true, "aria-label": "Uploads" },
    h("div", { class: "row between" }, h("div", { class: "row" }, title, counts), close),
    list,
  );
  return {
    element,
    addFiles,
    button: h("div", { class: "add-music" }, input, folder, label),
    chooseFiles: () => input.click(),
    chooseFolder: () => folder.click(),
  };

  /**
   * Add the audio and video files of a folder. The others, such as pictures, are left out.
   *
   * @param {File[]} files
   */
  function addFolder(files) {
    const media = files.filter(isMedia);
    if (media.length) addFiles(media);
    else notify("The folder contains no audio or video files");
  }

  function clear() {
    element.hidden = true;
    fill(list);
    tasks.length = 0;
  }

  /** @param {Iterable<File>} files */
  function addFiles(files) {
    element.hidden = false;
    for (const file of files) {
      const bar = progressBar(0, `Progress of ${file.name}`);
      const outcome = h("div", { class: "outcome" }, chip("Waiting"));
      const details = h("div", { class: "small soft wrap" }, formatBytes(file.size));
      const name = h("div", { class: "room" }, h("div", { class: "clip" }, file.name), details);
      list.append(h("li", {}, h("div", { class: "row between" }, name, outcome), bar));
      tasks.push({ file, bar, outcome, details, state: "waiting" });
    }
    startTasks();
  }

  function startTasks() {
    summarize();
    const free = CONCURRENT - countTasks(["running"]);
    if (signal.aborted) return;
    for (const task of tasks.filter((each) => each.state === "waiting").slice(0, free)) {
      task.state = "running";
      run(task).finally(startTasks);
    }
  }

  /** @param {Task} task */
  async function run(task) {
    const { file, bar, outcome, details } = task;
    bar.hidden = false;
    fill(outcome, chip("Uploading", "accent"));
    try {
      /** @type {{ outcome: "added" | "known", recording: Recording, warnings?: string[] }} */
      const added = await upload("v1/recordings", file, {
        signal,
        onProgress: (share) => {
          bar.setShare(share < 1 ? share : null);
          if (share >= 1) fill(outcome, chip("Encoding", "accent"));
        },
      });
      task.state = added.outcome;
      fill(
        outcome,
        added.outcome === "known" ? chip("Already in the library", "warn", "check") : chip("Added", "good", "check"),
      );
      const name = `${titleOf(added.recording)} · ${artistNames(added.recording)}`;
      details.textContent = [name, ...(added.warnings ?? []).map(capitalize)].join(". ");
      onAdded();
    } catch (error) {
      if (isAbort(error)) return;
      showFailure(task, error);
    }
    bar.hidden = true;
  }

  /**
   * @param {Task} task
   * @param {unknown} error
   */
  function showFailure(task, error) {
    const { outcome, details } = task;
    task.state = "failed";
    details.textContent = messageOf(error);
    details.className = "small wrap trouble";
    const retry = () => {
      task.state = "waiting";
      startTasks();
    };
    fill(
      outcome,
      chip("Not added", "bad", "cross"),
      error instanceof ApiError && error.isTemporary && button("Try again", retry, { kind: "quiet compact" }),
    );
  }

  /** @param {Task["state"][]} states */
  function countTasks(states) {
    return tasks.filter((task) => states.includes(task.state)).length;
  }

  function summarize() {
    const parts = SUMMARY.map(([states, label]) => ({ count: countTasks(states), label }));
    counts.textContent = parts
      .filter(({ count }) => count)
      .map(({ count, label }) => `${count} ${label}`)
      .join(", ");
    close.hidden = countTasks(["waiting", "running"]) > 0;
    title.textContent = close.hidden ? "Adding music" : "Uploads";
  }
}
