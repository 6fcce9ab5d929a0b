/* Files of a sandbox. Those that are chosen or dropped are sent one after the other, with progress; each that fails
   says why. A folder of the guest is listed, and its links lead through it. Getting one is an ordinary link. */
import { $, $$, csrf, request, word } from "./dom.js";

let queue = Promise.resolve(); // one sending after the other

function said(body, text, failures = []) {
  const place = $("[data-said]", body);
  place.textContent = text;
  place.hidden = !text;
  $("[data-failures]", body).replaceChildren(
    ...failures.map((sentence) => {
      const line = document.createElement("li");
      line.textContent = sentence;
      return line;
    }),
  );
}

function refusal(call) {
  if (!call.status) return word("offlineAct");
  try {
    return JSON.parse(call.responseText).detail ?? word("failed");
  } catch {
    return word("failed");
  }
}

/** Send one file; returns why it failed, or "". fetch() cannot tell how far it is. */
function put(url, file, path, progress) {
  return new Promise((resolve) => {
    const call = new XMLHttpRequest();
    call.open("PUT", `${url}?path=${encodeURIComponent(path)}`);
    call.setRequestHeader("X-CSRFToken", csrf());
    call.setRequestHeader("Content-Type", "application/octet-stream");
    call.upload.addEventListener("progress", ({ loaded }) => progress(loaded));
    call.addEventListener("loadend", () => resolve(call.status >= 200 && call.status < 300 ? "" : refusal(call)));
    call.send(file);
  });
}

/** Send files into a folder of the guest; one alone may be given another name there. */
async function putAll(body, files, folder, failures) {
  const bar = $("progress", body);
  const all = files.length;
  const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
  const done = [];
  let before = 0;
  bar.value = 0;
  bar.hidden = false;
  for (const [index, file] of files.entries()) {
    const path = folder.endsWith("/") || all > 1 ? `${folder.replace(/\/+$/, "")}/${file.name}` : folder;
    said(body, word(all > 1 ? "filePuttingOf" : "filePutting", { path, n: index + 1, all }), failures);
    const why = await put(body.dataset.files, file, path, (loaded) => {
      bar.value = Math.min(1, (before + loaded) / total);
    });
    before += file.size;
    bar.value = Math.min(1, before / total);
    if (why) failures.push(`${path}: ${why}`);
    else done.push(path);
  }
  bar.hidden = true;
  const [path] = done;
  if (all > 1) said(body, word("filesPut", { n: done.length, all, path: folder }), failures);
  else said(body, done.length ? word("filePut", { path }) : "", failures);
  if (done.length) list(body);
}

function send(body, files, folder, failures = []) {
  if (!files.length) return said(body, "", failures);
  queue = queue.then(() => putAll(body, files, folder, failures)).catch(() => said(body, "", [word("failed")]));
}

/** Say why a folder is not shown, beside the way to try again. */
function notListed(place, url, why) {
  const reason = document.createElement("p");
  const again = document.createElement("a");
  reason.className = "sw-small t-bad";
  reason.textContent = why;
  again.href = url;
  again.dataset.folderLink = again.dataset.folderAgain = "";
  again.textContent = place.dataset.again;
  place.replaceChildren(reason, again);
}

/** Get a file: the browser saves it once the guest has begun to give it; why it does not is said here. */
async function get(body, form) {
  const url = `${form.action}?${new URLSearchParams(new FormData(form))}`;
  const trial = new AbortController();
  try {
    const response = await fetch(url, { signal: trial.signal, headers: { Accept: "application/json" } });
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      return said(body, "", [answer.detail ?? word("failed")]);
    }
    trial.abort(); // it is there: the browser gets it anew, with a place to save it
    said(body, "");
    location.assign(url);
  } catch {
    said(body, "", [word("offlineAct")]);
  }
}

/** Show a folder of the guest: the one at `url`, else the one that is shown. */
async function list(body, url = "") {
  const place = $("[data-folder]", body);
  const here = url || $("[data-folder-again]", place)?.href || place.dataset.folder;
  place.dataset.listed = "";
  try {
    const response = await request(here);
    if (!response.ok || response.redirected) throw new Error(word("failed"));
    place.innerHTML = await response.text();
  } catch (error) {
    return notListed(place, here, error instanceof TypeError ? word("offlineAct") : error.message);
  }
  const path = $("[data-path]", place)?.dataset.path;
  const target = $("[data-put]", body)?.elements.path;
  if (url && path && target) target.value = path.endsWith("/") ? path : `${path}/`;
}

function onDrop(body, transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folders = new Set(entries.filter((entry) => entry.isDirectory).map((entry) => entry.name));
  const files = [...transfer.files].filter((file) => !folders.has(file.name));
  const failures = [...folders].map((name) => word("fileIsFolder", { name }));
  send(body, files, $("#put-path", body).value, failures);
}

function reveal() {
  for (const form of $$("[data-put]")) form.hidden = false;
  for (const place of $$("[data-folder]:not([data-listed])")) list(place.closest("[data-files]"));
}

export function start() {
  reveal();
  document.addEventListener("slipway:swapped", reveal);
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-put], [data-get]")) return;
    event.preventDefault();
    if (event.target.matches("[data-get]")) return get(event.target.closest("[data-files]"), event.target);
    const { file, path } = event.target.elements;
    send(event.target.closest("[data-files]"), [...file.files], path.value);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-folder-link]");
    const body = link?.closest("[data-files]");
    if (!body || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    list(body, link.href);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const card = event.target.closest?.(".sw-drop");
      const body = card && $("[data-files]", card);
      if (!body) return;
      event.preventDefault();
      card.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer) onDrop(body, event.dataTransfer);
    });
  }
}
