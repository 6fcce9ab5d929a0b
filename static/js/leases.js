/* <sw-lease until="..." total="..."> counts a lease down by the server's clock: its ring, its words, and amber near
   the end. It speaks at ten minutes and at one. <span data-ends="..."> is what a sentence says is left. Without script
   both show what the server wrote. */
import { now } from "./clock.js";
import { $, $$, say, word } from "./dom.js";

const NBSP = "\u00a0";
const SOON_SECONDS = 900;
const SPOKEN = [600, 60];

const spoken = new Map(); // until -> the last of SPOKEN that was said

/** Time left as people say it: 2 d 4 h, 3 h 44 min, 40 min, 12:02. */
export function left(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const day = document.documentElement.lang.startsWith("fr") ? "j" : "d";
  if (s >= 86400) return `${Math.floor(s / 86400)}${NBSP}${day}${NBSP}${Math.floor(s / 3600) % 24}${NBSP}h`;
  if (s >= 3600) return `${Math.floor(s / 3600)}${NBSP}h${NBSP}${two(Math.floor(s / 60) % 60)}${NBSP}min`;
  if (s >= SOON_SECONDS) return `${Math.floor(s / 60)}${NBSP}min`;
  return `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** Time left as a sentence says it: 16 h 48 min, 12 min, 41 s. */
function endsIn(seconds) {
  if (seconds >= 3600) return left(seconds);
  return seconds < 60 ? `${Math.floor(seconds)}${NBSP}s` : `${Math.floor(seconds / 60)}${NBSP}min`;
}

function speak(element, seconds) {
  const at = SPOKEN.filter((n) => seconds <= n).pop();
  const key = element.dataset.name + element.getAttribute("until");
  if (!at || seconds <= 0 || spoken.get(key) === at) return;
  // only on passing the mark, not for a page that is opened later
  if (spoken.has(key) || seconds > at - 2) say(word("leaseEnds", { name: element.dataset.name, left: left(at) }));
  spoken.set(key, at);
}

function paint(element) {
  const until = Date.parse(element.getAttribute("until"));
  if (Number.isNaN(until)) return;
  const seconds = Math.max(0, (until - now()) / 1000);
  const total = Number(element.getAttribute("total")) || 1;
  const text = left(seconds);
  const words = $("[data-left]", element);
  if (words && words.textContent !== text) words.textContent = text;
  $(".left", element)?.setAttribute("stroke-dasharray", `${Math.max(1, Math.min(100, (100 * seconds) / total))} 100`);
  if (element.dataset.grace !== undefined) return;
  element.classList.toggle("soon", seconds <= SOON_SECONDS);
  speak(element, seconds);
}

function count(element) {
  const until = Date.parse(element.dataset.ends);
  if (Number.isNaN(until)) return;
  const text = endsIn(Math.max(0, (until - now()) / 1000));
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  $$("sw-lease[until]").forEach(paint);
  $$("[data-ends]").forEach(count);
}

export function start() {
  tick();
  setInterval(tick, 1000);
  document.addEventListener("slipway:swapped", tick);
}
