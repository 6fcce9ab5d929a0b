/* Commands in a sandbox: the box that starts them, their output as it comes, the button that ends them, and the
   isolation check, which is a command too. Without script each is a form that leads to the run's own page. */
import { answerOf } from "./acts.js";
import { now, sync } from "./clock.js";
import { $, request, say, word } from "./dom.js";
import { reread, rereadSoon } from "./live.js";
import { toast } from "./toast.js";

const SHOWN_CHARACTERS = 400_000; // of the newest output; all that is kept is behind links of the run's own page
const SHOWN_LINES = 5000; // more of them take a browser seconds to lay out
const CLASSES = { stderr: "e", title: "m" };
const NBSP = "\u00a0";
const NEAR_THE_END_PX = 40;

const FOLLOWED_AT_MOST = 3; // a browser has few connections to a server; the history hears of the others' ends later

const followed = []; // what brings output: of the run that is shown, the last, and of those before it
let timer = 0; // what counts the shown one's seconds

function decoder() {
  const text = new TextDecoder("utf-8", { fatal: false });
  return (data) => text.decode(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), { stream: true });
}

/** Follow a run: `onOutput(stream, text)`, then `onEnd({status, exit_code, ...})`. Returns what ends the following. */
function follow(run, onOutput, onEnd) {
  const events = new EventSource(`/api/v1/runs/${run}/events`);
  const decoders = { stdout: decoder(), stderr: decoder() };
  events.addEventListener("output", (event) => {
    const { stream, data } = JSON.parse(event.data);
    onOutput(stream, decoders[stream](data));
  });
  events.addEventListener("end", (event) => {
    events.close();
    onEnd(JSON.parse(event.data));
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) onEnd({ status: "unreachable" });
  });
  return events;
}

function outcome(end, seconds) {
  const time = `${seconds.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 1 })}${NBSP}s`;
  if (end.status === "exited") return word("runExited", { code: end.exit_code, time });
  if (end.status === "unreachable") return word("runUnreachable");
  return end.error_detail || word(end.status === "killed" ? "runKilled" : "runEnded", { time });
}

const drawn = new WeakMap(); // terminals and what they show

/* What a terminal shows: its newest pieces, each a span once it is drawn. What comes faster than it can be drawn, or
   while the tab is hidden, is dropped here and never laid out. */
class Output {
  constructor(terminal) {
    this.terminal = terminal;
    this.pieces = [];
    this.characters = this.lines = this.frame = 0;
    this.cut = false;
    drawn.set(terminal, this);
    terminal.replaceChildren();
  }

