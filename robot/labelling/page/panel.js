// Show in the panel what has been said about an episode: by the person in front of it, and by judges.

const byId = (id) => document.getElementById(id);
const VERDICTS = { success: 1, failure: 0, unsure: 0.5 };

/** Return an element with a class and children; text is always text, never markup. */
export function made(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** Return the person's word on a verdict's probability. */
export function verdictName(value) {
  return Object.keys(VERDICTS).find((name) => VERDICTS[name] === value) ?? (value > 0.5 ? "success" : "failure");
}

export const verdictValue = (name) => VERDICTS[name];

/** Build what does not change from episode to episode. */
export function buildPanel(kinds, chosen) {
  kinds.forEach((kind, index) => {
    const button = made("button", "", made("kbd", "", String(index + 1)), kind);
    button.dataset.kind = kind;
    button.addEventListener("click", () => chosen("kind", kind));
    byId("kinds").append(button);
  });
  const other = made("button", "", made("kbd", "", "O"), "other …");
  other.addEventListener("click", () => chosen("kind", ""));
  byId("kinds").append(other);
  for (let quality = 0; quality <= 4; quality += 1) {
    const button = made("button", "", String(quality));
    button.dataset.quality = quality;
    button.addEventListener("click", () => chosen("quality", quality));
    byId("qualities").append(button);
  }
  for (const button of document.querySelectorAll(".verdict")) {
    button.addEventListener("click", (event) => chosen("verdict", button.dataset.verdict, event));
  }
}

function latest(labels, field) {
  return labels.filter((label) => label.source === "person" && label.field === field).at(-1)?.value;
}

function press(buttons, isPressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(isPressed(button)));
}

/** Show an episode's labels; `open` is the step at which a segment has begun, or null. */
export function showPanel(labels, open) {
  const success = latest(labels, "success");
  press(document.querySelectorAll(".verdict"),
    (button) => success !== undefined && button.dataset.verdict === verdictName(success));
  press(document.querySelectorAll("#kinds button"),
    (button) => button.dataset.kind !== undefined && button.dataset.kind === latest(labels, "failure kind"));
  press(document.querySelectorAll("#qualities button"),
    (button) => Number(button.dataset.quality) === latest(labels, "quality"));
  const segments = labels.filter((label) => label.field === "segment")
    .map((label) => made("li", "", made("span", "", label.span.join(" – ")), made("span", "", label.value)));
  if (open !== null) segments.push(made("li", "open", made("span", "", `from ${open} …`)));
  fill("segments", segments);
  fill("notes", labels.filter((label) => label.field === "note")
    .map((label) => made("li", "", made("span", "", label.who || label.source), made("span", "", label.value))));
  showJudges(labels);
}

function fill(id, rows) {
  byId(id).replaceChildren(...(rows.length ? rows : [made("li", "none", "–")]));
  byId(id).scrollTop = byId(id).scrollHeight;
}

/** Return the colour that stands for the judge of a label, here and in the plot. */
export function judgeColour(labels, label) {
  const names = [...new Set(labels.filter((one) => one.source !== "person").map((one) => `${one.source} ${one.model}`))];
  return `var(--judge-${1 + (names.indexOf(`${label.source} ${label.model}`) % 4)})`;
}

function showJudges(labels) {
  const judges = new Map();
  for (const label of labels) {
    if (label.field === "success" && label.source !== "none" && !label.span && label.source !== "person") {
      judges.set(`${label.source} ${label.model}`, label);
    }
  }
  const rows = [...judges.values()].map((label) => {
    const name = made("span", "name", label.source === "truth" ? "simulator" : label.source, " ",
      made("i", "", label.model.slice(0, 6)));
    const filled = made("div", "");
    filled.style.width = `${100 * label.value}%`;
    filled.style.background = judgeColour(labels, label);
    const row = made("li", "", name, made("span", "bar", filled), made("span", "p", label.value.toFixed(2)));
    row.title = [label.source, label.model, label.rationale].filter(Boolean).join(" · ");
    return row;
  });
  byId("judges").replaceChildren(...(rows.length ? rows : [made("li", "none", "none yet")]));
}
