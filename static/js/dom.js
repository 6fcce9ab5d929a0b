/* The few helpers that every module shares. */

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

const words = document.getElementById("words")?.dataset ?? {};

/** A sentence for script-made text, translated by the server: `words("left", {n: 3})`. */
export function word(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

/** One icon of the page's sprite. */
export function icon(name, classes = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", `sw-i s ${classes}`.trim());
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Speak one sentence to screen readers, politely. Only for outcomes of the person's own acts. */
export function say(text) {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
}

/** The CSRF token of the page. */
export const csrf = () => $("#act [name=csrfmiddlewaretoken]")?.value ?? "";

/** A request of ours to ourselves. The server answers fragments and JSON instead of whole pages. */
export function request(url, options = {}) {
  const headers = { "X-Slipway-Script": "1", ...(options.headers ?? {}) };
  if (options.method && options.method !== "GET") headers["X-CSRFToken"] = csrf();
  return fetch(url, { credentials: "same-origin", ...options, headers });
}

/** True when a key press belongs to a field or a console and must not be taken as a command. */
export const typing = (event) =>
  event.target.closest?.("input, textarea, select, [contenteditable], .sw-con") != null;
