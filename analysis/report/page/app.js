// The page: what is shown of the data, and what the reader can turn on and off.

const data = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set();
const redraw = [];
const runs = new Map(data.runs.map((run) => [run.id, run]));

function add(parent, kind, text = "", attributes = {}) {
  const element = parent.appendChild(document.createElement(kind));
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function showHead() {
  document.querySelector("h1").textContent = data.store;
  const live = data.runs.filter((run) => run.status === "running").length;
  const absent = data.absent.length ? ` Not recorded: ${data.absent.join(", ")}.` : "";
  document.getElementById("summary").textContent =
    `${data.runs.length} ${data.runs.length === 1 ? "run" : "runs"}${live ? `, ${live} in progress` : ""}. Drag to zoom, double click to see all, point to read values.${absent}`;
}

function showArms() {
  const bar = document.getElementById("arms");
  const arms = [...new Map([...data.runs].sort((a, b) => a.order - b.order).map((run) => [run.arm, run])).values()];
  for (const { arm, color, dashes } of arms) {
    const members = data.runs.filter((run) => run.arm === arm);
    const button = add(bar, "button", "", { type: "button", "aria-pressed": "true" });
    button.innerHTML = `<svg><line x2="28" y1="2" y2="2" stroke="${color}" stroke-width="3" stroke-dasharray="${dashes.map((n) => n * 2)}"/></svg>`;
    button.append(members.length > 1 ? `${arm} (${members.length} runs)` : arm);
    button.addEventListener("click", () => {
      const show = members.every((run) => hidden.has(run.id));
      for (const run of members) show ? hidden.delete(run.id) : hidden.add(run.id);
      refresh();
    });
    redraw.push(() => button.setAttribute("aria-pressed", String(members.some((run) => !hidden.has(run.id)))));
  }
}

function refresh() {
  for (const draw of redraw) draw();
}

function showFindings() {
  const place = document.getElementById("findings");
  if (!data.findings.length) {
    add(place, "p", `None of these kinds: ${data.kinds.join(", ")}.`, { class: "none" });
    return;
  }
  const told = data.findings.filter(({ severity }) => severity !== "note");
  const notes = data.findings.filter(({ severity }) => severity === "note");
  if (told.length) showTable(place, FINDING, told.map(findingRow));
  else add(place, "p", "Nothing grave, and no warning.", { class: "none" });
  if (!notes.length) return;
  const more = add(place, "details");
  add(more, "summary", notes.length === 1 ? "1 note" : `${notes.length} notes`);
  showTable(more, FINDING, notes.map(findingRow));
}

const FINDING = ["severity", "finding", "run", "layer", "steps", "what", "likely cause", "remedy"];

function findingRow({ run, kind, severity, layer, layers, affected, from, to, message, cause, remedy, column }) {
  const others = layers > 1 ? `, and ${layers - 1} more` : "";
  const steps = from === to ? from.toLocaleString("en") : `${from.toLocaleString("en")} to ${to.toLocaleString("en")}`;
  return [
    { text: severity, class: severity },
    { text: kind, class: "kind" },
    run,
    { text: (layer || "–") + others, title: affected.join("\n") },
    { text: steps, class: "number" },
    { text: message, class: "words", title: `column ${column}` },
    { text: cause, class: "words" },
    { text: remedy, class: "words" },
  ];
}

function showTable(place, head, rows) {
  const table = add(add(place, "div", "", { class: "scroll" }), "table");
  const top = add(add(table, "thead"), "tr");
  for (const name of head) add(top, "th", name);
  const body = add(table, "tbody");
  for (const row of rows) {
    const line = add(body, "tr");
    for (const cell of row) {
      const { text = cell, ...attributes } = typeof cell === "object" ? cell : {};
      add(line, "td", text, attributes);
    }
  }
  return body;
}

function showRuns() {
  const place = document.getElementById("runs");
  const rows = data.runs.map((run) => ["", run.id, run.arm, run.status, { text: (run.lastStep ?? 0).toLocaleString("en"), class: "number" }, run.device, run.gaps.length ? JSON.stringify(run.gaps) : "none"]);
  const body = showTable(place, ["shown", "run", "arm", "status", "last step", "device", "gaps"], rows);
  data.runs.forEach((run, i) => {
    const box = add(body.rows[i].cells[0], "input", "", { type: "checkbox", "aria-label": run.id });
    box.addEventListener("change", () => {
      box.checked ? hidden.delete(run.id) : hidden.add(run.id);
      refresh();
    });
    redraw.push(() => { box.checked = !hidden.has(run.id); });
  });
}

function showSettings() {
  const place = document.getElementById("settings");
  const { same, different } = data.settings;
  if (different.length) showTable(place, ["differs", ...data.runs.map((run) => run.id)], different.map(([name, values]) => [name, ...values]));
  const rest = add(place, "details");
  add(rest, "summary", `${same.length} settings that all runs share`);
  showTable(rest, ["setting", "value"], same);
}

function frame(title, note, pandas) {
  const figure = add(document.getElementById("charts"), "figure");
  const caption = add(figure, "figcaption");
  add(caption, "h2", title);
  add(caption, "span", note, { class: "note" });
  const controls = add(figure, "div", "", { class: "controls" });
  const plot = add(figure, "div", "", { class: "plot" });
  if (pandas) add(figure, "pre", pandas);
  return { controls, plot };
}

function check(controls, text, on, changed) {
  const label = add(controls, "label");
  const box = add(label, "input", "", { type: "checkbox" });
  box.checked = on;
  label.append(` ${text}`);
  box.addEventListener("change", changed);
  return box;
}

// The first choice of a chart is a layer with a line a run; another is a run with a line a layer, coloured by depth.
function layerChoice(controls, chart) {
  const select = add(controls, "select", "", { "aria-label": "what to show" });
  const group = (label, names, kind) => {
    const options = add(select, "optgroup", "", { label });
    for (const name of names) add(options, "option", name, { value: `${kind}:${name}` });
  };
  group(chart.byDepth ? "one layer, a line a run" : "data, a line a run", chart.layers, "layer");
  if (chart.byDepth && chart.layers.length > 1) group("one run, a line a layer", data.runs.map((run) => run.id), "run");
  return select;
}

function showChart(chart) {
  const { controls, plot } = frame(chart.title, chart.note, chart.pandas);
  const select = layerChoice(controls, chart);
  const lines = new LineChart(plot, { xlabel: "step", ylabel: chart.label });
  const log = check(controls, "logarithmic", chart.log, draw);
  add(controls, "button", "show all", { type: "button" }).addEventListener("click", () => lines.reset());
  select.addEventListener("change", () => {
    lines.zoom = null;
    draw();
  });
  const depth = add(controls, "span", "", { class: "depth" });
  depth.append("input ", add(depth, "i"), " output");
  depth.querySelector("i").style.background = `linear-gradient(90deg, ${[0, 1, 2, 3, 4, 5, 6, 7].map((place) => depthColor(place, 8)).join(",")})`;
  function draw() {
    const [kind, name] = select.value.split(/:(.*)/s);
    depth.hidden = kind !== "run";
    lines.show(chart.series.filter((s) => (kind === "layer" ? s.layer === name && !hidden.has(s.run) : s.run === name)).map((s) => asLine(s, kind, chart)), { log: log.checked });
  }
  whenSeen(plot, draw);
}

function asLine(series, kind, chart) {
  series.numbers ??= { x: unpack(series.x), y: unpack(series.y) };
  if (kind === "layer") {
    const { color, dashes } = runs.get(series.run);
    return { ...series.numbers, color, dashes, name: series.run };
  }
  const color = depthColor(chart.layers.indexOf(series.layer), chart.layers.length);
  return { ...series.numbers, color, name: series.layer, width: chart.layers.length > 12 ? 1 : 1.6 };
}

// Drawing waits until a chart comes near the window, and then follows every change.
function whenSeen(place, draw) {
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    redraw.push(draw);
    draw();
  }, { rootMargin: "400px" }).observe(place);
}

