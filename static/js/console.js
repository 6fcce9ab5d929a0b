/* The console page. One kind is open at a time, and only its library is loaded: noVNC for the screen, xterm for the
   serial line. This module holds the page together; the parts are
     console-link.js    ticket, websocket, reconnecting with a new ticket
     console-screen.js  the screen (noVNC)
     console-serial.js  the serial line (xterm)
     console-typing.js  text as key presses
   The state of the machine itself (off, starting, away) comes from the server as a fragment: live.js. */
import * as acts from "./acts.js";
import * as clock from "./clock.js";
import { Link } from "./console-link.js";
import { startPaste } from "./console-typing.js";
import { $, $$ } from "./dom.js";
import * as live from "./live.js";
import * as toast from "./toast.js";
import * as widgets from "./widgets.js";

const page = $(".sw-con");
const LOADERS = { vnc: () => import("./console-screen.js"), serial: () => import("./console-serial.js") };

let kind = page.dataset.kind;
let view = null; // what draws the kind that is open: {attach, detach, focus, press, type, ...}
let generation = 0; // grows with every switch, so that a slow load of the other kind is dropped

const state = () => $("[data-live=console]");
const off = () => state().dataset.open !== "yes";

/* --- overlays ------------------------------------------------------------------------------------------------ */

function cover(name, values = {}) {
  for (const over of $$("[data-over]")) over.hidden = over.dataset.over !== name;
  const shown = name && $(`[data-over="${name}"]`);
  if (shown && name === "off") shown.firstElementChild.replaceChildren(...$("[data-off]").cloneNode(true).childNodes);
  for (const [key, value] of Object.entries(values)) {
    const place = shown && $(`[data-${key}]`, shown);
    if (place) place.textContent = value;
  }
  for (const mark of $$("[data-link]")) mark.hidden = (mark.dataset.link === "yes") !== (name === null);
  if (name && name !== "lost" && document.activeElement?.closest(".sw-pane")) document.activeElement.blur();
}

const link = new Link(page.dataset.ticket, {
  connecting: () => cover("connecting"),
  opening: (socket) => view.attach(socket, () => link.opened()),
  open: () => {
    cover(null);
    view.focus();
  },
  off: () => cover("off"),
  lost: ({ attempt, wait, seen }) => {
    cover("lost", { attempt, wait });
    for (const part of $$("[data-seen]")) part.hidden = !seen;
    $("[data-unseen]").hidden = Boolean(seen);
    if (seen) $("[data-seen-at]").textContent = seen.toLocaleTimeString(document.documentElement.lang);
  },
  ended: (why) => cover(why),
  closed: () => view?.detach(),
});

/* --- which kind ---------------------------------------------------------------------------------------------- */

async function show(wanted) {
  const mine = ++generation;
  link.stop();
  view?.dispose();
  view = null;
  kind = wanted;
  for (const part of $$("[data-for]")) part.hidden = part.dataset.for !== kind;
  history.replaceState(null, "", kind === "serial" ? "?kind=serial" : location.pathname);
  cover("connecting");
  try {
    const part = await LOADERS[kind]();
    if (mine !== generation) return;
    view = await part.make($(`#pane-${kind}`), { page, size: showSize, leave: release, input: (data) => link.send(data) });
  } catch (error) {
    console.error(error);
    return cover("broken");
  }
  if (mine !== generation) return view.dispose();
  if (off()) cover("off");
  else link.start(kind);
}

function showSize(text) {
  $("[data-size]").textContent = text;
}

/** Give the keyboard back to the page. */
function release() {
  view?.blur();
  $("#con-bar a, #con-bar button").focus();
}

/* --- the machine --------------------------------------------------------------------------------------------- */

function onState() {
  if (!view) return;
  if (off()) {
    if (!link.isOpen) {
      link.stop();
      cover("off");
    }
  } else if (link.isIdle) link.start(kind);
}

/* --- the bar ------------------------------------------------------------------------------------------------- */

function toggle(button, on = button.getAttribute("aria-pressed") !== "true") {
  button.setAttribute("aria-pressed", on);
  return on;
}

async function fullScreen() {
  if (document.fullscreenElement) return document.exitFullscreen();
  await page.requestFullscreen();
  await navigator.keyboard?.lock?.().catch(() => {});
}

function onClick(event) {
  const target = event.target.closest("button");
  if (!target) return;
  const { press } = target.dataset;
  if (press) {
    view?.press(press.split(" "));
    view?.focus();
  }
  if (target.matches("[data-fit]")) view?.fit(toggle(target));
  if (target.matches("[data-reader]")) view?.reader(toggle(target));
  if (target.matches("[data-stty]")) view?.tellSize();
  if (target.matches("[data-full]")) fullScreen().catch(() => {});
  if (target.matches("[data-again]")) view ? link.start(kind) : show(kind);
}

/* Ctrl Alt Shift, held together, is ours: everything else belongs to the guest. */
function onKey(event) {
  const inside = event.target.closest?.(".sw-pane");
  if (!inside || !(event.ctrlKey && event.altKey && event.shiftKey)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  release();
}

function start() {
  for (const part of [widgets, toast, clock, acts, live]) part.start();
  startPaste({ type: (text, told) => view.type(text, told), kind: () => kind, ready: () => link.isOpen, done: () => view?.focus() });
  document.addEventListener("click", onClick);
  addEventListener("keydown", onKey, { capture: true });
  document.addEventListener("slipway:swapped", onState);
  document.addEventListener("fullscreenchange", () => {
    toggle($("[data-full]"), Boolean(document.fullscreenElement));
    if (!document.fullscreenElement) navigator.keyboard?.unlock?.();
  });
  addEventListener("online", () => link.now());
  new MutationObserver(() => {
    const chosen = $("[role=tab][aria-selected=true]", page).dataset.kind;
    if (chosen !== kind) show(chosen);
  }).observe($("[role=tablist]", page), { subtree: true, attributeFilter: ["aria-selected"] });
  show(kind);
}

start();
