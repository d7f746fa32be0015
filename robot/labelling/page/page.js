// The label page: one episode after another, by keys.

import { drawTile } from "./pictures.js";
import { buildPanel, made, showPanel, verdictName, verdictValue } from "./panel.js";
import { newId, Outbox, queue, Shelf } from "./server.js";
import { drawTimeline, stepAt } from "./timeline.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const AHEAD = 6;
const byId = (id) => document.getElementById(id);

const shelf = new Shelf();
const outbox = new Outbox(stored, refused, (words) => trouble(words));
let session = null; // what the server offers: store, person, kinds of failure, episodes in order
let place = 0; // of the episode shown among session.episodes
let shown = null; // the episode shown, or null
let step = 0;
let playing = null; // when playing: the step and the instant it began at
let speed = 1;
let camera = "";
let open = null; // the step at which a segment has begun
let armed = false; // K was pressed: the next key is a kind of failure
let writing = null; // what to do with the words being written
const done = []; // what Z takes back, latest last: {place, ids, counts}
const recent = []; // ids shown, latest last
const began = performance.now();
let counted = 0; // verdicts given since the page was opened

// ---- showing ----

/** Show episode `at`; resolves when it is on the canvas. `since`: the instant of the key that asked for it. */
async function show(at, since) {
  place = at;
  const { id } = session.episodes[at];
  recent.push(id);
  let episode = shelf.ready.get(id);
  const detail = { ready: Boolean(episode), handled: performance.now() - since };
  if (!episode) {
    document.body.classList.add("waiting");
    try {
      episode = await shelf.get(id);
    } catch (error) {
      trouble(`${id}: ${error.message}`);
      shown = null;
      return;
    } finally {
      document.body.classList.remove("waiting");
    }
    if (place !== at) return; // another key was faster
  }
  shown = episode;
  step = 0;
  open = null;
  disarm();
  byId("done").hidden = true;
  document.body.classList.remove("finished");
  if (!(camera in shown.pictures)) camera = Object.keys(shown.pictures)[0];
  describe();
  draw();
  showPanel(shown.labels, open);
  play();
  if (since !== undefined) measureFrom(since, detail);
  shelf.keep(upcoming(at), recent);
}

/** Note how long the key took to become a picture; performance.getEntriesByName("next-episode") tells. */
function measureFrom(since, detail) {
  detail.drawn = performance.now() - since;
  requestAnimationFrame(() => {
    const painted = new MessageChannel();
    painted.port1.onmessage = () =>
      performance.measure("next-episode", { start: since, end: performance.now(), detail });
    painted.port2.postMessage(null);
  });
}

function upcoming(at) {
  const later = session.episodes.slice(at + 1);
  const ids = [...later.filter((one) => !one.labelled), ...later.slice(0, 1)].slice(0, AHEAD).map((one) => one.id);
  return [session.episodes[at].id, ...new Set(ids)];
}

function describe() {
  const { about } = shown;
  const one = session.episodes[place];
  byId("instruction").textContent = about.instruction;
  const parts = [made("b", "", about.id), ` · ${about.outcome} after ${about.steps} steps · `, made("span", one.doubt > 0.5 ? "doubt" : "", one.why)];
  if (about.spoken) parts.push(` · the planner was told “${about.spoken}”`);
  if (about.wrong) parts.push(" · ", made("span", "doubt", about.wrong));
  byId("about").replaceChildren(...parts);
  byId("no-plan").hidden = about.imagined !== null;
  shape(".executed", about.executed[camera]);
  shape(".imagined", about.imagined ?? about.executed[camera]);
  count();
}

function shape(figure, sheet) {
  if (sheet) document.querySelector(figure).style.setProperty("--shape", sheet.width / sheet.height);
}

function count() {
  const labelled = session.episodes.filter((one) => one.labelled).length;
  byId("count").textContent = `${labelled} of ${session.episodes.length} labelled`;
  byId("track").style.width = `${(100 * labelled) / session.episodes.length}%`;
}

function draw() {
  if (!shown) return;
  const { about, pictures, imagined } = shown;
  const [plan, tile] = about.shown[step];
  if (camera) drawTile(byId("executed"), pictures[camera], about.executed[camera], step);
  drawTile(byId("imagined"), imagined, about.imagined, tile);
  const at = about.times_s[step];
  const cameras = Object.keys(pictures).length > 1 ? `${camera} · ` : "";
  byId("executed-at").textContent = `${cameras}step ${step} of ${about.steps} · ${at.toFixed(2)} s`;
  byId("imagined-at").textContent = plan < 0 ? ""
    : `plan ${plan + 1} of ${about.plans.length} · ${(at - about.times_s[about.plans[plan].step]).toFixed(2)} s into it`;
  drawTimeline(byId("timeline"), shown, step, open);
}

// ---- playing ----

