/* Live pages. A websocket brings fragments that the server rendered; each replaces its own element, keeping focus,
   selection, open menus and scroll. After a lost connection the whole page is read again: hints may be missed,
   so they are never the only way to the truth. No polling.

   What a page wants stands on its <main>, or on whatever part of it is live:
     data-live="rows"     the fragments of the machines that are listed (data-vm), in the view that is shown
     data-live="machine"  one machine's page (data-vm)
     data-live="console"  the state of one machine beside its console (data-vm)
     data-live="sandbox"  one sandbox's page (data-vm)
     data-live="operation" one operation's page (data-operation) and its machine (data-vm)
     data-live="leases"   the fragments of the sandboxes that are listed (data-vm)
     data-live="reread"   read the page again when any machine of mine changes
   With data-all, staff hear of everybody's machines. What a script fills (data-filled) is left to that script. */
import { Idiomorph } from "../vendor/idiomorph/idiomorph.mjs";
import { now, sync } from "./clock.js";
import { $, $$, request, say } from "./dom.js";

const BANNER_AFTER_MS = 2000;
const REREAD_AT_MOST_EVERY_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const SIGNED_OUT = 4401;

let socket = null;
let attempts = 0;
let lostAt = 0;
let timer = 0;
let bannerTimer = 0;
let lastReread = 0;
let rereadTimer = 0;
let told = ""; // what the server was last told
let heard = document.documentElement.dataset.now; // the server's time when it last told us how things are

const root = () => $("[data-live]") ?? $("#main");

/* What the person did to an element must survive a swap. */
function keep(name, element) {
  if (name === "open" && element.matches("details, dialog")) return false;
  if (name === "checked" && element.matches("[data-row], [data-all]")) return false;
  if (name === "src" && element.matches("img[data-screen]")) return false;
  if (name === "hidden" && element.matches("[data-script-hides]")) return false;
  if (["value", "selected", "checked"].includes(name) && chosen.has(element.closest("select") ?? element)) return false;
  return true;
}

/* Fields that the person has changed and not sent yet. */
const chosen = new WeakSet();

function noteChoices() {
  for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => chosen.add(event.target));
  document.addEventListener("submit", (event) => {
    for (const field of event.target.elements) chosen.delete(field);
  });
}

/* What a person has to read stays until they go on: a refusal is not of the page that is read again. */
const stays = (node) => !node.matches?.("[data-stays]");

/** Morph `element` into `html`. */
export function swap(element, html) {
  Idiomorph.morph(element, html, {
    morphStyle: "outerHTML",
    ignoreActiveValue: true,
    callbacks: {
      beforeAttributeUpdated: keep,
      beforeNodeMorphed: (old) => !old.matches?.("[data-filled]"),
      beforeNodeRemoved: stays,
    },
  });
  document.dispatchEvent(new CustomEvent("slipway:swapped"));
}

