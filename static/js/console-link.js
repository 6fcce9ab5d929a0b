/* From a click to bytes, and back again after a drop: every try asks for a new ticket, which is good for one
   connection within 30 seconds. The gateway says by its close code why it closes (docs/api.md, Console). */
import { request } from "./dom.js";

const LONGEST_WAIT_MS = 3500; // and a quarter more by chance: back within 5 s of the gateway
const FIRST_WAIT_MS = 300;
const QUICK_DEATH_MS = 2000; // a connection that ends sooner than this was none: the waits keep growing
const BAD_TICKET = 4401;
const REVOKED = 4403;
const NOT_RUNNING = 4409;
const BY_CODE = { [REVOKED]: "revoked", 4404: "gone", 4429: "many" };

export class Link {
  #url;
  #on;
  #kind = "";
  #socket = null;
  #turn = 0; // grows with every start and stop: answers to an older turn are dropped
  #attempt = 0;
  #timer = 0;
  #openedAt = 0;
  #seen = null;
  #revoked = false; // cut off a moment ago: the next answer says why
  #state = "idle";

  /** `on` has connecting, opening(socket), open, off, lost({attempt, wait, seen}), ended(why), closed. */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
  }

  get isOpen() {
    return this.#state === "open";
  }

  /** Is nothing under way, because the machine was off or nobody has asked yet? */
  get isIdle() {
    return this.#state === "idle" || this.#state === "off";
  }

  start(kind) {
    this.stop();
    this.#kind = kind;
    this.#attempt = 0;
    this.#revoked = false;
    this.#on.connecting();
    this.#try();
  }

  stop() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#state = "idle";
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      this.#on.closed();
      socket.close();
    }
  }

  /** Do not wait for the next try. */
  now() {
    if (this.#state === "lost") this.#try();
  }

  /** Told by the view once the first picture or bytes are there. */
  opened() {
    if (this.#state === "open" || !this.#socket) return;
    this.#state = "open";
    this.#revoked = false;
    this.#openedAt = Date.now();
    this.#on.open();
  }

  send(data) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  async #try() {
    clearTimeout(this.#timer);
    const turn = this.#turn;
    this.#state = "connecting";
    let answer = null;
    try {
      answer = await this.#ticket();
    } catch {
      answer = { again: true };
    }
    if (turn !== this.#turn) return;
    if (answer.url) this.#connect(answer, turn);
    else if (answer.off) this.#off();
    else if (answer.ended) this.#end(this.#revoked && answer.ended === "gone" ? "revoked" : answer.ended);
    else this.#later(answer.wait);
  }

  async #ticket() {
    const response = await request(this.#url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ kind: this.#kind }),
    });
    if (response.ok) return response.json();
    const wait = 1000 * Number(response.headers.get("Retry-After") ?? 0);
    const problem = await response.json().catch(() => ({}));
    if (problem.code === "invalid_state") return { off: true };
    if (response.status === 401 || problem.code === "csrf") return { ended: "signed-out" };
    if (response.status === 403) return { ended: "revoked" };
    if (response.status === 404) return { ended: "gone" };
    return { again: true, wait };
  }

  #connect({ url, protocols }, turn) {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("close", (event) => turn === this.#turn && this.#onClose(event.code));
    this.#on.opening(socket);
  }

  #onClose(code) {
    this.#socket = null;
    const lived = this.#state === "open" ? Date.now() - this.#openedAt + 1 : 0;
    if (this.#state === "open") this.#seen = new Date();
    this.#on.closed();
    if (code === NOT_RUNNING) return this.#off();
    if (code === REVOKED && lived) {
      // a new password makes a new login, and then a new ticket opens it again; else the answer tells what ended
      this.#revoked = true;
      return this.#try();
    }
    if (BY_CODE[code]) return this.#end(BY_CODE[code]);
    if (lived > QUICK_DEATH_MS) this.#attempt = 0;
    if (code === BAD_TICKET && this.#attempt === 0) return this.#later(1);
    this.#later();
  }

  #off() {
    this.#state = "off";
    this.#on.off();
  }

  #end(why) {
    this.#state = "ended";
    this.#on.ended(why);
  }

  #later(least = 0) {
    this.#attempt += 1;
    const grown = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#attempt, 6));
    const wait = least || grown * (0.75 + 0.5 * Math.random());
    this.#state = "lost";
    this.#on.lost({ attempt: this.#attempt, wait: Math.max(1, Math.round(wait / 1000)), seen: this.#seen });
    this.#timer = setTimeout(() => this.#try(), wait);
  }
}
