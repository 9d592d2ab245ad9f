// The page: its head, the choice of lines, the charts, printing, and updates when the store grows.

const charts = new Map(); // column -> its chart
let controls = {};

function showHead(trouble = "") {
  document.querySelector("h1").textContent = data.store;
  const running = data.runs.filter((run) => run.status === "running").length;
  const told = [plural(data.runs.length, "run") + (running ? `, ${running} in progress` : "")];
  if (data.live) told.push("Refreshed while trainings write");
  if (data.absent.length) told.push(`Not recorded: ${data.absent.join(", ")}`);
  if (trouble) told.push(trouble);
  const summary = document.getElementById("summary");
  summary.textContent = `${told.join(". ")}.`;
  summary.classList.toggle("grave", Boolean(trouble));
}

function showThinning() {
  if (!data.thinning) return;
  const { points, thinned, exact } = data.thinning;
  const told = [
    thinned ? `Lines are thinned to about ${points} points: extremes, ends, NaN and the steps of findings are kept` : "Lines have every recorded point",
    exact ? "" : "values are rounded to a 500th of themselves and of their line's range",
    data.live ? "" : "meandrift report --live shows all columns",
  ].filter(Boolean);
  document.getElementById("thinning").textContent = `${told.join("; ")}. Drag to zoom, double click to see all, point to read values.`;
}

function makeControls() {
  const form = document.getElementById("view");
  form.addEventListener("submit", (event) => event.preventDefault());
  const view = addSelect(form, "lines:", [["layers", "the layers of one run"], ["runs", "the runs at one layer"]], () => { state.view = view.value; syncControls(); changed(); });
  const run = addSelect(form, "run", [], () => takeRun(run.value));
  const layer = addSelect(form, "layer", [], () => { state.layer = layer.value; syncControls(); changed(); });
  const around = add(form, "label", "smoothing ");
  const smoothing = add(around, "input", "", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 });
  const amount = add(around, "output", "0");
  smoothing.addEventListener("input", () => { state.smoothing = Number(smoothing.value); amount.textContent = smoothing.value; changed(); });
  const columns = addSelect(form, "add chart", [], () => {
    const column = data.columns.find(({ key }) => key === columns.value);
    if (column) { ensureChart(column); document.getElementById(`chart-${column.key}`).scrollIntoView({ block: "center" }); }
    syncControls();
  });
  const back = addButton(form, "show all findings again", () => { state.finding = null; syncControls(); changed(); });
  return { form, view, run, layer, columns, back };
}

function syncControls() {
  const { view, run, layer, columns, back } = controls;
  view.value = state.view;
  fillSelect(run, data.runs.map(({ id }) => [id, id]), state.run);
  const names = allLayers();
  fillSelect(layer, names.map((name) => [name, name]), state.layer);
  run.parentElement.hidden = state.view !== "layers" || data.runs.length < 2;
  layer.parentElement.hidden = state.view !== "runs";
  view.parentElement.hidden = data.runs.length < 2;
  const others = data.columns.filter(({ key }) => !charts.has(key));
  fillSelect(columns, [["", "choose"], ...others.map(({ key, title }) => [key, `${key.startsWith("steps.") ? "loop: " : ""}${title}`])], "");
  columns.parentElement.hidden = !others.length;
  back.hidden = !state.finding;
  showRuns();
  showLayers();
}

function ensureChart(column) {
  if (charts.has(column.key)) return;
  charts.set(column.key, new LineChart(document.getElementById("charts"), column));
}

// At first the page shows default columns and columns of findings. A page in a file shows all its columns.
function showCharts() {
  const asked = new Set(data.findings.map(({ column }) => column));
  for (const column of data.columns) if (column.byDefault || !data.live || asked.has(column.name)) ensureChart(column);
}

// Settings in which runs differ are columns of the table of runs.
function showSettings() {
  const place = document.getElementById("settings");
  place.replaceChildren();
  const { same } = data.settings;
  add(place, "h2", "Settings that all runs share");
  if (same.length) addTable(place, ["setting", "value"], same);
  else add(place, "p", "none", { class: "note" });
}

