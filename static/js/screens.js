/* Live screenshots: only those in sight, only while the page is visible, and swapped only when they changed. */
import { $$, request } from "./dom.js";

const EVERY_MS = 5000;

const inSight = new Set();
const tags = new WeakMap();
let observer = null;

async function refresh(image) {
  const response = await request(image.dataset.screen, { cache: "no-cache" });
  if (!response.ok) return;
  const tag = response.headers.get("ETag");
  if (tag && tags.get(image) === tag) return;
  const picture = URL.createObjectURL(await response.blob());
  const old = image.src;
  tags.set(image, tag);
  image.addEventListener("load", () => old.startsWith("blob:") && URL.revokeObjectURL(old), { once: true });
  image.src = picture;
  image.parentElement.classList.remove("is-blank");
}

/* One after another: a page of machines must not ask for fifty screens at once. */
async function round() {
  if (document.visibilityState === "visible" && !("offline" in document.body.dataset)) {
    for (const image of [...inSight]) {
      if (!image.isConnected) inSight.delete(image);
      else await refresh(image).catch(() => {});
    }
  }
  setTimeout(round, EVERY_MS);
}

function observe() {
  for (const image of $$("img[data-screen]")) observer.observe(image);
}

/* A picture that cannot be had is no news: the place stays dark, the words beside it stay true. */
function blank(event) {
  if (event.target.matches?.("img[data-screen]")) event.target.parentElement.classList.add("is-blank");
}

export function start() {
  document.addEventListener("error", blank, true);
  for (const image of $$("img[data-screen]")) {
    if (image.complete && !image.naturalWidth) image.parentElement.classList.add("is-blank");
  }
  observer = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? inSight.add(entry.target) : inSight.delete(entry.target);
  });
  observe();
  document.addEventListener("slipway:swapped", observe);
  round();
}
