// The page: wires what people do to what the server says. State is here; the other modules draw or compute.

import { Api } from "../shared/api.js";
import { byId, closable, h } from "../shared/dom.js";
import { KeyPrompt } from "../shared/key.js";
import { changesTheme } from "../shared/theme.js";
import { AnswerView } from "./answer.js";
import { LANGUAGES } from "./code.js";
import { count, money, requestBody } from "./conversation.js";
import { pictureFigure } from "./overlay.js";
import { PictureStrip, describe } from "./pictures.js";
import { Settings } from "./settings.js";

const MEASURE_AFTER = 300; // ms without a change

const api = new Api();
const keys = new KeyPrompt(api);
const turns = []; // as in conversation.js
let models = [];
let asking = null; // an AbortController while an answer streams
let measuring = { timer: 0, abort: new AbortController() };

const settings = new Settings(byId("panel"), measureSoon);
const strip = new PictureStrip(byId("pictures"), { changed: measureSoon, look });
const text = byId("text");

// --- models ------------------------------------------------------------------------------------------------------------

async function start() {
  models = await keys.run(() => api.models());
  byId("model").replaceChildren(...models.map(({ id }) => h("option", { value: id }, id)));
  settings.values.model = models[0]?.id ?? null;
  measureSoon();
}

function served() {
  return models.find(({ id }) => id === settings.values.model);
}

// --- asking ------------------------------------------------------------------------------------------------------------

async function send() {
  const question = { role: "user", text: text.value.trim(), pictures: [] };
  if (asking || (!question.text && !strip.pictures.length)) return;
  question.pictures = strip.take();
  text.value = "";
  grow();
  turns.push(question);
  byId("welcome").hidden = true;
  byId("turns").append(questionView(question));
  await answer();
}

async function answer() {
  const body = requestBody(turns, settings.values);
  const turn = { role: "assistant", text: "", reasoning: "", tokens: [], usage: null, finishReason: null, timing: null };
  const view = new AnswerView(turn, { regenerate: () => again(turn, view), copy });
  for (const button of document.querySelectorAll(".regenerate")) button.hidden = true;
  byId("turns").append(view.element);
  view.element.scrollIntoView({ block: "end", behavior: "smooth" });
  asking = new AbortController();
  showAsking(true);
  try {
    await keys.run(() => receive(body, turn, view));
    turns.push(turn);
    view.end(facts());
  } catch (error) {
    if (error.name === "AbortError") {
      turn.isStopped = true;
      turns.push(turn);
      view.end(facts());
    } else view.fail(error);
  } finally {
    asking = null;
    showAsking(false);
    measureSoon();
  }
}

async function receive(body, turn, view) {
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  turn.timing = { firstToken: null, total: 0 };
  for await (const event of api.chat(body, asking.signal)) {
    const choice = event.choices[0];
    if (choice?.delta.content || choice?.delta.reasoning_content) turn.timing.firstToken ??= elapsed();
    turn.text += choice?.delta.content ?? "";
    turn.reasoning += choice?.delta.reasoning_content ?? "";
    turn.tokens.push(...(choice?.logprobs?.content ?? []));
    turn.finishReason = choice?.finish_reason ?? turn.finishReason;
    turn.usage = event.usage ?? turn.usage;
    turn.timing.total = elapsed();
    view.update();
  }
}

function again(turn, view) {
  if (asking) return;
  if (turns.at(-1) === turn) turns.pop();
  view.element.remove();
  answer();
}

function showAsking(isAsking) {
  const button = byId("send");
  button.textContent = isAsking ? "Stop" : "Ask";
  button.classList.toggle("stop", isAsking);
}

function questionView(question) {
  const pictures = question.pictures.map((picture) =>
    h("button", { type: "button", className: "look", "aria-label": `Look at ${picture.name}`, onclick: () => look(picture) }, pictureFigure(picture)),
  );
  return h(
    "article",
    { className: "turn user", "aria-label": "Question" },
    pictures.length ? h("div", { className: "shown" }, ...pictures) : null,
    question.text ? h("p", {}, question.text) : null,
  );
}

function allPictures() {
  return turns.flatMap((turn) => turn.pictures ?? []);
}

function facts() {
  return { pricing: served()?.pricing ?? null, pictures: allPictures().reverse(), seen };
}

/** How the model counts in its answers. Qwen2.5-VL counts the pixels of its own blocks of 28. */
function seen(picture) {
  const { scale, model } = settings.values;
  const countsPixels = scale === "pixels" || (scale === "auto" && /qwen2[._p-]?5/i.test(model));
  const { grid, width, height } = picture.measured;
  const isResized = scale === "auto" && countsPixels && grid;
  return {
    scale: countsPixels ? "pixels" : "thousandths",
    width: isResized ? grid.columns * 28 : width,
    height: isResized ? grid.rows * 28 : height,
  };
}

// --- measuring what would be sent --------------------------------------------------------------------------------------

function measureSoon() {
  clearTimeout(measuring.timer);
  measuring.abort.abort();
  measuring = { timer: setTimeout(measure, MEASURE_AFTER), abort: new AbortController() };
}

