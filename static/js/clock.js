/* Times that move: <sw-until at="..."> counts down, <sw-since at="..."> counts up, by the server's clock.
   Times that stand still: <time data-clock> is put into the reader's own time zone. */
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

/* The server says UTC; people read their own time: the hour today, the day with it before. */
function localise() {
  const language = document.documentElement.lang;
  const hour = { hour: "2-digit", minute: "2-digit", hour12: false };
  const today = new Date(now()).toDateString();
  for (const element of $$("time[data-clock]")) {
    const moment = new Date(element.dateTime);
    const brief = moment.toDateString() === today && element.dataset.clock === "auto";
    const day = moment.getFullYear() === new Date(now()).getFullYear() ? {} : { year: "numeric" };
    const style = brief ? hour : { day: "numeric", month: "short", ...day, ...hour };
    const text = moment.toLocaleString(language, style);
    if (element.textContent !== text) element.textContent = text;
    element.title = moment.toLocaleString(language, { dateStyle: "full", timeStyle: "medium" });
  }
}

export function start() {
  sync(document.documentElement.dataset.now);
  tick();
  localise();
  document.addEventListener("slipway:swapped", () => {
    tick();
    localise();
  });
  setInterval(tick, 1000);
}
