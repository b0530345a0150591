"use strict";
// The rest of the page: which suite, statuses, how to reproduce, light and dark.

const THEMES = ["auto", "light", "dark"];

function remembered() {
  try {
    return THEMES.includes(localStorage.getItem("editbench-theme")) ? localStorage.getItem("editbench-theme") : "auto";
  } catch {
    return "auto"; // a browser may forbid pages from files to remember anything
  }
}

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const button = document.getElementById("theme");
  button.textContent = `Theme: ${name}`;
  button.onclick = () => {
    const next = THEMES[(THEMES.indexOf(name) + 1) % THEMES.length];
    try {
      localStorage.setItem("editbench-theme", next);
    } catch { /* then it holds until the page is closed */ }
    theme(next);
  };
}

// What a cell has to say beside its reason: the requests that could not be edited, and where it broke.
function trouble(cell) {
  const found = [];
  if (cell.missed) {
    const rest = cell.missed - cell.named.length;
    found.push(el("details", {}, el("summary", {}, `${thousands(cell.missed)} ${cell.missed === 1 ? "request" : "requests"} could not be edited`),
      el("dl", {}, cell.named.flatMap(([name, why]) => [el("dt", {}, name), el("dd", {}, why)])),
      rest ? el("p", { class: "said" }, `and ${thousands(rest)} more`) : null));
  }
  if (cell.traceback) {
    found.push(el("details", {}, el("summary", {}, "Traceback"), el("pre", { tabindex: "0" }, el("code", {}, cell.traceback))));
  }
  return found;
}

function showStatuses(suite) {
  const counts = unique(suite.cells.map((cell) => cell.status)).map((status) => `${thousands(suite.cells.filter((cell) => cell.status === status).length)} ${status}`);
  const told = [...suite.cells.filter((cell) => cell.status !== "done" || cell.missed), ...suite.rows.filter((row) => row.status === "done" && row.reason)];
  const heads = ["Method", "Model", "Scale", "Seed", "Status", "Reason"].map((head) => el("th", { scope: "col" }, el("span", {}, head)));
  const line = (one) => el("tr", {}, el("td", {}, one.method), el("td", {}, one.model), el("td", { class: "number" }, thousands(one.scale)),
    el("td", {}, one.seeds ? one.seeds.join(", ") : String(one.seed)), el("td", { class: one.status === "done" ? null : "trouble" }, one.status), el("td", { class: "status" }, one.reason || (one.missed ? null : "–"), trouble(one)));
  const some = suite.cells.some((cell) => cell.status === "done");
  fill("statuses-body", el("p", {}, `${thousands(suite.cells.length)} cells (method, model, seed and scale): ${counts.join(", ")}.`),
    some ? null : el("p", { class: "note" }, "No cell of this suite is done: there are no numbers to show, only why."),
    told.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Statuses, scrolls sideways" },
      el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, told.map(line)))) : el("p", { class: "said" }, "Nothing to explain."));
}

function commits(suite) {
  const found = unique(suite.runs.map((run) => (run.checkout ? run.checkout.commit : "")));
  const dirty = suite.runs.some((run) => run.checkout && run.checkout.dirty);
  const known = found.filter(Boolean);
  const notes = [];
  if (found.includes("")) notes.push("Some runs were made by an installed editbench, outside a git checkout: the versions are in the manifests.");
  if (known.length > 1) notes.push(`Runs were made at ${known.length} commits: each manifest has its own.`);
  if (dirty) notes.push("Some runs were made with changes that were not committed: these commits do not give exactly the same program.");
  return { known, notes };
}

function showReproduction(suite) {
  const { known, notes } = commits(suite);
  const commands = unique(suite.runs.map((run) => run.command).filter(Boolean));
  const lines = [...known.map((commit) => `git checkout ${commit}`), "pip install -c constraints.txt -e .", ...commands, `editbench report ${suite.suite}`];
  fill("reproduce-body", el("p", {}, "In a checkout of editbench, with Python 3.11 or newer:"), el("pre", { tabindex: "0" }, el("code", {}, lines.join("\n"))),
    notes.map((note) => el("p", { class: "note" }, note)), el("h3", {}, `Manifests of ${thousands(suite.runs.length)} runs`), suite.runs.map(manifest));
}

function manifest(run) {
  const details = el("details", {}, el("summary", {}, `${run.method} on ${run.model}, seed ${run.seed}: run ${run.run_id.slice(0, 8)}`));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(facts(run));
  });
  return details;
}

function facts(run) {
  const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value, null, 1) : String(value));
  const known = Object.entries(run).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, known.flatMap(([name, value]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, plain(value))]));
}

function methodsOf(rows) {
  return unique(rows.map((row) => row.method)).sort((a, b) => a.localeCompare(b, "en"));
}

// A method has one place, and so one colour and shape, in all suites of a page.
function placesOf(rows) {
  return new Map(methodsOf(rows).map((name, place) => [name, place]));
}

function showSuite(suite) {
  suite.methods = methodsOf(suite.rows);
  document.title = `${suite.suite} · editbench`;
  document.getElementById("heading").textContent = suite.heading;
  for (const show of [showLeaderboard, showFigures, showRequests, showStatuses, showReproduction]) show(suite);
}

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const places = placesOf(data.suites.flatMap((suite) => suite.rows));
  for (const suite of data.suites) suite.places = places;
  document.getElementById("made").textContent = `editbench ${data.editbench}`;
  theme(remembered());
  if (data.suites.length > 1) {
    fill("suite-choice", choice("Suite", data.suites.map((suite, k) => [String(k), suite.suite]), (k) => showSuite(data.suites[Number(k)])));
  }
  showSuite(data.suites[0]);
}

start();
