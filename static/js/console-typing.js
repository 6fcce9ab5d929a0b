/* Text as key presses, and the panel that asks for it.

   A screen has no paste: text is typed. A key is sent as its X keysym, and Shift is held where a US keyboard needs
   it, because QEMU turns keysyms into the keys of a US keyboard. What such a keyboard has no key for is left out,
   and said before anything is sent. */
import { $, word } from "./dom.js";

/* name -> [keysym, physical key]; both are in X11's keysymdef.h and in the UI Events code values */
const KEYS = {
  ControlLeft: [0xffe3, "ControlLeft"],
  ControlRight: [0xffe4, "ControlRight"],
  AltLeft: [0xffe9, "AltLeft"],
  AltRight: [0xffea, "AltRight"],
  ShiftLeft: [0xffe1, "ShiftLeft"],
  ShiftRight: [0xffe2, "ShiftRight"],
  MetaLeft: [0xffeb, "MetaLeft"],
  Delete: [0xffff, "Delete"],
  Backspace: [0xff08, "Backspace"],
  Escape: [0xff1b, "Escape"],
  Tab: [0xff09, "Tab"],
  PrintScreen: [0xff61, "PrintScreen"],
};
for (let n = 1; n <= 12; n += 1) KEYS[`F${n}`] = [0xffbd + n, `F${n}`];

export const keysOf = (names) => names.map((name) => KEYS[name]).filter(Boolean);

const SHIFTED = '~!@#$%^&*()_+{}|:"<>?ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const NAMED = { "\n": 0xff0d, "\t": 0xff09 };

function stroke(char) {
  if (NAMED[char]) return { keysym: NAMED[char], shift: false };
  const code = char.codePointAt(0);
  // printable ASCII has its own code as keysym
  return code >= 0x20 && code <= 0x7e ? { keysym: code, shift: SHIFTED.includes(char) } : null;
}

const clean = (text) => text.replace(/\r\n?/g, "\n");

/** The key presses of a text, without what has no key. */
export const strokes = (text) => [...clean(text)].map(stroke).filter(Boolean);

/** The characters of a text that no key makes, each once. */
export const missing = (text) => [...new Set([...clean(text)].filter((char) => !stroke(char)))];

/** `type(text, told)` types; `kind()` is vnc or serial; `ready()` says whether anybody listens. */
export function startPaste({ type, kind, ready, done }) {
  const panel = $("#paste");
  const text = $("#paste-text");
  const opener = $("[data-paste]");
  const progress = $("[data-progress]", panel);
  const go = $("[data-type]", panel);
  const label = go.textContent;
  let running = false;

  function show(open) {
    running = false;
    panel.hidden = !open;
    opener.setAttribute("aria-expanded", open);
    if (open) text.focus();
    else done();
  }

  function check() {
    const lost = kind() === "vnc" ? missing(text.value) : [];
    const note = $("[data-cannot]", panel);
    note.hidden = !lost.length;
    $("span", note).textContent = lost.join(" ");
  }

  function told(at, all) {
    progress.hidden = false;
    progress.textContent = word("typed", { n: at, all });
    return running;
  }

  async function start() {
    if (running) {
      running = false;
      return;
    }
    if (!text.value) return text.focus();
    if (!ready()) {
      progress.hidden = false;
      progress.textContent = word("notConnected");
      return;
    }
    running = true;
    go.textContent = word("stopTyping");
    await type(text.value, told);
    go.textContent = label;
    if (!running) return;
    text.value = "";
    show(false);
  }

  opener.addEventListener("click", () => {
    progress.hidden = true;
    show(panel.hidden);
    check();
  });
  $("[data-paste-close]", panel).addEventListener("click", () => show(false));
  go.addEventListener("click", start);
  text.addEventListener("input", check);
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(false);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
}
