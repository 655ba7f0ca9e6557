// What the server does, read from /metrics every two seconds.

import { Api } from "../shared/api.js";
import { byId, h } from "../shared/dom.js";
import { KeyPrompt } from "../shared/key.js";
import { changesTheme } from "../shared/theme.js";
import { Reading, growth, rate, share } from "./metrics.js";
import { Plot } from "./plot.js";

const EVERY_MS = 2000;
const LENGTH = 150; // readings: five minutes

const OWN = new Set(["/metrics", "/status/failures"]); // what this page asks
const PROCESSES = { media: "image workers", engine_client: "grammar trial" }; // as people know them

const number = (value) => (value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 }));
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(0)} %`);
const seconds = (value) => (value === null ? "–" : `${value.toFixed(value < 1 ? 2 : 1)} s`);
const bytes = (value) => (value === null ? "–" : value < 1e9 ? `${(value / 1e6).toFixed(0)} MB` : `${(value / 1e9).toFixed(2)} GB`);

const PLOTS = [
  { title: "Running sequences", shown: number, value: (_, now) => now.sum("foveal_running_sequences") },
  { title: "Waiting sequences", shown: number, value: (_, now) => now.sum("foveal_waiting_sequences") },
  { title: "Tokens a second", shown: number, value: (before, now) => rate(before, now, "foveal_generated_tokens_total") },
  { title: "Requests a second", shown: number, value: (before, now) => rate(before, now, "foveal_http_requests_total", isOthers) },
  { title: "Time to first token", shown: seconds, value: firstToken },
  { title: "KV cache in use", shown: percent, value: (_, now) => share(now, "foveal_kv_blocks_used", "foveal_kv_blocks") },
  { title: "Prompt tokens from the cache", shown: percent, value: (_, now) => share(now, "foveal_cached_prompt_tokens_total", "foveal_prompt_tokens_total") },
  { title: "Pictures that were there already", shown: percent, value: (_, now) => share(now, "foveal_image_cache_hits_total", "foveal_images_total") },
].map(({ value, title, shown }) => ({ value, plot: new Plot(title, shown, LENGTH) }));

const api = new Api();
const keys = new KeyPrompt(api, { title: "This page asks for an operator's key", refusals: [401, 403] });
let models = null;
let before = null;
let isPaused = false;

function isOthers({ route }) {
  return !OWN.has(route);
}

/** The mean of the answers that ended since the last reading. */
function firstToken(before, now) {
  const count = growth(before, now, "foveal_time_to_first_token_seconds_count");
  return count ? growth(before, now, "foveal_time_to_first_token_seconds_sum") / count : null;
}

async function read() {
  const [metrics, failures] = await keys.run(() => Promise.all([api.metrics(), api.failures()]));
  models ??= await api.models();
  const now = new Reading(metrics, performance.now() / 1000);
  if (before) for (const { plot, value } of PLOTS) plot.add(value(before, now));
  before = now;
  byId("models").replaceChildren(...now.of("foveal_ready").map((each) => modelRow(now, each)));
  byId("memory").replaceChildren(...now.of("foveal_resident_bytes").map(({ labels, value }) => row(PROCESSES[labels.process] ?? labels.process, bytes(value))));
  byId("failures").replaceChildren(...(failures.length ? failures.map(failureRow) : [row("none yet")]));
}

/** Where one model is served, its numbers have no label. */
function modelRow(now, { labels, value: isReady }) {
  const of = (name) => now.sum(`foveal_${name}`, ({ model }) => model === labels.model);
  const [blocks, used, idle] = ["kv_blocks", "kv_blocks_used", "kv_blocks_idle"].map(of);
  const state = h("span", { className: isReady ? "ready" : "waiting" }, isReady ? "ready" : "not ready");
  const cache = blocks ? `${percent(used / blocks)} in use, ${percent(idle / blocks)} kept` : "–";
  return row(
    labels.model ?? models[0].id, state, number(of("running_sequences")), number(of("waiting_sequences")), cache,
    number(of("generated_tokens_total")), number(of("engine_restarts_total")),
  );
}

function failureRow({ ended, route, status, request_id: id }) {
  const time = new Date(ended * 1000);
  const what = status < 400 ? "failed in its stream" : String(status);
  return row(h("time", { dateTime: time.toISOString() }, time.toLocaleTimeString()), what, h("code", {}, route), h("code", {}, id));
}

function row(first, ...others) {
  return h("tr", {}, h("th", { scope: "row" }, first), ...others.map((cell) => h("td", {}, cell)));
}

async function keepReading() {
  for (;;) {
    if (!isPaused && !document.hidden) {
      try {
        await read();
        byId("trouble").textContent = "";
      } catch (error) {
        byId("trouble").textContent = error.message;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

byId("plots").append(...PLOTS.map(({ plot }) => plot.element));
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
});
changesTheme(byId("theme"));
keepReading();