/** Read a page of ours again (this one, unless told) and swap its live part in. */
export async function reread(url = location.href) {
  lastReread = Date.now();
  const response = await request(url);
  if (response.redirected && new URL(response.url).pathname !== new URL(url, location).pathname) {
    return location.assign(response.url);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(root().id);
  if (!response.ok || !fresh) return location.reload();
  if (page.documentElement.dataset.now) sync(page.documentElement.dataset.now);
  swap(root(), fresh.outerHTML);
  const room = $(".sw-side", page);
  if (room && $(".sw-side")) swap($(".sw-side"), room.outerHTML);
}

/** Read again soon, but not more than once a second however many hints arrive. What failed is tried again as long as
    we are connected: a network card that comes or goes ends requests that are under way. */
export function rereadSoon() {
  if (rereadTimer) return;
  const wait = Math.max(50, lastReread + REREAD_AT_MOST_EVERY_MS - Date.now());
  rereadTimer = setTimeout(() => {
    rereadTimer = 0;
    reread().catch(() => socket?.readyState === WebSocket.OPEN && rereadSoon());
  }, wait);
}

/* The machines of this page and the versions that it shows. */
function shown(main) {
  const elements = main.matches("[data-vm]") ? [main] : $$("[data-vm]", main);
  return Object.fromEntries(elements.map((e) => [e.dataset.vm, Number(e.dataset.version)]));
}

function wants() {
  const main = root();
  const kind = main?.dataset.live;
  const all = main?.dataset.all !== undefined;
  const projects = main?.dataset.projects !== undefined;
  if (!kind) return null;
  if (["machine", "console", "sandbox"].includes(kind)) return { kind, shown: shown(main), all };
  if (kind === "operation") return { kind, operation: main.dataset.operation, shown: shown(main), all };
  if (kind === "leases") return { kind: "lease", shown: shown(main), all, projects };
  if (kind === "rows") {
    return { kind: main.dataset.view === "cards" ? "tile" : "row", shown: shown(main), all, projects };
  }
  return { kind: "hint", shown: shown(main), all };
}

/** Tell the server what this page shows now, if that is news. */
export function watch() {
  const wish = wants();
  if (!wish || socket?.readyState !== WebSocket.OPEN) return;
  const subject = JSON.stringify([wish.kind, Object.keys(wish.shown).sort()]);
  if (subject === told) return;
  told = subject;
  socket.send(JSON.stringify({ ...wish, since: heard }));
}

const handlers = {
  hello: () => {},
  fragment: ({ target, html }) => {
    const element = document.getElementById(target);
    if (element) swap(element, html);
    else rereadSoon();
  },
  changed: () => rereadSoon(),
  gone: () => {
    const { gone } = root().dataset;
    if (gone) location.assign(gone);
    else rereadSoon();
  },
  say: ({ text }) => say(text),
};

function onMessage(event) {
  const message = JSON.parse(event.data);
  if (message.now) sync(message.now);
  // a greeting, and what comes before the page has asked, says nothing of what had been
  if (message.now && told && message.type !== "hello") heard = message.now;
  handlers[message.type]?.(message);
}

function showLost() {
  const banner = $("#lost");
  document.body.dataset.offline = "";
  if (!banner) return;
  const shown = new Date(lostAt).toLocaleTimeString(document.documentElement.lang, { hour12: false });
  $("[data-as-of]", banner).textContent = shown;
  banner.hidden = false;
  for (const element of $$("[data-online]")) element.hidden = element.dataset.online !== "no";
}

function hideLost() {
  delete document.body.dataset.offline;
  const banner = $("#lost");
  if (banner) banner.hidden = true;
  for (const element of $$("[data-online]")) element.hidden = element.dataset.online === "no";
}

async function onOpen() {
  clearTimeout(bannerTimer);
  told = "";
  const again = attempts > 0;
  attempts = 0;
  if (again) await reread().catch(() => {});
  hideLost();
  watch();
}

function onClose(event) {
  socket = null;
  if (event.code === SIGNED_OUT) return location.reload();
  if (!attempts) {
    lostAt = now();
    bannerTimer = setTimeout(showLost, BANNER_AFTER_MS);
  }
  attempts += 1;
  const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(attempts, 6)) * (0.7 + 0.6 * Math.random());
  clearTimeout(timer);
  timer = setTimeout(connect, wait);
}

function connect() {
  clearTimeout(timer);
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws/status`);
  socket.addEventListener("open", onOpen);
  socket.addEventListener("message", onMessage);
  socket.addEventListener("close", onClose);
}

export function start() {
  const { at } = $("[data-at]")?.dataset ?? {};
  if (at) history.replaceState(null, "", at); // a refusal stands at an address that takes only what is sent to it
  if (!wants()) return;
  noteChoices();
  connect();
  document.addEventListener("slipway:acted", () => {
    if (!socket || root().dataset.live === "reread") rereadSoon();
  });
  document.addEventListener("slipway:swapped", watch);
  document.addEventListener("click", (event) => event.target.closest("[data-reconnect]") && connect());
  addEventListener("online", connect);
  addEventListener("pageshow", (event) => event.persisted && reread());
}
