/* Times that move: <sw-until at="..."> counts down, <sw-since at="..."> counts up. Server time, not the browser's. */
import { $$ } from "./dom.js";

let ahead = 0; // how far the server's clock is ahead of ours, in ms

/** Take the server's clock from an ISO time that it has just sent. */
export function sync(iso) {
  const server = Date.parse(iso);
  if (!Number.isNaN(server)) ahead = server - Date.now();
}

/** The server's time, in ms. */
export const now = () => Date.now() + ahead;

const NBSP = "\u00a0";

/** Whole seconds as people say them: 41 s, 5 min 09 s, 2 h 03 min, 3 d 4 h. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s}${NBSP}s`;
  if (s < 3600) return `${Math.floor(s / 60)}${NBSP}min${NBSP}${two(s % 60)}${NBSP}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}${NBSP}h${NBSP}${two(Math.floor(s / 60) % 60)}${NBSP}min`;
  const day = document.documentElement.lang.startsWith("fr") ? "j" : "d";
  return `${Math.floor(s / 86400)}${NBSP}${day}${NBSP}${Math.floor(s / 3600) % 24}${NBSP}h`;
}

function tick() {
  for (const element of $$("sw-until, sw-since")) {
    const at = Date.parse(element.getAttribute("at"));
    if (Number.isNaN(at)) continue;
    const seconds = (element.localName === "sw-until" ? at - now() : now() - at) / 1000;
    const text = span(seconds);
    if (element.textContent !== text) element.textContent = text;
  }
}

export function start() {
  sync(document.documentElement.dataset.now);
  tick();
  setInterval(tick, 1000);
}
