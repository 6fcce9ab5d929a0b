/* Toasts: success of one's own act. They stay while hovered or focused. Failures go where they belong, inline. */
import { $, $$, icon, word } from "./dom.js";

const STAYS_MS = 6000;

function arm(toast) {
  const later = () =>
    setTimeout(() => (toast.matches(":hover, :focus-within") ? later() : toast.remove()), STAYS_MS);
  later();
}

function build(text, kind, follow) {
  const toast = document.createElement("div");
  toast.className = "sw-toast";
  const body = document.createElement("div");
  body.textContent = text;
  if (follow) {
    const link = document.createElement("a");
    link.href = follow;
    link.textContent = word("watch");
    body.append(" ", link);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn btn-ghost icon s";
  close.setAttribute("aria-label", word("dismiss"));
  close.dataset.dismiss = "";
  close.append(icon("x"));
  toast.append(icon(kind === "bad" ? "alert" : "check", kind === "bad" ? "t-bad" : "t-ok"), body, close);
  return toast;
}

/** Show one sentence. `kind` is "ok", or "bad" for a refusal that has no place of its own on the page; `follow` is
    the page of the operation that carries it out. */
export function toast(text, kind = "ok", follow = "") {
  const box = $(".sw-toasts");
  if (!box || !text) return;
  const element = build(text, kind, follow);
  box.append(element);
  arm(element);
}

export function start() {
  $$(".sw-toast").forEach(arm);
  document.addEventListener("click", (event) => {
    event.target.closest("[data-dismiss]")?.closest(".sw-toast")?.remove();
  });
}
