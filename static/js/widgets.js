/* Menus (<details>), dialogs, tabs, segmented views, the theme switch. */
import { $, $$, typing, word } from "./dom.js";

const YEAR = 31536000;

export function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=${YEAR}; samesite=lax`;
}

export function flipTheme() {
  const root = document.documentElement;
  const next = root.dataset.bsTheme === "dark" ? "light" : "dark";
  root.dataset.bsTheme = root.dataset.theme = next;
  remember("theme", next);
  labelTheme();
}

function labelTheme() {
  const dark = document.documentElement.dataset.bsTheme === "dark";
  for (const button of $$("[data-theme-switch]")) {
    button.setAttribute("aria-label", word(dark ? "toLight" : "toDark"));
    $("use", button)?.setAttribute("href", dark ? "#i-sun" : "#i-moon");
  }
}

/** Close every open menu, except the one that holds `keep`. */
export function closeMenus(keep = null) {
  for (const menu of $$("details.sw-menu[open]")) if (!keep || !menu.contains(keep)) menu.open = false;
}

/** Menus open upwards or to the left where the window ends. */
function place(menu) {
  const panel = $(":scope > div", menu);
  if (!panel) return;
  menu.classList.remove("up");
  const box = panel.getBoundingClientRect();
  if (box.bottom > innerHeight - 8 && box.height < menu.getBoundingClientRect().top) menu.classList.add("up");
}

export function select(tab) {
  for (const other of $$("[role=tab]", tab.closest("[role=tablist]"))) {
    const on = other === tab;
    other.setAttribute("aria-selected", on);
    other.tabIndex = on ? 0 : -1;
    const panel = document.getElementById(other.getAttribute("aria-controls"));
    if (panel) panel.hidden = !on;
  }
}

function onClick(event) {
  const inMenu = event.target.closest(".sw-menu > div :is(a, button)");
  closeMenus(inMenu ? null : event.target);
  const target = event.target.closest("[data-theme-switch], [data-close], [role=tab]");
  if (target?.matches("[data-theme-switch]")) flipTheme();
  if (target?.matches("[data-close]")) target.closest("dialog")?.close();
  if (target?.matches("[role=tab]")) select(target);
  if (event.target.matches("dialog")) event.target.close();
}

function onKey(event) {
  const menu = event.target.closest?.("details.sw-menu[open]") ?? $("details.sw-menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    $("summary", menu).focus();
    event.stopPropagation();
  }
  if (menu?.contains(event.target) && !typing(event) && ["ArrowDown", "ArrowUp"].includes(event.key)) {
    const items = $$(":scope > div :is(a, button):not([disabled])", menu);
    const step = event.key === "ArrowDown" ? 1 : -1;
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length]?.focus();
    event.preventDefault();
  }
  const tab = event.target.closest?.("[role=tab]");
  if (tab && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    const tabs = $$("[role=tab]", tab.closest("[role=tablist]"));
    const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : -1) + tabs.length) % tabs.length];
    next.focus();
    select(next);
  }
}

/** A destructive button stays off until the name has been typed. */
function onInput(event) {
  const { needs } = event.target.dataset;
  if (needs === undefined) return;
  const button = $("[data-armed]", event.target.form);
  if (button) button.disabled = event.target.value.trim() !== needs;
}

export function start() {
  labelTheme();
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  document.addEventListener("input", onInput);
  // a field that is not shown cannot be complained about: its menu opens first
  document.addEventListener("invalid", (e) => e.target.closest("details")?.setAttribute("open", ""), true);
  document.addEventListener("toggle", (e) => e.target.matches?.(".sw-menu") && e.target.open && place(e.target), true);
}
