"use strict";
// The browser of requests: what was asked, what was said before and after, and what came of it.

const AT_ONCE = 25;

// Numbers of texts become texts.
function recordsOf(suite) {
  const text = (number) => (number === null ? null : suite.texts[number]);
  return suite.cells.flatMap((cell) => cell.records.map(([probe, said, before, verdict, nllNew, nllTrue, error]) => {
    const [request, position, kind, index, prompt, wanted, truth, answer] = suite.probes[probe];
    return { cell, request: text(request), position, kind: text(kind), index, prompt: text(prompt), wanted: text(wanted), truth: text(truth),
      answer: text(answer), said: text(said), before: text(before), verdict: text(verdict), nllNew, nllTrue, error: text(error) };
  }));
}

function showRequests(suite) {
  const records = recordsOf(suite);
  if (!records.length) {
    fill("requests-body", el("p", { class: "note" }, "No records to show: no cell of this suite is finished, or the page has no room for them."));
    return;
  }
  const of = (get) => unique(records.map(get));
  const scales = of((one) => one.cell.scale).sort((a, b) => a - b);
  const state = { model: "", method: "", seed: "", scale: String(scales[scales.length - 1]), kind: "", verdict: "", text: "", page: 0 };
  const body = el("tbody");
  const where = el("span", { role: "status" });
  const coverage = el("p", { class: "said" });
  const turn = (step) => () => { state.page += step; draw(); };
  const [earlier, later] = [el("button", { type: "button", onclick: turn(-1) }, "Previous"), el("button", { type: "button", onclick: turn(1) }, "Next")];

  function ofCell(cell) {
    return (!state.model || cell.model === state.model) && (!state.method || cell.method === state.method)
      && (!state.seed || cell.seed === Number(state.seed)) && (!state.scale || cell.scale === Number(state.scale));
  }

  function passes(one) {
    return ofCell(one.cell) && (!state.kind || one.kind === state.kind) && (!state.verdict || one.verdict === state.verdict)
      && (!state.text || [one.request, one.prompt, one.said, one.before, one.wanted, one.truth, one.answer].some((part) => part && part.toLowerCase().includes(state.text)));
  }

  function draw() {
    const found = records.filter(passes);
    if (!state.method) found.sort((a, b) => a.position - b.position || compare(a.kind, b.kind, 1) || a.index - b.index);
    const pages = Math.max(Math.ceil(found.length / AT_ONCE), 1);
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    const start = state.page * AT_ONCE;
    body.replaceChildren(...found.slice(start, start + AT_ONCE).map(recordRow));
    where.textContent = found.length ? `${thousands(start + 1)}–${thousands(Math.min(start + AT_ONCE, found.length))} of ${thousands(found.length)} probes` : "No probe is like that.";
    [earlier.disabled, later.disabled] = [state.page === 0, state.page >= pages - 1];
    coverage.textContent = covered(suite.cells.filter((cell) => ofCell(cell) && cell.of));
  }

  const set = (name) => (value) => { state[name] = name === "text" ? value.toLowerCase() : value; state.page = 0; draw(); };
  const pick = (label, name, values, show) => choice(label, [["", "all"], ...values.map((value) => [String(value), show ? show(value) : String(value)])], set(name), state[name]);
  const several = (label, name, values, show) => (values.length > 1 ? pick(label, name, values, show) : null);
  const heads = ["Request", "Method", "Probe", "Prompt", "Before", "After", "Target", "Verdict"];
  fill("requests-body", coverage,
    el("div", { class: "controls" },
      several("Model", "model", of((one) => one.cell.model)), several("Method", "method", of((one) => one.cell.method)),
      several("Seed", "seed", of((one) => one.cell.seed)), several("Scale", "scale", scales, thousands),
      pick("Probe", "kind", of((one) => one.kind)), pick("Verdict", "verdict", of((one) => one.verdict)), search("Search", set("text"))),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Requests, scrolls sideways" },
      el("table", { class: "records" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, el("span", {}, head))))), body)),
    el("div", { class: "pager" }, earlier, later, where),
    el("p", { class: "said" }, "Before: what the unedited model said. It is recorded with neighbour and locality probes; for the others it is shown where the suite has a "
      + "control that writes nothing into the model. Right: the normalised generation is the target. Unchanged: it is the unedited model's, character for character."));
  draw();
}

function covered(cells) {
  if (!cells.length) return "No finished cell is like that.";
  const [shown, of] = [cells.reduce((sum, cell) => sum + cell.shown, 0), cells.reduce((sum, cell) => sum + cell.of, 0)];
  if (shown === of) return `All probed requests of the cells chosen are here: ${thousands(of)}, counted once per cell.`;
  const sizes = unique(cells.map((cell) => `${thousands(cell.shown)} of ${thousands(cell.of)}`));
  return `A sample, to keep the page small: ${sizes.slice(0, 4).join(", ")}${sizes.length > 4 ? ", …" : ""} probed requests per cell, drawn by a hash of their names, `
    + "without a look at how they went, and the same for every method. Tables and figures are of all of them.";
}

function recordRow(one) {
  const target = one.answer === null ? one.wanted : one.answer;
  const nll = one.nllNew === null && one.nllTrue === null ? null
    : `NLL new ${one.nllNew === null ? "–" : one.nllNew}, true ${one.nllTrue === null ? "–" : one.nllTrue}`;
  const tone = ["right", "wrong", "unchanged", "moved"].includes(one.verdict) ? one.verdict : "other";
  const cell = (label, text, kind, more) => el("td", { "data-label": label, class: kind },
    el("span", {}, text === null ? "–" : text, more ? el("span", { class: "more" }, more) : null));
  const cellName = [`seed ${one.cell.seed}`, `${thousands(one.cell.scale)} edits`].join(", ");
  return el("tr", {}, cell("Request", one.request, "whole", `position ${thousands(one.position)}`), cell("Method", one.cell.method, "whole", cellName),
    cell("Probe", one.kind, "whole"), cell("Prompt", one.prompt, "prompt"), cell("Before", one.before), cell("After", one.said),
    cell("Target", target, null, one.truth === null ? null : `true: ${one.truth}`),
    cell("Verdict", one.error ? `${one.verdict}: ${one.error}` : one.verdict, `verdict ${tone}`, nll));
}
