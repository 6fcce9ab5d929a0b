/* Single-key commands. They never fire in fields or consoles, nor with a modifier, and can be switched off
   (the cookie "keys", WCAG 2.1.4). */
import { $, $$, typing } from "./dom.js";
import { remember } from "./widgets.js";

const GO = { h: "home", m: "machines", q: "quotas", d: "desk" };
const AFTER_G_MS = 1500;

let goUntil = 0;

const off = () => document.cookie.split("; ").includes("keys=off");
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

function inRow(key) {
  const within = current() ?? $("#main[data-live=machine]");
  if (key === "x") return press("[data-row]", within);
  if (key === "o") return press("[data-key=o]", within);
  if (key === "s") return press("[data-key=s]", within);
  if (key === ".") return press(".sw-menu > summary", within);
  return false;
}

function command(key) {
  if (key === "/") return $("#q")?.focus() ?? press("[data-palette]", document);
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
  const box = $("#keys-on");
  if (!box) return;
  box.checked = !off();
  box.addEventListener("change", () => remember("keys", box.checked ? "on" : "off"));
}
