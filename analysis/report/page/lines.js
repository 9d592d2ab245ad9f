// Charts of lines over steps: a line a layer of one run, coloured by depth, or a line a run at one layer.

function linesOf(column) {
  const all = decoded.get(column.key) ?? new Map();
  if (column.table === "steps") return linesOfLoop(all);
  return state.view === "layers" ? linesOfLayers(all, state.run) : linesOfRuns(all, state.layer);
}

function linesOfLoop(all) {
  return shownRuns().flatMap((run) => [...(all.get(run.id) ?? [])].map(([split, { x, y }]) => {
    const { color } = lookOf(run);
    const name = data.runs.length > 1 ? `${run.id}, ${split}` : split;
    return { run: run.id, layer: split, x, y, color, dashes: split === "train" ? [] : [4, 3], width: 1.4, name };
  }));
}

function linesOfLayers(all, run) {
  const ofRun = all.get(run) ?? new Map();
  const names = layersOf(run);
  const shown = shownLayers(names).filter((name) => ofRun.has(name));
  return shown.map((layer) => {
    const color = depthColor(names.indexOf(layer) / Math.max(names.length - 1, 1));
    return { run, layer, ...ofRun.get(layer), color, dashes: [], width: shown.length > 12 ? 1 : 1.5, name: layer };
  });
}

function linesOfRuns(all, layer) {
  return shownRuns().filter((run) => all.get(run.id)?.has(layer)).map((run) => {
    const { color, dashes } = lookOf(run);
    return { run: run.id, layer, ...all.get(run.id).get(layer), color, dashes: dashes.map((n) => 1.5 * n), width: 1.5, name: run.id };
  });
}

function firstFinite(y) {
  return y.find(Number.isFinite) ?? 0;
}

// What is drawn of a line: less its first value, smoothed.
function transformed(line, { fromStart }) {
  const start = fromStart ? firstFinite(line.y) : 0;
  return smoothed(line.x, start ? line.y.map((v) => v - start) : line.y, state.smoothing);
}

function points(x, y, { logX, logY }) {
  const out = [];
  for (let i = 0; i < x.length; i++) {
    const drawn = Number.isFinite(y[i]) && (!logY || y[i] > 0);
    if (!logX || x[i] > 0) out.push([x[i], drawn ? y[i] : "-"]);
  }
  return out;
}

function markedFindings(column, lines) {
  const runs = new Set(lines.map(({ run }) => run));
  const here = data.findings.filter((finding) => finding.column === column.name && runs.has(finding.run));
  const chosen = here.filter((finding) => finding === state.finding);
  return chosen.length ? chosen : here.filter(({ severity }) => severity !== "note").slice(0, 3);
}

const SEVERITY_COLORS = { grave: "--alarm", warning: "--caution", note: "--quiet" };

function findingMarks(found) {
  if (!found.length) return {};
  return {
    markLine: {
      symbol: "none", silent: true, animation: false,
      data: found.map((finding) => ({
        xAxis: finding.from, name: finding.kind,
        lineStyle: { color: css(SEVERITY_COLORS[finding.severity]), type: "dashed", width: 1.2 },
        label: { formatter: `${finding.kind}, step ${finding.from}`, position: found.length > 1 ? "insideEndTop" : "end", color: css(SEVERITY_COLORS[finding.severity]), fontSize: 11 },
      })),
    },
    markArea: {
      silent: true, itemStyle: { color: css("--wash-alarm") },
      data: found.filter((finding) => finding === state.finding && finding.to > finding.from).map(({ from, to }) => [{ xAxis: from }, { xAxis: to }]),
    },
  };
}

