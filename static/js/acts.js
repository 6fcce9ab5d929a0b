/* What a person does without leaving the page.
   - A button with form="act" posts to its formaction; the answer is a sentence, shown as a toast.
   - A link with data-dialog opens what it leads to as a dialog: the same form that its page shows.
   - A form in such a dialog posts from there; when refused, the dialog shows the form again with the reasons.
   Without script each of these is an ordinary form or page. */
import { $, request, say, word } from "./dom.js";
import { toast } from "./toast.js";

const ANEW_AFTER_MS = 5000;

const online = () => !document.body.hasAttribute("data-offline");

/** Act on the server's answer: {say, kind, go, reread, follow}. */
function follow(answer, form) {
  if (answer.go) return location.assign(answer.go);
  toast(answer.say, answer.kind, answer.follow);
  document.dispatchEvent(new CustomEvent("slipway:acted", { detail: { ...answer, form: form.id } }));
}

/** What a response of ours says, whatever it is: {say, kind, ...}, {go} or {form}. */
export async function answerOf(response) {
  if (response.redirected) return { go: response.url };
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) {
    const data = await response.json();
    return data.detail && !data.say ? { say: data.detail, kind: "bad" } : data;
  }
  if (type.includes("html") && response.status === 422) return { form: await response.text() };
  return { say: word(response.status === 429 ? "tooFast" : "failed"), kind: "bad" };
}

async function post(url, body, button) {
  if (!online()) return toast(word("offlineAct"), "bad");
  button?.setAttribute("aria-disabled", "true");
  try {
    return await answerOf(await request(url, { method: "POST", body }));
  } catch {
    return { say: word("offlineAct"), kind: "bad" };
  } finally {
    button?.removeAttribute("aria-disabled");
  }
}

/** Open a page of ours as a dialog. */
export async function openDialog(url) {
  const dialog = $("#dialog");
  try {
    const response = await request(url);
    if (!response.ok || response.redirected) return location.assign(url);
    dialog.innerHTML = await response.text();
  } catch {
    return toast(word("offlineAct"), "bad");
  }
  dialog.showModal();
  $("[autofocus]", dialog)?.focus();
}

function onClick(event) {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openDialog(link.href);
}

/** Say it in the dialog, before which a toast would lie in the dark. */
function refuseIn(form, sentence) {
  let place = $("[data-refused]", form);
  if (!place) {
    place = document.createElement("p");
    place.className = "t-bad";
    place.dataset.refused = "";
    place.setAttribute("role", "alert");
    form.prepend(place);
  }
  place.textContent = sentence;
}

/* A form that no script sends is sent once: a double click would make two. */
function sentOnce(event) {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent !== undefined) return event.preventDefault();
  form.dataset.sent = "";
  setTimeout(() => delete form.dataset.sent, ANEW_AFTER_MS); // it led nowhere, or somebody came back
}

async function onSubmit(event) {
  const form = event.target;
  const button = event.submitter;
  const dialog = form.closest("#dialog");
  if (button?.getAttribute("aria-disabled") === "true") return event.preventDefault();
  if (form.id !== "act" && form.id !== "bulk" && !dialog) return;
  event.preventDefault();
  const body = new FormData(form, button?.name ? button : null);
  const answer = await post(button?.getAttribute("formaction") || form.action, body, button);
  if (!answer) return;
  if (answer.form && dialog) {
    dialog.innerHTML = answer.form;
    $("[aria-invalid=true], [autofocus]", dialog)?.focus();
    return say(word("checkForm"));
  }
  if (dialog && answer.kind === "bad") return refuseIn(form, answer.say);
  dialog?.close();
  follow(answer, form);
}

export function start() {
  document.addEventListener("click", onClick);
  document.addEventListener("submit", onSubmit);
  window.addEventListener("submit", sentOnce); // after every script has had its chance
}