function play() {
  if (!shown) return;
  if (step >= shown.about.steps) step = 0;
  const mine = { step, at: performance.now() };
  playing = mine;
  byId("playing").textContent = "pause";
  const { about } = shown;
  const episode = shown;
  const tick = (now) => {
    if (playing !== mine || shown !== episode) return;
    const time = about.times_s[mine.step] + (speed * Math.max(0, now - mine.at)) / 1000;
    let next = step;
    while (next < about.steps && about.times_s[next + 1] <= time) next += 1;
    if (next !== step) {
      step = next;
      draw();
    }
    if (step >= about.steps) pause();
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function pause() {
  playing = null;
  byId("playing").textContent = "play";
}

function go(to) {
  if (!shown) return;
  pause();
  step = Math.max(0, Math.min(shown.about.steps, to));
  draw();
}

function setSpeed(to) {
  speed = to;
  if (playing) play();
  byId("speeds").replaceChildren(...SPEEDS.map((one) => {
    const button = made("button", "", `${one}×`);
    button.setAttribute("aria-pressed", String(one === speed));
    button.addEventListener("click", () => setSpeed(one));
    return button;
  }));
}

// ---- saying ----

/** Say something about the episode shown: at once on the page, then on the server. */
function say(parts) {
  const { about, labels } = shown;
  const said = parts.map((part) => ({ id: newId(), ...part }));
  const person = { source: "person", who: session.person, model: "", rationale: "" };
  labels.push(...said.map((label) => ({ span: null, ...person, ...label })));
  done.push({ place, ids: said.map((label) => label.id), counts: parts.some((part) => part.field === "success") });
  outbox.send(about.id, "labels", said);
  showPanel(labels, open);
  drawTimeline(byId("timeline"), shown, step, open);
}

function verdict(name, since, kind) {
  if (!shown) return;
  const parts = [{ field: "success", value: verdictValue(name) }];
  if (kind) parts.push({ field: "failure kind", value: kind });
  say(parts);
  counted += 1;
  session.episodes[place].labelled = true;
  byId("said").replaceChildren("before: ", made("b", name, kind || name), " · ", made("kbd", "", "Z"), " takes it back");
  const next = session.episodes.findIndex((one, index) => index > place && !one.labelled);
  const any = next >= 0 ? next : session.episodes.findIndex((one) => !one.labelled);
  if (any >= 0) show(any, since);
  else finish();
}

function quality(value) {
  if (shown) say([{ field: "quality", value }]);
}

function closeSegment() {
  if (!shown) return;
  if (open === null) return void hint("[ begins a segment, ] ends it");
  const span = [Math.min(open, step), Math.max(open, step)];
  write(`segment ${span[0]} – ${span[1]}, its name if any`, (words) => {
    open = null;
    say([{ field: "segment", value: words.trim(), span }]);
  }, true);
}

function openSegment() {
  if (!shown) return;
  open = step;
  showPanel(shown.labels, open);
  draw();
}

function undo() {
  const last = done.pop();
  if (!last) return void hint("nothing to take back: labels given before stay");
  const { id } = session.episodes[last.place];
  outbox.send(id, "undo", last.ids);
  if (last.counts) counted -= 1;
  const episode = shelf.ready.get(id);
  if (episode) forget(episode, last.ids);
  hint("taken back");
  if (last.place !== place || !shown) show(last.place);
  else refresh(id);
}

function forget(episode, ids) {
  episode.labels = episode.labels.filter((label) => !ids.includes(label.id));
  mark(episode.about.id, episode.labels);
}

function mark(id, labels) {
  const one = session.episodes.find((other) => other.id === id);
  one.labelled = labels.some((label) => label.field === "success" && label.source === "person");
}

function refresh(id) {
  count();
  if (shown?.about.id !== id) return;
  showPanel(shown.labels, open);
  draw();
}

/** Take over what the server has stored, unless more is on its way to it. */
function stored(id, labels, more) {
  if (more) return;
  const episode = shelf.ready.get(id);
  if (episode) episode.labels = labels;
  mark(id, labels);
  refresh(id);
}

function refused(id, sentence, labels) {
  const ids = labels.map((label) => label.id ?? label);
  const episode = shelf.ready.get(id);
  if (episode) forget(episode, ids);
  const index = done.findIndex((one) => one.ids.some((other) => ids.includes(other)));
  if (index >= 0) done.splice(index, 1);
  trouble(`Not stored: ${sentence} (${id})`);
  refresh(id);
}

function finish() {
  pause();
  shown = null;
  const seconds = Math.round((performance.now() - began) / 1000);
  const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  byId("done-words").textContent = `${counted} ${counted === 1 ? "episode" : "episodes"} labelled in ${time}.`;
  byId("done").hidden = false;
  document.body.classList.add("finished");
  count();
}

// ---- words, hints, trouble ----

function write(what, keep, mayBeEmpty = false) {
  pause();
  writing = (words) => (words.trim() || mayBeEmpty) && keep(words);
  byId("writing").hidden = false;
  byId("writing-what").textContent = what;
  byId("words").value = "";
  byId("words").focus();
}

function stopWriting() {
  writing = null;
  byId("writing").hidden = true;
  byId("words").blur();
}

function hint(words) {
  byId("said").textContent = words;
}

function trouble(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = !words;
}

function arm() {
  armed = true;
  byId("kinds").classList.add("armed");
}

function disarm() {
  armed = false;
  byId("kinds").classList.remove("armed");
}

function kindOf(kind, since) {
  disarm();
  if (kind) verdict("failure", since, kind);
  else write("what went wrong", (words) => verdict("failure", undefined, words.trim()));
}

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
  draw();
}

// ---- keys ----

const KEYS = {
  " ": () => (playing ? pause() : play()),
  ArrowLeft: (event) => go(step - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => go(step + (event.shiftKey ? 10 : 1)),
  Home: () => go(0),
  End: () => shown && go(shown.about.steps),
  ArrowUp: (event) => show(shown ? Math.max(0, place - 1) : place, event.timeStamp),
  ArrowDown: (event) => place + 1 < session.episodes.length && show(place + 1, event.timeStamp),
  ",": () => setSpeed(SPEEDS[Math.max(0, SPEEDS.indexOf(speed) - 1)]),
  ".": () => setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, SPEEDS.indexOf(speed) + 1)]),
  s: (event) => verdict("success", event.timeStamp),
  f: (event) => verdict("failure", event.timeStamp),
  u: (event) => verdict("unsure", event.timeStamp),
  k: () => shown && arm(),
  n: () => shown && write("note", (words) => say([{ field: "note", value: words.trim() }])),
  z: undo,
  c: nextCamera,
  t: toggleTheme,
  "[": openSegment,
  "]": closeSegment,
  "?": () => byId("keys").showModal(),
};

