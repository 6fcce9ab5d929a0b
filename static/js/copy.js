/* <sw-copy value="..."><code>...</code><button> copies its text; where copying is blocked it selects it. */
import { $, icon, say, word } from "./dom.js";
import { toast } from "./toast.js";

const TICK_MS = 1600;

function done(button) {
  button.dataset.copied = "";
  button.replaceChildren(icon("check"));
  say(word("copied"));
  setTimeout(() => {
    delete button.dataset.copied;
    button.replaceChildren(icon("copy"));
  }, TICK_MS);
}

export function start() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("sw-copy button");
    if (!button) return;
    const box = button.closest("sw-copy");
    const text = box.getAttribute("value") || $("code", box)?.textContent || "";
    try {
      await navigator.clipboard.writeText(text);
      done(button);
    } catch {
      getSelection().selectAllChildren($("code", box) ?? box);
      toast(word("copyBlocked"), "bad");
    }
  });
}
