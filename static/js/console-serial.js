/* The serial line of a machine: xterm on a websocket that is open already. */

/* xterm makes <style> elements and knows no nonce. The policy asks for one, so it is put on them as they are made;
   this has to happen before xterm is loaded. */
function dressStyles() {
  const nonce = document.querySelector("script[nonce]")?.nonce ?? "";
  const plain = document.createElement;
  document.createElement = function createElement(name, options) {
    const element = plain.call(this, name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
}

function addSheet(href) {
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = href;
  const loaded = new Promise((done, failed) => {
    sheet.addEventListener("load", done);
    sheet.addEventListener("error", () => failed(new Error(`${href} did not load`)));
  });
  document.head.append(sheet);
  return loaded;
}

const PRESSES = { Escape: "\x1b", Tab: "\t", Interrupt: "\x03", EndOfFile: "\x04" };
const THEME = { background: "#07090c", foreground: "#d5dbe4", cursor: "#b4c8ff", selectionBackground: "#33456f" };

let library = null;

class Serial {
  #pane;
  #tools;
  #socket = null;
  #term;
  #fitting;
  #resized;

  constructor(pane, tools, { Terminal, FitAddon }) {
    this.#pane = pane;
    this.#tools = tools;
    this.#term = new Terminal({
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
      fontSize: 13.5,
      lineHeight: 1.2,
      scrollback: 5000,
      theme: THEME,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    });
    this.#fitting = new FitAddon();
    this.#term.loadAddon(this.#fitting);
    this.#term.open(pane);
    this.#term.onData((text) => tools.input(new TextEncoder().encode(text)));
    this.#term.onBinary((text) => tools.input(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.#term.onResize(({ cols, rows }) => tools.size(`${cols} × ${rows}`));
    this.#resized = new ResizeObserver(() => this.#fitting.fit());
    this.#resized.observe(pane);
    this.#fitting.fit();
    tools.size(`${this.#term.cols} × ${this.#term.rows}`);
  }

  /** Show what comes over this socket. The scrollback comes first, so the terminal starts anew. */
  attach(socket, opened) {
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#term.reset();
      // refusals close at once; a line that stays open may have nothing to say for a long time
      socket.addEventListener("message", opened, { once: true });
      setTimeout(() => socket === this.#socket && socket.readyState === WebSocket.OPEN && opened(), 500);
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) this.#term.write(new Uint8Array(event.data));
    });
  }

  detach() {
    this.#socket = null;
  }

  dispose() {
    this.#socket = null;
    this.#resized.disconnect();
    this.#term.dispose();
    this.#pane.replaceChildren();
    this.#tools.size("");
  }

  focus() {
    this.#term.focus();
  }

  blur() {
    this.#term.blur();
  }

  press(names) {
    for (const name of names) if (PRESSES[name]) this.#tools.input(new TextEncoder().encode(PRESSES[name]));
  }

  async type(text, told) {
    this.#term.paste(text);
    told(text.length, text.length);
  }

  reader(on) {
    this.#term.options.screenReaderMode = on;
    this.focus();
  }

  /** A serial line carries no size: the guest's shell is told by typing. */
  tellSize() {
    const { cols, rows } = this.#term;
    this.#tools.input(new TextEncoder().encode(`stty rows ${rows} cols ${cols}\r`));
    this.focus();
  }
}

export async function make(pane, tools) {
  if (!library) {
    dressStyles();
    const [xterm, fit] = await Promise.all([
      import("../vendor/xterm/xterm.mjs"),
      import("../vendor/xterm/addon-fit.mjs"),
      addSheet(tools.page.dataset.xtermCss),
      document.fonts.load('13.5px "JetBrains Mono"'), // cells are measured once
    ]);
    library = { Terminal: xterm.Terminal, FitAddon: fit.FitAddon };
  }
  return new Serial(pane, tools, library);
}
