/* Single-key commands. They never fire in fields or consoles, nor with a modifier, and each person can switch
   them off (WCAG 2.1.4): <body data-keys>. */
import { $, $$, typing } from "./dom.js";

const GO = { h: "home", m: "machines", s: "sandboxes", q: "quotas", d: "desk" };
const AFTER_G_MS = 1500;

let goUntil = 0;

const off = () => document.body.dataset.keys !== "on";
const rows = () => $$("[data-vm]", $("#main"));
const current = () => rows().find((row) => row.contains(document.activeElement));

function step(by) {
  const all = rows();
  if (!all.length) return;
  const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(current()) + by))];
  $(".sw-name", next)?.focus();
}

function press(selector, within) {
  const target = within && $(selector, within);
  if (target) target.click();
  return Boolean(target);
}

function search() {
  const field = $("#q");
  if (!field) return press("[data-palette]", document);
  field.focus();
  return true;
}

function menu(within) {
  const opened = press(".sw-menu > summary", within);
  if (opened) $(".sw-menu > summary", within).focus();
  return opened;
}

function inRow(key) {
  const within = current() ?? $("#main:is([data-live=machine], [data-live=sandbox])");
  if (key === "x") return press("[data-row]", within);
  if (key === "o") return press("[data-key=o]", within);
  if (key === "s") return press("[data-key=s]", within);
  if (key === ".") return menu(within);
  return false;
}

function command(key) {
  if (key === "/") return search();
  if (key === "c") return press("[data-new]", document);
  if (key === "?") return $("#keys")?.showModal();
  if (key === "j") return step(1);
  if (key === "k") return step(-1);
  return inRow(key);
}

function onKey(event) {
  if (typing(event) || event.ctrlKey || event.metaKey || event.altKey || off() || $("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (Date.now() < goUntil && GO[key]) {
    goUntil = 0;
    press(`[data-go=${GO[key]}]`, document);
  } else if (key === "g") goUntil = Date.now() + AFTER_G_MS;
  else if (command(key) === false) return;
  event.preventDefault();
}

export function start() {
  document.addEventListener("keydown", (event) => event.key.length === 1 && onKey(event));
  document.addEventListener("click", (event) => event.target.closest("[data-keys]:not(body)") && $("#keys")?.showModal());
}