async function measure() {
  const question = { role: "user", text: text.value.trim(), pictures: strip.pictures };
  const output = byId("measure");
  if (!settings.values.model || (!question.text && !question.pictures.length)) {
    output.replaceChildren();
    return;
  }
  try {
    const measured = await api.measure(requestBody([...turns, question], settings.values), measuring.abort.signal);
    [...allPictures(), ...question.pictures].forEach((picture, index) => (picture.measured = measured.images[index]));
    strip.currency = measured.price?.currency ?? null;
    strip.show();
    output.className = "";
    output.textContent = [
      count(measured.prompt_tokens, "token"),
      measured.price && money(measured.price.prompt, measured.price.currency),
    ].filter(Boolean).join(" · ");
  } catch (error) {
    if (error.name === "AbortError" || error.status === 401) return;
    output.className = "problem";
    output.textContent = error.message;
  }
}

// --- looking, code, camera ---------------------------------------------------------------------------------------------

function look(picture) {
  byId("viewer-title").textContent = picture.name;
  byId("viewer-picture").replaceChildren(pictureFigure(picture, { grid: true }));
  byId("viewer-text").textContent = picture.measured ? describe(picture.measured, strip.currency) : "";
  byId("viewer").showModal();
}

function showCode(language) {
  const question = { role: "user", text: text.value.trim(), pictures: strip.pictures };
  const isEmpty = !question.text && !question.pictures.length;
  const told = isEmpty && turns.length ? turns.slice(0, turns.findLastIndex(({ role }) => role === "user") + 1) : [...turns, question];
  const pictures = told.flatMap((turn) => turn.pictures ?? []);
  const code = LANGUAGES[language](requestBody(told, settings.values), { pictures, origin: location.origin, needsKey: keys.isNeeded });
  byId("code-text").textContent = code;
  for (const tab of byId("code-tabs").children) {
    const isChosen = tab.textContent === language;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
  }
}

function addTabs() {
  const tabs = Object.keys(LANGUAGES).map((language) =>
    h("button", { type: "button", role: "tab", "aria-controls": "code-text", onclick: () => showCode(language) }, language),
  );
  byId("code-tabs").append(...tabs);
  byId("code-tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = step && tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next?.click();
    next?.focus();
  });
}

async function copy(value) {
  await navigator.clipboard?.writeText(value);
}

async function beginWithExample() {
  const picture = await (await fetch("/pages/playground/example.png")).blob();
  await strip.add([new File([picture], "example.png", { type: picture.type })]);
  text.value = "Which shapes are in this picture?";
  grow();
  text.focus();
}

async function openCamera() {
  const dialog = byId("webcam-dialog");
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  byId("video").srcObject = stream;
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()), { once: true });
  dialog.showModal();
}

function shoot() {
  const video = byId("video");
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => strip.add([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
  byId("webcam-dialog").close();
}

// --- what people do ----------------------------------------------------------------------------------------------------

function grow() {
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 240)}px`;
}

function listen() {
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (asking) asking.abort();
    else send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  text.addEventListener("input", () => {
    grow();
    measureSoon();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && asking && !document.querySelector("dialog[open]")) asking.abort();
  });
  byId("model").addEventListener("change", (event) => {
    settings.values.model = event.target.value;
    measureSoon();
  });
  listenForPictures();
  listenForDialogs();
}

function listenForPictures() {
  const files = byId("files");
  files.addEventListener("change", () => {
    strip.add(files.files);
    files.value = "";
  });
  byId("choose").addEventListener("click", () => files.click());
  document.addEventListener("paste", (event) => strip.add(event.clipboardData.files));
  const isForeign = (event) => !strip.isReordering && event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isForeign(event)) return;
    event.preventDefault();
    byId("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) byId("drop").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    byId("drop").hidden = true;
    if (!isForeign(event)) return;
    event.preventDefault();
    strip.add(event.dataTransfer.files);
  });
}

function listenForDialogs() {
  for (const id of ["code-dialog", "viewer", "webcam-dialog"]) closable(byId(id));
  addTabs();
  byId("code").addEventListener("click", () => {
    showCode("curl");
    byId("code-dialog").showModal();
  });
  byId("copy-code").addEventListener("click", () => copy(byId("code-text").textContent));
  byId("webcam").hidden = !navigator.mediaDevices?.getUserMedia;
  byId("webcam").addEventListener("click", openCamera);
  byId("shoot").addEventListener("click", shoot);
  byId("example").addEventListener("click", beginWithExample);
  changesTheme(byId("theme"));
  const panelButton = byId("open-panel");
  const showPanel = (isShown) => {
    byId("panel").hidden = !isShown;
    panelButton.setAttribute("aria-expanded", String(isShown));
  };
  panelButton.addEventListener("click", () => showPanel(byId("panel").hidden));
  showPanel(matchMedia("(min-width: 960px)").matches);
}

listen();
start().catch((error) => {
  byId("measure").className = "problem";
  byId("measure").textContent = error.message;
});