function showHistograms({ bins, steps, layers }) {
  const { controls, plot } = frame("Distribution of gradient entries", "density; move the slider through the steps", `analysis.figure("gradient_histograms", "${data.store}")`);
  const select = add(controls, "select", "", { "aria-label": "layer" });
  for (const name of Object.keys(layers)) add(select, "option", name);
  const slider = add(controls, "input", "", { type: "range", min: 0, max: steps.length - 1, value: steps.length - 1, "aria-label": "step" });
  const label = add(controls, "span");
  const chart = new LineChart(plot, { xlabel: "gradient entry", ylabel: "density" });
  const log = check(controls, "logarithmic", true, draw);
  select.addEventListener("change", () => { chart.zoom = null; draw(); });
  slider.addEventListener("input", draw);
  function draw() {
    const { halfWidth, series } = layers[select.value];
    const x = Float32Array.from({ length: bins }, (_, i) => halfWidth * ((2 * i + 1) / bins - 1));
    const step = steps[slider.value];
    label.textContent = `step ${step.toLocaleString("en")}`;
    const found = series.filter((s) => s.step === step && !hidden.has(s.run));
    // An empty bin has no place on a logarithmic axis; it is no NaN.
    chart.show(found.map((s) => {
      const { color, dashes } = runs.get(s.run);
      return { x, y: (s.numbers ??= unpack(s.y)), color, dashes, name: s.run };
    }), { log: log.checked });
  }
  whenSeen(plot, draw);
}

showHead();
showArms();
showFindings();
for (const chart of data.charts) showChart(chart);
if (data.histograms) showHistograms(data.histograms);
showRuns();
showSettings();
refresh();
