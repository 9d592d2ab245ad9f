// Charts of lines over steps: one line per layer of one run, coloured by depth, or one line per run at one layer.

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

// The drawn values of a line: minus its first value if `fromStart`, and smoothed.
function transformed(line, { fromStart }) {
  const start = fromStart ? firstFinite(line.y) : 0;
  return smoothed(line.x, start ? line.y.map((v) => v - start) : line.y, state.smoothing);
}

// zero: the height at which zeros are drawn on a logarithmic axis.
function points(x, y, { logX, logY, zero = null }) {
  const out = [];
  for (let i = 0; i < x.length; i++) {
    const value = logY && y[i] === 0 && zero !== null ? zero : y[i];
    const drawn = Number.isFinite(value) && (!logY || value > 0);
    if (!logX || x[i] > 0) out.push([x[i], drawn ? value : "-"]);
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

// Findings that begin at one step share a mark, the gravest first, because their labels would overlap.
function byStep(found) {
  const steps = new Map();
  for (const severity of Object.keys(SEVERITY_COLORS)) {
    for (const finding of found.filter((one) => one.severity === severity)) steps.set(finding.from, [...(steps.get(finding.from) ?? []), finding]);
  }
  return steps;
}

function findingMarks(found, zero) {
  if (!found.length && zero === null) return {};
  const begunAt = byStep(found);
  return {
    markLine: {
      symbol: "none", silent: true, animation: false, precision: -1, // small heights are not rounded to 0
      data: [...zeroMark(zero), ...[...begunAt].map(([step, begun]) => ({
        xAxis: step, name: begun[0].kind,
        lineStyle: { color: css(SEVERITY_COLORS[begun[0].severity]), type: "dashed", width: 1.2 },
        label: { formatter: `${begun.map(({ kind }) => kind).join(", ")}, step ${step}`, position: begunAt.size > 1 ? "insideEndTop" : "end", color: css(SEVERITY_COLORS[begun[0].severity]), fontSize: 11 },
      }))],
    },
    markArea: {
      silent: true, itemStyle: { color: css("--wash-alarm") },
      data: found.filter((finding) => finding === state.finding && finding.to > finding.from).map(({ from, to }) => [{ xAxis: from }, { xAxis: to }]),
    },
  };
}

// A circle where a finding begins, with the name of its layer.
function layerMark(finding, line, y, { logY, zero = null }) {
  const at = nearest(line.x, finding.from);
  const value = logY && y[at] === 0 && zero !== null ? zero : y[at];
  if (!Number.isFinite(value) || (logY && !(value > 0))) return {};
  const color = css(SEVERITY_COLORS[finding.severity]);
  const onTheLeft = line.x[at] - line.x[0] < (line.x[line.x.length - 1] - line.x[0]) / 2;
  const place = onTheLeft ? { position: [15, -14] } : { position: [-4, -14], align: "right" };
  return {
    markPoint: {
      silent: true, animation: false, symbol: "circle", symbolSize: 11, itemStyle: { color: "transparent", borderColor: color, borderWidth: 2 },
      data: [{ coord: [line.x[at], value] }],
      label: { show: true, formatter: `layer ${endOf(finding.layer, 24)}`, ...place, color, fontSize: 11, fontWeight: 600, textBorderColor: css("--paper"), textBorderWidth: 3 },
    },
  };
}

// marked: the findings that the chart marks; the lines of their layers are bold.
function asSeries(line, y, choice, marks, marked = []) {
  const told = state.finding;
  const shown = told && choice.column.table === "layers" && told.run === line.run && told.layer;
  const pale = shown && !told.affected.includes(line.layer);
  const begun = choice.column.table === "layers" ? marked.find(({ run, layer }) => run === line.run && layer === line.layer) : undefined;
  const bold = begun || (shown && told.layer === line.layer);
  return {
    type: "line", name: line.name, data: points(line.x, y, choice), connectNulls: false, ...marks, ...(begun ? layerMark(begun, line, y, choice) : {}),
    showSymbol: line.x.length < 3 || isIsolated(y), symbolSize: 4, silent: true, color: line.color, z: bold ? 4 : 2,
    lineStyle: { color: line.color, width: bold ? line.width + 1.5 : line.width, opacity: pale ? 0.25 : 1, type: line.dashes.length ? line.dashes : "solid", join: "round" },
    itemStyle: { color: line.color, opacity: pale ? 0.25 : 1 },
  };
}

// Whether a finite value has no finite neighbour: without a symbol it would not be visible.
function isIsolated(y) {
  return y.some((v, i) => Number.isFinite(v) && !(Number.isFinite(y[i - 1]) || Number.isFinite(y[i + 1])));
}

function andOthers(lines) {
  return lines.length > 1 ? ` and ${plural(lines.length - 1, "other line")}` : "";
}

function nonFinite(lines) {
  const broken = lines.map((line) => [line, line.y.findIndex((v) => !Number.isFinite(v))]).filter(([, at]) => at >= 0);
  if (!broken.length) return "";
  const begins = Math.min(...broken.map(([{ x }, at]) => x[at]));
  const earliest = broken.filter(([{ x }, at]) => x[at] === begins);
  const first = earliest.find(([{ run, layer }]) => firstFindings(run).some((finding) => finding.layer === layer)) ?? earliest[0];
  return `NaN or infinite: ${first[0].name} from step ${first[0].x[first[1]].toLocaleString("en")}${andOthers(broken)}`;
}

// An update relative to a weight of 0, such as LoRA's B at its first step, is infinite and no fault.
function isRelativeToZero({ name }, { y }) {
  return name === "update_ratio" && y.some((v) => v === Infinity) && y.every((v) => Number.isFinite(v) || v === Infinity);
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
    const marked = markedFindings(column, this.lines);
    this.zero = choice.zero = zeroRow(values, choice.logY);
    const marks = findingMarks(marked, choice.zero);
    const label = (choice.fromStart ? "change of " : "") + column.label;
    this.show({
      grid: { left: 66, right: 18, top: 22, bottom: 40 },
      xAxis: axis("x", "step", { log: choice.logX, values: this.lines.map(({ x }) => x), extra: { show: this.lines.length > 0 } }),
      yAxis: axis("y", label, { log: choice.logY, values, zero: choice.zero, extra: { show: this.lines.length > 0 } }),
      tooltip: tooltip(this, () => this.lines, "step"),
      toolbox: DRAG_TO_ZOOM,
      series: this.lines.map((line, i) => asSeries(line, values[i], choice, i ? {} : marks, marked)),
    });
    this.figure.classList.toggle("empty", !this.lines.length);
    this.alarm.textContent = nonFinite(this.lines.filter((line) => !isRelativeToZero(column, line)));
    this.remark.textContent = this.remarks(values, choice);
  }

  remarks(values, { logX, logY }) {
    if (!this.lines.length) return "No line: no run and layer that is shown has this column.";
    const count = (holds) => values.reduce((sum, y) => sum + (logY ? y.reduce((n, v) => n + holds(v), 0) : 0), 0);
    const [zeros, negative] = [count((v) => v === 0), count((v) => v < 0)];
    const told = [];
    const unbounded = this.lines.filter((line) => isRelativeToZero(this.column, line));
    if (unbounded.length) told.push(`infinite where the weight is 0: ${unbounded[0].name}${andOthers(unbounded)}`);
    if (zeros) told.push(`${plural(zeros, "value")} of exactly 0, on the dotted row marked 0 at the bottom`);
    if (negative) told.push(`${plural(negative, "value")} below 0 not on the logarithmic axis`);
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
