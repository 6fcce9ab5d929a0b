/* Files into a sandbox: chosen or dropped, sent with progress. Getting one is an ordinary link to the API. */
import { $, csrf, word } from "./dom.js";

function said(body, text, bad = false) {
  const place = $("[data-said]", body);
  place.textContent = text;
  place.classList.toggle("t-bad", bad);
  place.classList.toggle("sw-muted", !bad);
}

function refusal(call) {
  try {
    return JSON.parse(call.responseText).detail ?? word("failed");
  } catch {
    return word("failed");
  }
}

/** Send one file; fetch() cannot tell how far it is. */
function put(body, file, folder) {
  const bar = $("progress", body);
  const path = folder.endsWith("/") ? folder + file.name : folder;
  const call = new XMLHttpRequest();
  call.open("PUT", `${body.dataset.files}?path=${encodeURIComponent(path)}`);
  call.setRequestHeader("X-CSRFToken", csrf());
  call.setRequestHeader("Content-Type", "application/octet-stream");
  call.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
  });
  call.addEventListener("loadend", () => {
    bar.hidden = true;
    if (call.status >= 200 && call.status < 300) said(body, word("filePut", { path }));
    else said(body, call.status ? refusal(call) : word("offlineAct"), true);
  });
  bar.value = 0;
  bar.hidden = false;
  said(body, word("filePutting", { path }));
  call.send(file);
}

export function start() {
  const reveal = () => {
    for (const form of document.querySelectorAll("[data-put]")) form.hidden = false;
  };
  reveal();
  document.addEventListener("slipway:swapped", reveal);
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-put]")) return;
    event.preventDefault();
    const [file] = event.target.elements.file.files;
    if (file) put(event.target.closest("[data-files]"), file, event.target.elements.path.value);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const card = event.target.closest?.(".sw-drop");
      const body = card && $("[data-files]", card);
      if (!body) return;
      event.preventDefault();
      card.classList.toggle("over", kind === "dragover");
      const file = event.dataTransfer?.files[0];
      if (kind === "drop" && file) put(body, file, $("#put-path", body).value);
    });
  }
}