function nextCamera() {
  if (!shown) return;
  const cameras = Object.keys(shown.pictures);
  camera = cameras[(cameras.indexOf(camera) + 1) % cameras.length];
  describe();
  draw();
}

function pressed(event) {
  if (byId("keys").open) {
    event.preventDefault();
    return void byId("keys").close();
  }
  if (writing) {
    if (event.key === "Escape") stopWriting();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isUndo = key === "z" && (event.ctrlKey || event.metaKey);
  if ((event.ctrlKey || event.metaKey || event.altKey) && !isUndo && !"[]".includes(key)) return;
  if (event.repeat && !key.startsWith("Arrow") && key !== "z") return;
  trouble("");
  if (armed) {
    event.preventDefault();
    const kind = session.failure_kinds[Number(key) - 1];
    if (kind) return void kindOf(kind, event.timeStamp);
    if (key === "o") return void kindOf("");
    disarm();
    if (key === "Escape" || key === "k") return;
  }
  const act = /^[0-4]$/.test(key) ? () => quality(Number(key)) : KEYS[key];
  if (!act) return;
  event.preventDefault();
  act(event);
}

function listen() {
  addEventListener("keydown", pressed);
  addEventListener("resize", draw);
  byId("theme").addEventListener("click", toggleTheme);
  byId("help").addEventListener("click", KEYS["?"]);
  byId("keys").addEventListener("click", () => byId("keys").close());
  byId("play").addEventListener("click", KEYS[" "]);
  byId("writing").addEventListener("submit", (event) => {
    event.preventDefault();
    const keep = writing;
    const words = byId("words").value;
    stopWriting();
    keep(words);
  });
  const timeline = byId("timeline");
  const scrub = (event) => event.buttons & 1 && shown && go(stepAt(timeline, event.clientX, shown.about.steps));
  timeline.addEventListener("pointerdown", (event) => {
    timeline.setPointerCapture(event.pointerId);
    scrub(event);
  });
  timeline.addEventListener("pointermove", scrub);
  // A button that was clicked must not take the space key with it.
  addEventListener("click", (event) => event.target.closest("button")?.blur());
}

async function start() {
  if (matchMedia("(prefers-color-scheme: light)").matches) document.documentElement.dataset.theme = "light";
  session = await queue();
  byId("store").textContent = `${session.store} · ${session.person}`;
  if (session.problems.length) trouble(`Left out: ${session.problems.join(" ")}`);
  buildPanel(session.failure_kinds, (what, value, event) => {
    if (what === "kind") kindOf(value);
    else if (what === "quality") quality(value);
    else verdict(value, event.timeStamp);
  });
  setSpeed(1);
  listen();
  if (session.episodes.length) await show(0);
  else trouble(`There is no episode to label. ${session.problems.join(" ")}`);
}

start().catch((error) => trouble(error.message));
