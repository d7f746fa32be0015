// Plot what goes with the pictures over time: the judges' probability, segments, and every entry of the action.

import { judgeColour } from "./panel.js";
import { fitted } from "./pictures.js";

const LEFT = 64;
const RIGHT = 10;
const GAP = 8;
const PROGRESS = 44;
const AXIS = 16;

/** Return the step under a place on the canvas. */
export function stepAt(canvas, x, steps) {
  const { left, width } = canvas.getBoundingClientRect();
  const share = (x - left - LEFT) / (width - LEFT - RIGHT);
  return Math.max(0, Math.min(steps, Math.round(share * steps)));
}

const still = document.createElement("canvas"); // all of the plot that does not move with the step
let stillOf = []; // what it was drawn of

/** Draw the timeline of an episode at a step; `open` is the step at which a segment has begun, or null. */
export function drawTimeline(canvas, episode, step, open) {
  const { context, width, height } = fitted(canvas);
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink");
  const { about, labels } = episode;
  const x = (at) => LEFT + (at / Math.max(1, about.steps)) * (width - LEFT - RIGHT);
  const drawnOf = [about.id, canvas.width, canvas.height, ink, open, open === null ? 0 : step,
    ...labels.map((label) => label.id)];
  if (drawnOf.some((part, index) => part !== stillOf[index]) || drawnOf.length !== stillOf.length) {
    Object.assign(still, { width: canvas.width, height: canvas.height });
    const onto = still.getContext("2d");
    onto.scale(canvas.width / width, canvas.height / height);
    drawStill(onto, { about, labels, step, open, width, height, x, style });
    stillOf = drawnOf;
  }
  context.drawImage(still, 0, 0, width, height);
  context.strokeStyle = ink;
  context.fillStyle = ink;
  context.lineWidth = 1.5;
  line(context, [[x(step), 0], [x(step), height - AXIS]]);
  context.beginPath();
  context.arc(x(step), height - AXIS, 3.5, 0, 2 * Math.PI);
  context.fill();
}

function drawStill(context, { about, labels, step, open, width, height, x, style }) {
  const colour = (name) => style.getPropertyValue(name);
  const segments = labels.filter((label) => label.field === "segment");
  const progress = labels.filter((label) => label.field === "progress");
  context.font = `11.5px ${style.getPropertyValue("--font")}`;
  context.textBaseline = "middle";

  let top = 2;
  const bottom = height - AXIS;
  drawPlans(context, about, x, top, bottom, colour);
  if (progress.length) {
    drawProgress(context, progress, labels, x, top, colour);
    top += PROGRESS + GAP;
  }
  drawSegments(context, segments, open, step, x, top, bottom, colour);
  drawActions(context, about, x, top, bottom, width, colour);
  drawAxis(context, about, x, height - 7, colour);
}

function line(context, points) {
  context.beginPath();
  for (const [index, [x, y]] of points.entries()) index ? context.lineTo(x, y) : context.moveTo(x, y);
  context.stroke();
}

function drawPlans(context, about, x, top, bottom, colour) {
  context.strokeStyle = colour("--imagined");
  context.globalAlpha = 0.28;
  context.lineWidth = 1;
  context.setLineDash([2, 3]);
  for (const plan of about.plans) line(context, [[x(plan.step), top], [x(plan.step), bottom]]);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function drawProgress(context, progress, labels, x, top, colour) {
  context.strokeStyle = colour("--line");
  context.lineWidth = 1;
  for (const share of [0, 0.5, 1]) {
    const y = Math.round(top + (1 - share) * PROGRESS) + 0.5;
    line(context, [[x(0), y], [x(progress[0].value.length - 1), y]]);
  }
  context.fillStyle = colour("--faint");
  context.textAlign = "left";
  context.fillText("judges", 0, top + PROGRESS / 2);
  for (const label of progress) {
    context.strokeStyle = colour(judgeColour(labels, label).slice(4, -1));
    context.lineWidth = 1.75;
    line(context, label.value.map((value, at) => [x(at), top + (1 - value) * PROGRESS]));
  }
}

function drawSegments(context, segments, open, step, x, top, bottom, colour) {
  const spans = segments.map((label) => label.span);
  if (open !== null) spans.push([Math.min(open, step), Math.max(open, step)]);
  context.fillStyle = colour("--imagined");
  for (const [first, last] of spans) {
    context.globalAlpha = 0.14;
    context.fillRect(x(first), top, Math.max(2, x(last) - x(first)), bottom - top);
    context.globalAlpha = 1;
    context.fillRect(x(first), bottom - 2, Math.max(2, x(last) - x(first)), 2);
  }
}

function drawActions(context, about, x, top, bottom, width, colour) {
  const lanes = about.sent.length;
  const lane = (bottom - top - 4) / Math.max(1, lanes);
  const largest = about.sent.flat().reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 1e-6);
  for (let index = 0; index < lanes; index += 1) {
    const middle = top + lane * (index + 0.5);
    const y = (value) => middle - (Math.max(-1, Math.min(1, value / largest)) * (lane - 6)) / 2;
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    line(context, [[x(0), Math.round(middle) + 0.5], [width - RIGHT, Math.round(middle) + 0.5]]);
    context.fillStyle = colour("--faint");
    context.textAlign = "left";
    context.fillText(about.action_names[index], 0, middle);
    stairs(context, about.requested[index], x, y, colour("--faint"), 1);
    stairs(context, about.sent[index], x, y, colour("--executed"), 1.4);
  }
}

/** An action holds from one step to the next, so it is drawn as a stair; where there is no number, there is a gap. */
function stairs(context, values, x, y, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  const runs = [[]];
  for (const [at, value] of values.entries()) {
    if (value === null) runs.push([]);
    else runs.at(-1).push([x(at), y(value)], [x(at + 1), y(value)]);
  }
  for (const run of runs) line(context, run);
}

function drawAxis(context, about, x, y, colour) {
  const end = about.times_s.at(-1);
  const every = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60].find((seconds) => end / seconds <= 9) ?? 120;
  context.fillStyle = colour("--faint");
  for (let tick = 0; tick * every <= end + 1e-6; tick += 1) {
    const at = about.times_s.findIndex((time) => time >= tick * every - 1e-6);
    context.textAlign = tick ? "center" : "left";
    context.fillText(`${+(tick * every).toFixed(1)} s`, Math.min(x(at), x(about.steps) - 8), y);
  }
}
