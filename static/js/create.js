/* The form of a new machine: what it would add to each quota, and the same thing as a command. Advice only: the
   server decides. Everything comes from data attributes, in the API's units (MiB, GiB). */
import { $, $$, word } from "./dom.js";
import { select } from "./widgets.js";

const NBSP = "\u00a0";
const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

let form = null;

function figure(value) {
  return (Math.round(value * 10) / 10).toLocaleString(document.documentElement.lang);
}

/** An amount as the server would say it: memory in GiB from one GiB on. */
function amount(unit, value) {
  if (unit === "mib" && value < 1024) return word("mib", { n: figure(value) }).replace(" ", NBSP);
  if (unit === "mib") return word("gib", { n: figure(value / 1024) }).replace(" ", NBSP);
  if (unit === "gib") return word("gib", { n: figure(value) }).replace(" ", NBSP);
  return figure(value);
}

const chosen = (name) => $(`input[name=${name}]:checked`, form);

/** What the machine adds to each dimension. */
function added() {
  const flavor = chosen("flavor")?.dataset ?? {};
  const running = $("[name=start]", form)?.checked === false ? 0 : 1;
  const size = { vms: 1, vcpus: +(flavor.vcpus ?? 0), memory_mib: +(flavor.memory ?? 0), disk_gib: +(flavor.disk ?? 0) };
  return {
    ...size,
    running_vms: running,
    running_vcpus: running * size.vcpus,
    running_memory_mib: running * size.memory_mib,
  };
}

/** Draw one gauge with `plus` on top; return what is short, or null. */
function draw(gauge, plus) {
  const { unit, label } = gauge.dataset;
  const used = +gauge.dataset.used;
  const unlimited = gauge.dataset.limit === "";
  const limit = unlimited ? Infinity : +gauge.dataset.limit;
  const after = used + plus;
  const over = Math.max(0, after - limit);
  const share = (value) => (unlimited ? 0 : limit === 0 ? 100 : Math.min(100, (100 * value) / limit));
  const bar = $(".plus", gauge);
  bar?.setAttribute("x", `${share(used)}%`);
  bar?.setAttribute("width", `${Math.max(0, share(after) - share(used))}%`);
  gauge.classList.toggle("sw-over", over > 0);
  gauge.classList.toggle("sw-near", !over && !unlimited && after >= 0.9 * limit);
  $("[data-after]", gauge).textContent =
    unit === "mib" ? figure(after / 1024) : figure(after);
  const note = $(".sw-gauge-n", gauge);
  if (unlimited) note.textContent = word("unlimited");
  else if (over) note.textContent = word("over", { n: amount(unit, over) });
  else if (after === limit) note.textContent = word("noneLeft");
  else note.textContent = word("left", { n: amount(unit, limit - after) });
  if (!over) return null;
  const says = (value) => amount(unit, value);
  return { dimension: label, limit: says(limit), used: says(used), plus: says(plus), short: says(over) };
}

function preview() {
  const project = $("#id_project", form).value;
  const plus = added();
  const short = [];
  for (const panel of $$("[data-project]", form)) {
    panel.hidden = panel.dataset.project !== project;
    if (panel.hidden) continue;
    for (const gauge of $$("[data-gauge]", panel)) {
      const missing = draw(gauge, plus[gauge.dataset.gauge]);
      if (missing) short.push(word("missing", { ...missing, project: gauge.dataset.whose || project }));
    }
  }
  const refusal = $("#refusal", form);
  refusal.hidden = short.length === 0 || $("#refused", form) !== null; // the server's own word stands above it
  $("#fits", form).hidden = short.length > 0 || !chosen("flavor");
  $("#refusal-text", form).replaceChildren(...short.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
}

const quoted = (text) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** Write a command so that lines break between its parts, not inside them. */
function spell(code, parts, between) {
  const pieces = parts.map((text) => Object.assign(document.createElement("span"), { textContent: text }));
  code.replaceChildren(...pieces.flatMap((piece, index) => (index ? [between, piece] : [piece])));
}

function command() {
  const name = $("#id_name", form).value.trim() || "NAME";
  const body = {
    name,
    image: chosen("image")?.value ?? "IMAGE",
    flavor: chosen("flavor")?.value ?? "FLAVOR",
    project: $("#id_project", form).value,
  };
  const off = $("[name=start]", form)?.checked === false;
  const options = Object.entries(body).slice(1).map(([key, value]) => `--${key} ${quoted(value)}`);
  if (off) options.push("--no-start");
  if (off) body.start = false;
  spell($("#command-cli code", form), ["slipway vm create", quoted(name), ...options], " ");
  const call = [
    `curl -X POST ${form.dataset.api}`,
    '  -H "Authorization: Bearer $SLIPWAY_TOKEN"',
    '  -H "Idempotency-Key: $(uuidgen)"',
    `  --json ${quoted(JSON.stringify(body))}`,
  ];
  spell($("#command-api code", form), call, " \\\n");
}

/** Say what is wrong with the name: on leaving the field, then live until it is right. */
function judge(live) {
  const input = $("#id_name", form);
  const field = input.closest(".sw-field");
  if (live && !field.classList.contains("is-bad")) return;
  const bad = input.value !== "" && !NAME.test(input.value);
  field.classList.toggle("is-bad", bad);
  input.setAttribute("aria-invalid", bad);
  for (const old of $$(".sw-err:not([data-shape])", field)) old.remove();
  $("[data-shape]", field).hidden = !bad;
}

export function start() {
  form = $("#create");
  if (!form) return;
  preview();
  command();
  form.addEventListener("input", (event) => {
    $("#refused", form)?.remove();
    preview();
    command();
    if (event.target.id === "id_name") judge(true);
  });
  form.addEventListener("focusout", (event) => event.target.id === "id_name" && judge(false));
  const tab = $("[role=tab][aria-selected=true]", form);
  if (tab) select(tab);
}