function asSeries(line, y, choice, marks) {
  const told = state.finding;
  const shown = told && choice.column.table === "layers" && told.run === line.run && told.layer;
  const pale = shown && !told.affected.includes(line.layer);
  const bold = shown && told.layer === line.layer;
  return {
    type: "line", name: line.name, data: points(line.x, y, choice), connectNulls: false, ...marks,
    showSymbol: line.x.length < 3 || isIsolated(y), symbolSize: 4, silent: true, color: line.color, z: bold ? 4 : 2,
    lineStyle: { color: line.color, width: bold ? line.width + 1.5 : line.width, opacity: pale ? 0.25 : 1, type: line.dashes.length ? line.dashes : "solid", join: "round" },
    itemStyle: { color: line.color, opacity: pale ? 0.25 : 1 },
  };
}

// A finite value between two that are not would be no line at all.
function isIsolated(y) {
  return y.some((v, i) => Number.isFinite(v) && !(Number.isFinite(y[i - 1]) || Number.isFinite(y[i + 1])));
}

function nonFinite(lines) {
  const broken = lines.map((line) => [line, line.y.findIndex((v) => !Number.isFinite(v))]).filter(([, at]) => at >= 0);
  if (!broken.length) return "";
  const first = broken.reduce((a, b) => (b[0].x[b[1]] < a[0].x[a[1]] ? b : a));
  const others = broken.length > 1 ? ` and ${plural(broken.length - 1, "more line")}` : "";
  return `NaN or infinite: ${first[0].name} from step ${first[0].x[first[1]].toLocaleString("en")}${others}`;
}

class LineChart extends Panel {
  constructor(place, column) {
    super(place, { ...column, csv: () => this.asCsv() });
    this.column = column;
    this.logX = addCheck(this.controls, "log step", false, () => changed([this.part]));
    this.logY = addCheck(this.controls, "log", column.log, () => changed([this.part]));
    this.fromStart = addCheck(this.controls, "minus first value", column.fromStart, () => changed([this.part]));
    this.addDownloads();
    this.figure.id = `chart-${column.key}`;
    this.part = addPart(this.figure, { prepare: () => load(this.column), draw: () => this.draw() });
  }

  get choice() {
    return { column: this.column, logX: this.logX.checked, logY: this.logY.checked, fromStart: this.fromStart.checked };
  }

  draw() {
    const { choice, column } = this;
    this.lines = linesOf(column);
    const values = this.lines.map((line) => transformed(line, choice));
    const marks = findingMarks(markedFindings(column, this.lines));
    const label = (choice.fromStart ? "change of " : "") + column.label;
    this.show({
      grid: { left: 66, right: 18, top: 22, bottom: 40 },
      xAxis: axis("x", "step", { log: choice.logX, values: this.lines.map(({ x }) => x), extra: { show: this.lines.length > 0 } }),
      yAxis: axis("y", label, { log: choice.logY, values, extra: { show: this.lines.length > 0 } }),
      tooltip: tooltip(this, () => this.lines, "step"),
      toolbox: DRAG_TO_ZOOM,
      series: this.lines.map((line, i) => asSeries(line, values[i], choice, i ? {} : marks)),
    });
    this.figure.classList.toggle("empty", !this.lines.length);
    this.alarm.textContent = nonFinite(this.lines);
    this.remark.textContent = this.remarks(values, choice);
  }

  remarks(values, { logX, logY }) {
    if (!this.lines.length) return "No line: no run and layer that is shown has this column.";
    const lost = values.reduce((sum, y) => sum + (logY ? y.reduce((n, v) => n + (v <= 0), 0) : 0), 0);
    const told = [];
    if (lost) told.push(`${plural(lost, "value")} of 0 or less not on the logarithmic axis`);
    if (logX && this.lines.some(({ x }) => x[0] <= 0)) told.push("step 0 not on the logarithmic axis");
    return told.join("; ");
  }

  asCsv() {
    const rows = this.lines.flatMap((line) => {
      const drawn = transformed(line, this.choice);
      return Array.from(line.x, (step, i) => [line.run, line.layer, step, line.y[i], drawn[i]]);
    });
    return { head: ["run", this.column.table === "steps" ? "split" : "layer", "step", this.column.name, "drawn"], rows };
  }
}