// Choose run and layer of the first finding that has a layer; else the first run and the first layer.
function chooseFirst() {
  const worst = data.findings.find(({ layer }) => layer) ?? data.findings[0];
  if (!data.runs.some(({ id }) => id === state.run)) state.run = worst?.run ?? data.runs[0]?.id ?? "";
  const names = allLayers();
  if (!names.includes(state.layer)) state.layer = names.includes(worst?.layer) ? worst.layer : (names[0] ?? "");
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "light" : "dark";
}

function makeTheme() {
  const wanted = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => { useTheme(wanted.matches ? "dark" : "light"); if (window.runTable) { syncControls(); changed(); } };
  follow();
  wanted.addEventListener("change", follow);
  document.getElementById("theme").addEventListener("click", () => { useTheme(isDark() ? "light" : "dark"); syncControls(); changed(); });
}

// On paper everything is shown in the light theme: closed parts are opened, and charts get the width of the paper.
function makePrint() {
  let before = { theme: "light", closed: [] };
  const redraw = () => { for (const part of parts) if (!part.dirty) part.draw(); };
  addEventListener("beforeprint", () => {
    before = { theme: document.documentElement.dataset.theme, closed: [...document.querySelectorAll("details:not([open], .pandas)")] };
    for (const more of before.closed) more.open = true;
    useTheme("light");
    document.documentElement.classList.add("paper");
    for (const panel of panels) panel.toPaper(true);
    redraw();
    for (const panel of panels) panel.flatten();
  });
  addEventListener("afterprint", () => {
    for (const more of before.closed) more.open = false;
    useTheme(before.theme);
    document.documentElement.classList.remove("paper");
    for (const panel of panels) panel.toPaper(false);
    changed();
  });
  document.getElementById("print").addEventListener("click", () => print());
}

function makeDistributions() {
  const options = {
    histograms: { title: "Histogram", note: "density of the entries of a tensor; move the slider through the steps", xlabel: "entry", ylabel: "density", logX: false, logY: true },
    spectra: { title: "Singular spectrum", note: "singular values by rank; move the slider through the steps", xlabel: "rank", ylabel: "singular value", logX: false, logY: true },
  };
  for (const [table, about] of Object.entries(options)) {
    const place = document.getElementById(table);
    place.hidden = !layersWith(table).length;
    new Distributions(place, table, about);
  }
}

async function refreshed(trouble) {
  showHead(trouble);
  if (trouble) return;
  await firstNames();
  state.finding = data.findings.find(({ run, kind, layer }) => state.finding && run === state.finding.run && kind === state.finding.kind && layer === state.finding.layer) ?? null;
  chooseFirst();
  showFindings(document.getElementById("findings"));
  showSettings();
  showCharts();
  syncControls();
  showThinning();
  changed();
}

// The layers' names come with the first column of the layers.
async function firstNames() {
  const first = data.columns.find(({ table }) => table === "layers") ?? data.columns[0];
  if (first) await load(first);
}

async function start() {
  makeTheme();
  showHead();
  showFindings(document.getElementById("findings"));
  if (innerWidth < 900) for (const more of document.querySelectorAll("aside > details")) more.open = false;
  window.runTable = makeRuns(document.getElementById("runs"));
  window.layerTree = makeLayers(document.getElementById("layers"));
  controls = makeControls();
  if (data.live) await firstNames();
  else for (const column of data.columns) load(column); // decompressed while the page is built
  chooseFirst();
  showCharts();
  syncControls();
  showThinning();
  if (layerColumns().length) {
    window.heatMap = new HeatMap(document.getElementById("heat"));
    window.multiples = new SmallMultiples(document.getElementById("small"));
  }
  makeDistributions();
  showSettings();
  makePrint();
  if (data.live) setTimeout(() => follow(refreshed), 2000);
}

start();
