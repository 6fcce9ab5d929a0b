/* The screen of a machine: noVNC on a websocket that is open already. */
import RFB from "../vendor/novnc/rfb.mjs";
import { keysOf, strokes } from "./console-typing.js";

class Screen {
  #pane;
  #size;
  #rfb = null;
  #fit = true;
  #watch = 0;

  constructor(pane, { size }) {
    this.#pane = pane;
    this.#size = size;
  }

  /** Speak RFB over this socket; `opened` is called at the first picture. */
  attach(socket, opened) {
    this.detach();
    const rfb = new RFB(this.#pane, socket, { shared: true });
    this.#rfb = rfb;
    rfb.background = "transparent";
    rfb.showDotCursor = true;
    rfb.qualityLevel = 8;
    rfb.compressionLevel = 2;
    this.fit(this.#fit);
    rfb.addEventListener("connect", () => {
      opened();
      this.#report();
    });
    this.#watch = setInterval(() => this.#report(), 1000);
  }

  detach() {
    clearInterval(this.#watch);
    const rfb = this.#rfb;
    this.#rfb = null;
    if (!rfb) return;
    const canvas = this.#pane.querySelector("canvas");
    const last = canvas && canvas.width > 0 ? this.#still(canvas) : null;
    rfb.disconnect();
    if (last) this.#pane.replaceChildren(last);
  }

  dispose() {
    this.detach();
    this.#pane.replaceChildren();
    this.#size("");
  }

  focus() {
    this.#pane.querySelector("img")?.remove();
    this.#rfb?.focus();
  }

  blur() {
    // the guest must not be left with our modifiers held down
    for (const name of ["ControlLeft", "ControlRight", "AltLeft", "AltRight", "ShiftLeft", "ShiftRight"]) {
      const [keysym, code] = keysOf([name])[0];
      this.#rfb?.sendKey(keysym, code, false);
    }
    this.#rfb?.blur();
  }

  fit(on) {
    this.#fit = on;
    this.#pane.parentElement.classList.toggle("fit", on);
    if (!this.#rfb) return;
    this.#rfb.scaleViewport = on;
    this.#rfb.clipViewport = false;
  }

  /** Press keys together, in this order, and let go in the other. */
  press(names) {
    const keys = keysOf(names);
    for (const [keysym, code] of keys) this.#rfb?.sendKey(keysym, code, true);
    for (const [keysym, code] of keys.reverse()) this.#rfb?.sendKey(keysym, code, false);
  }

  /** Type text key by key. `told` has (done, all) for each and says whether to go on. */
  async type(text, told) {
    const rfb = this.#rfb;
    const all = strokes(text);
    for (const [index, { keysym, shift }] of all.entries()) {
      if (rfb !== this.#rfb || !told(index, all.length)) return;
      if (shift) rfb.sendKey(...keysOf(["ShiftLeft"])[0], true);
      rfb.sendKey(keysym, null, true);
      rfb.sendKey(keysym, null, false);
      if (shift) rfb.sendKey(...keysOf(["ShiftLeft"])[0], false);
      // a keyboard has no back-pressure: its controller keeps a few keys and drops the rest
      await new Promise((done) => setTimeout(done, 20));
    }
    told(all.length, all.length);
  }

  #report() {
    const canvas = this.#pane.querySelector("canvas");
    if (canvas?.width) this.#size(`${canvas.width} × ${canvas.height}`);
  }

  /* The last picture stays, dimmed by the overlay, while the connection is away. */
  #still(canvas) {
    const image = document.createElement("img");
    image.alt = "";
    image.src = canvas.toDataURL();
    return image;
  }
}

export const make = async (pane, tools) => new Screen(pane, tools);
