/* Enhances what the server rendered. Every page works without it, save the console and the live updates. */
import * as acts from "./acts.js";
import * as clock from "./clock.js";
import * as copy from "./copy.js";
import * as create from "./create.js";
import * as files from "./files.js";
import * as keys from "./keys.js";
import * as leases from "./leases.js";
import * as live from "./live.js";
import * as machines from "./machines.js";
import * as palette from "./palette.js";
import * as runs from "./runs.js";
import * as screens from "./screens.js";
import * as toast from "./toast.js";
import * as widgets from "./widgets.js";

const parts = [
  widgets, toast, copy, clock, acts, palette, keys, live, machines, screens, create, leases, runs, files,
];
for (const part of parts) part.start();
