/* The command palette: pages and verbs are in the page; machines and what can be done to them come from the
   server, from two letters on. */
import { $, $$, icon, request } from "./dom.js";
import { openDialog } from "./acts.js";
import { flipTheme } from "./widgets.js";

const SEARCH_FROM = 2;
const PAUSE_MS = 120;

let dialog, input, list;
let at = 0;
let asked = 0;
let timer = 0;

const visible = () => $$("[role=option]", list).filter((option) => !option.hidden);

function mark() {
  const options = visible();
  at = Math.max(0, Math.min(at, options.length - 1));
  for (const option of $$("[role=option]", list)) option.setAttribute("aria-selected", option === options[at]);
  $("[data-nothing]", dialog).hidden = options.length > 0;
  if (!options[at]) return input.removeAttribute("aria-activedescendant");
  input.setAttribute("aria-activedescendant", options[at].id);
  options[at].scrollIntoView({ block: "nearest" });
}

function groups() {
  for (const title of $$("[data-group]", list)) {
    title.hidden = !visible().some((option) => option.dataset.of === title.dataset.group);
  }
}

function filter() {
  const text = input.value.trim().toLowerCase();
  for (const option of $$("[role=option]:not([data-found])", list)) {
    option.hidden = !option.textContent.toLowerCase().includes(text);
  }
  groups();
  at = 0;
  mark();
}

function found(entry, index) {
  const option = document.createElement("li");
  option.id = `pal-found-${index}`;
  option.setAttribute("role", "option");
  Object.assign(option.dataset, { found: "", of: entry.group, href: entry.href ?? "", post: entry.post ?? "" });
  if (entry.dialog) option.dataset.dialog = "";
  const note = document.createElement("small");
  note.textContent = entry.note ?? "";
  option.append(icon(entry.icon), entry.text, note);
  return option;
}

async function search() {
  const text = input.value.trim();
  const mine = ++asked;
  for (const old of $$("[data-found]", list)) old.remove();
  if (text.length < SEARCH_FROM) return mark();
  const response = await request(`${dialog.dataset.search}?q=${encodeURIComponent(text)}`).catch(() => null);
  if (mine !== asked || !response?.ok) return mark();
  const { results } = await response.json();
  results.forEach((entry, index) => {
    const titles = $$("[data-group]", list);
    const title = titles.find((element) => element.dataset.group === entry.group);
    const next = titles[titles.indexOf(title) + 1] ?? null;
    list.insertBefore(found(entry, index), next);
  });
  groups();
  at = 0;
  mark();
}

export function open() {
  if (!dialog || dialog.open) return;
  input.value = "";
  for (const old of $$("[data-found]", list)) old.remove();
  dialog.showModal();
  filter();
}

function run(option) {
  if (!option) return;
  dialog.close();
  const { href, post } = option.dataset;
  if (option.dataset.run === "theme") flipTheme();
  else if (option.dataset.run === "keys") $("#keys")?.showModal();
  else if (post) {
    const button = $("#palette-act");
    button.setAttribute("formaction", post);
    button.click();
  } else if ("dialog" in option.dataset) openDialog(href);
  else if (href) location.assign(href);
}

function onKey(event) {
  if (event.key === "ArrowDown") at += 1;
  else if (event.key === "ArrowUp") at -= 1;
  else if (event.key === "Enter") run(visible()[at]);
  else return;
  event.preventDefault();
  mark();
}

export function start() {
  dialog = $(".sw-pal");
  if (!dialog) return;
  input = $("input", dialog);
  list = $("ul", dialog);
  input.addEventListener("keydown", onKey);
  input.addEventListener("input", () => {
    filter();
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS);
  });
  list.addEventListener("click", (event) => run(event.target.closest("[role=option]")));
  document.addEventListener("click", (event) => event.target.closest("[data-palette]") && open());
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    if (event.target.closest?.(".sw-con-stage")) return; // a console's keys go to its guest
    event.preventDefault();
    open();
  });
}
