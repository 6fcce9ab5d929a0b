/* The list of machines: filters without a page load, and the bar for what is selected. */
import { $, $$ } from "./dom.js";
import { reread } from "./live.js";

const PAUSE_MS = 250;

let timer = 0;

function bar() {
  const box = $(".sw-bulk");
  if (!box) return;
  const all = $$("[data-row]");
  const chosen = all.filter((row) => row.checked);
  box.hidden = chosen.length === 0;
  $("[data-n]", box).textContent = chosen.length;
  for (const link of $$("a[data-with-selection]", box)) {
    const query = new URLSearchParams(chosen.map((row) => ["vm", row.value]));
    link.href = `${link.dataset.withSelection}?${query}`;
  }
  const head = $("[data-all]");
  if (!head) return;
  head.checked = all.length > 0 && chosen.length === all.length;
  head.indeterminate = chosen.length > 0 && !head.checked;
}

function clear() {
  for (const row of $$("[data-row]")) row.checked = false;
  bar();
}

async function show(url) {
  await reread(url);
  history.replaceState(null, "", url);
}

function search(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  return show(`${form.action}${query.size ? `?${query}` : ""}`);
}

export function start() {
  if (!$("#filters")) return;
  bar();
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) for (const row of $$("[data-row]")) row.checked = event.target.checked;
    if (event.target.matches("[data-all], [data-row]")) bar();
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS, event.target.form);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filters") return;
    event.preventDefault();
    clearTimeout(timer);
    search(event.target);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-filter]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.href);
  });
  document.addEventListener("slipway:acted", (event) => {
    if (event.detail.kind !== "bad" && (event.detail.form === "bulk" || event.detail.form === "bulk-delete")) clear();
  });
  document.addEventListener("slipway:swapped", bar);
}