  write(stream, text) {
    const lines = text.split("\n");
    if (lines.length > SHOWN_LINES) {
      text = lines.slice(-SHOWN_LINES).join("\n");
      this.cut = true;
    }
    const piece = { stream, text, lines: Math.min(lines.length - 1, SHOWN_LINES), node: null };
    this.pieces.push(piece);
    this.characters += text.length;
    this.lines += piece.lines;
    while (this.pieces.length > 1 && (this.characters > SHOWN_CHARACTERS || this.lines > SHOWN_LINES)) this.drop();
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  drop() {
    const first = this.pieces.shift();
    this.characters -= first.text.length;
    this.lines -= first.lines;
    first.node?.remove();
    this.cut = true;
  }

  draw() {
    const { terminal } = this;
    this.frame = 0;
    if (drawn.get(terminal) !== this) return; // another run's
    const atEnd = terminal.scrollHeight - terminal.scrollTop - terminal.clientHeight < NEAR_THE_END_PX;
    const fresh = this.pieces.filter((piece) => !piece.node);
    for (const piece of fresh) {
      piece.node = document.createElement("span");
      piece.node.dataset.stream = piece.stream;
      piece.node.className = CLASSES[piece.stream] ?? "";
      piece.node.textContent = piece.text;
    }
    terminal.append(...fresh.map((piece) => piece.node));
    if (atEnd) terminal.scrollTop = terminal.scrollHeight;
  }
}

/** Show a run in the box: its command, its output, how long it takes, and the button that stops it. */
function show(box, { run, title, stop }) {
  while (followed.length >= FOLLOWED_AT_MOST) followed.shift().close();
  clearInterval(timer);
  const terminal = $(".sw-term", box);
  const meta = $("[data-meta]", box);
  const button = $("[data-stop-run]", box);
  let began = box.dataset.waiting === undefined ? Date.parse(box.dataset.began ?? "") || now() : 0;
  const seconds = () => (now() - began) / 1000;
  const whole = box.dataset.whole !== undefined;
  let away = false;
  const tick = () => {
    if (away) meta.textContent = word("runUnreachable");
    else if (!began) meta.textContent = box.dataset.waiting;
    else meta.textContent = whole ? "" : word("runRunning", { time: `${Math.floor(seconds())}${NBSP}s` });
  };
  box.hidden = false;
  const shown = new Output(terminal);
  if (title) shown.write("title", `$ ${title}\n`);
  button.hidden = !stop;
  if (stop) button.setAttribute("formaction", stop);
  tick();
  timer = setInterval(tick, 1000);
  const source = follow(
    run,
    (stream, text) => {
      if (followed.at(-1) !== source) return;
      away = false;
      began ||= now();
      shown.write(stream, text);
    },
    (end) => {
      if (followed.at(-1) !== source) {
        followed.splice(followed.indexOf(source), 1);
        return rereadSoon();
      }
      clearInterval(timer);
      button.hidden = true;
      const over = whole && end.status !== "unreachable";
      const all = box.dataset.cut === undefined && !shown.cut;
      meta.textContent = over ? (all ? word("runOver") : "") : outcome(end, began ? seconds() : 0);
      if (whole) return stop ? rereadSoon() : undefined; // its page says how it ended
      say(meta.textContent);
      rereadSoon();
    },
  );
  followed.push(source);
  source.addEventListener("error", () => {
    away = true;
  });
}

async function post(form) {
  const response = await request(form.action, { method: "POST", body: new FormData(form) });
  const answer = await answerOf(response);
  if (answer.go) location.assign(answer.go); // to sign in again
  if (!answer.run) throw new Error(answer.say ?? word("failed"));
  return answer;
}

async function run(form) {
  const button = $("button[type=submit]", form);
  button.disabled = true;
  try {
    const box = $("[data-run-now]");
    for (const name of ["began", "waiting"]) delete box.dataset[name]; // they were of another
    show(box, await post(form));
    rereadSoon();
  } catch (error) {
    toast(error instanceof TypeError ? word("offlineAct") : error.message, "bad");
  } finally {
    button.disabled = false;
  }
}

// --- the isolation report ---------------------------------------------------------------------------------------
async function report() {
  const place = $("[data-report]");
  if (!place) return;
  const response = await request(place.dataset.report).catch(() => null);
  if (response?.ok && !response.redirected) place.innerHTML = await response.text();
}

async function check(form) {
  const button = $("button", form);
  button.disabled = true;
  try {
    const { run: id } = await post(form);
    await report();
    follow(id, () => {}, async () => {
      await report();
      await reread().catch(() => {});
      say(word("checkOver"));
    });
  } catch (error) {
    toast(error instanceof TypeError ? word("offlineAct") : error.message, "bad");
  } finally {
    button.disabled = false;
  }
}

function begin() {
  const place = $("[data-report]");
  if (place?.dataset.check) {
    if (place.dataset.liveCheck === "yes") follow(place.dataset.check, () => {}, report);
    report();
  }
  const box = $("[data-run-now]");
  if (box?.dataset.run) show(box, { run: box.dataset.run, title: box.dataset.title, stop: box.dataset.stop });
}

export function start() {
  if (!$("[data-run-now]") && !$("[data-report]")) return;
  sync(document.documentElement.dataset.now);
  begin();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-run-form], [data-check-form]")) return;
    event.preventDefault();
    if (form.matches("[data-run-form]")) run(form);
    else check(form);
  });
}
