// The heat map of a column over layers and steps, and small multiples: a small chart for each layer.

const MOST_CELLS = 120; // along the steps

function layerColumns() {
  return data.columns.filter(({ table }) => table === "layers");
}

class ColumnPanel extends Panel {
  constructor(place, options) {
    super(place, { ...options, csv: () => this.asCsv() });
    this.select = addSelect(this.controls, "column", layerColumns().map(({ key, title }) => [key, title]), () => changed([this.part]));
    this.part = addPart(this.figure, { prepare: () => this.prepare(), draw: () => this.draw() });
  }

  get column() {
    return data.columns.find(({ key }) => key === this.select.value);
  }

  async prepare() {
    fillSelect(this.select, layerColumns().map(({ key, title }) => [key, title]));
    if (this.column) await load(this.column);
  }
}

// A line's value at a step: recorded there, or interpolated between records; NaN next to a NaN, null beyond its ends.
function valueAt({ x, y }, step, log) {
  const at = lastAtMost(x, step);
  if (at < 0 || (at === x.length - 1 && x[at] !== step)) return null;
  if (x[at] === step) return y[at];
  const share = (step - x[at]) / (x[at + 1] - x[at]);
  const [a, b] = log && y[at] > 0 && y[at + 1] > 0 ? [Math.log10(y[at]), Math.log10(y[at + 1])] : [y[at], y[at + 1]];
  const between = a + share * (b - a);
  return a !== y[at] ? 10 ** between : between;
}

// The steps of a heat map's cells: all steps of the lines, or as many as fit, evenly spaced.
function cellSteps(lines) {
  const all = [...new Set(lines.flatMap(({ x }) => Array.from(x)))].sort((a, b) => a - b);
  if (all.length <= MOST_CELLS) return all;
  const [first, last] = [all[0], all[all.length - 1]];
  return Array.from({ length: MOST_CELLS }, (_, i) => all[nearest(all, first + (i / (MOST_CELLS - 1)) * (last - first))]).filter((step, i, them) => step !== them[i - 1]);
}

class HeatMap extends ColumnPanel {
  constructor(place) {
    super(place, { title: "Heat map", note: "layers in forward order from the top, steps to the right; red is NaN or infinite, grey is 0 where colours are logarithmic", height: 380, paper: { width: 690, height: 420 } });
    this.runSelect = addSelect(this.controls, "run", data.runs.map(({ id }) => [id, id]), () => { state.run = this.runSelect.value; changed(); });
    this.log = addCheck(this.controls, "log colours", true, () => changed([this.part]));
    this.addDownloads();
  }

  draw() {
    fillSelect(this.runSelect, data.runs.map(({ id }) => [id, id]), state.run);
    if (!this.column) return;
    const lines = linesOfLayers(decoded.get(this.column.key), state.run);
    const log = this.log.checked && lines.every(({ y }) => y.every((v) => !(v < 0)));
    this.table = this.cells(lines, log);
    const { steps, cells } = this.table;
    const shown = cells.filter(([, , v]) => Number.isFinite(v) && (!log || v > 0)).map(([i, j, v]) => [i, j, log ? Math.log10(v) : v]);
    const broken = cells.filter(([, , v]) => v !== null && !Number.isFinite(v)).map(([i, j]) => [i, j, 1]);
    const zero = cells.filter(([, , v]) => log && v === 0).map(([i, j]) => [i, j, 1]);
    this.setHeight(Math.min(720, 110 + Math.max(lines.length * 12, 120)));
    const [low, high] = shown.reduce(([a, b], [, , v]) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    this.show({
      grid: { left: Math.min(180, 20 + 7 * Math.max(4, ...lines.map(({ name }) => name.length))), right: 90, top: 12, bottom: 46 },
      xAxis: { ...category(steps.map((step) => step.toLocaleString("en"))), name: "step", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: css("--ink") } },
      yAxis: markedNames(category(lines.map(({ name }) => endOf(name, 26))), lines),
      visualMap: [
        { type: "continuous", seriesIndex: 0, min: Number.isFinite(low) ? low : 0, max: Number.isFinite(high) ? (high > low ? high : low + 1e-12) : 1, calculable: true, right: 0, top: 12, itemHeight: 150, itemWidth: 12, precision: 6, textStyle: { color: css("--ink"), fontSize: 10 }, formatter: (v) => written(log ? 10 ** v : v), inRange: { color: VIRIDIS.map((c) => `rgb(${c.join(",")})`) } },
        ...["--alarm", "--zero"].map((color, i) => ({ type: "piecewise", seriesIndex: 1 + i, show: false, pieces: [{ value: 1, color: css(color) }] })),
      ],
      tooltip: { confine: true, transitionDuration: 0, backgroundColor: css("--paper"), borderColor: css("--line"), textStyle: { color: css("--ink"), fontSize: 12 }, formatter: ({ value: [i, j] }) => this.tip(i, j) },
      series: [shown, broken, zero].map((cell) => ({ type: "heatmap", data: cell, progressive: 0, itemStyle: { borderWidth: 0 }, emphasis: { disabled: true } })),
    });
    this.heading.textContent = `${this.column.title}: ${state.run}`;
    this.title = `heat map ${this.column.name} ${state.run}`;
    this.remark.textContent = lines.length ? [log ? "" : "colours are linear", data.thinning?.thinned ? "between thinned records values are interpolated" : ""].filter(Boolean).join("; ") : "No line: the run has none of the layers that are shown.";
  }

  cells(lines, log) {
    const steps = cellSteps(lines);
    const cells = lines.flatMap((line, j) => steps.map((step, i) => [i, j, valueAt(line, step, log)])).filter(([, , v]) => v !== null);
    return { steps, cells, names: lines.map(({ name }) => name) };
  }

  tip(i, j) {
    const { steps, cells, names } = this.table;
    const box = document.createElement("div");
    add(box, "b", `${names[j]}, step ${steps[i].toLocaleString("en")}`);
    add(box, "div", `${this.column.label}: ${written(cells.find(([a, b]) => a === i && b === j)?.[2])}`);
    return box;
  }

  asCsv() {
    const { steps, cells, names } = this.table;
    return { head: ["run", "layer", "step", this.column.name], rows: cells.map(([i, j, v]) => [state.run, names[j], steps[i], v]) };
  }
}

// Layer names from the top. A layer where findings of the run begin has the colour of the first, the gravest finding.
function markedNames(names, lines) {
  const begun = new Map(firstFindings(state.run).toReversed().map(({ layer, severity }) => [layer, css(SEVERITY_COLORS[severity])]));
  const color = (_, place) => begun.get(lines[place]?.layer) ?? css("--ink");
  return { ...names, inverse: true, axisLabel: { ...names.axisLabel, color } };
}

// The end of a name is specific. Its beginning is the name of the module.
function endOf(name, letters) {
  return name.length <= letters ? name : `…${name.slice(1 - Math.floor(letters))}`;
}

function category(names) {
  return { type: "category", data: names, axisLabel: { color: css("--ink"), fontSize: 10, hideOverlap: true }, axisLine: { lineStyle: { color: css("--quiet") } }, axisTick: { show: false }, splitArea: { show: false } };
}

const MOST_MULTIPLES = 12;

// At most `most` layers, in forward order: up to half of them have findings, the others are spread over the depth.
function someLayers(names, most) {
  if (names.length <= most) return names;
  const begun = data.findings.filter(({ severity }) => severity !== "note");
  const sick = [...new Set([...begun.map(({ layer }) => layer), ...begun.flatMap(({ affected }) => affected)])].filter((name) => names.includes(name)).slice(0, most / 2);
  const others = names.filter((name) => !sick.includes(name));
  const left = most - sick.length;
  const spread = Array.from({ length: left }, (_, i) => others[Math.round((i * (others.length - 1)) / (left - 1))]);
  return names.filter((name) => sick.includes(name) || spread.includes(name));
}

class SmallMultiples extends ColumnPanel {
  constructor(place) {
    super(place, { title: "Small multiples", note: "a chart a layer in forward order, a line a run", paper: { width: 690, height: 640 } });
    this.log = addCheck(this.controls, "log", true, () => changed([this.part]));
    this.same = addCheck(this.controls, "same axis for all", true, () => changed([this.part]));
    this.addDownloads();
  }

  draw() {
    const { column } = this;
    if (!column) return;
    const all = decoded.get(column.key);
    const names = shownLayers(allLayers()).filter((name) => shownRuns().some(({ id }) => all.get(id)?.has(name)));
    const shown = someLayers(names, MOST_MULTIPLES);
    this.lines = shown.map((name) => linesOfRuns(all, name));
    const choice = { column, logY: this.log.checked, fromStart: column.fromStart, zero: null };
    const width = this.onPaper ? this.paper.width : this.plot.clientWidth;
    const across = Math.max(1, Math.min(6, Math.floor(width / 175)));
    const down = Math.max(1, Math.ceil(shown.length / across));
    const high = 132;
    this.paper.height = down * high;
    this.setHeight(down * high);
    const place = (i) => ({ left: (i % across) * (width / across) + 44, top: Math.floor(i / across) * high + 22, width: width / across - 56, height: high - 48 });
    const flat = this.lines.flat().map((line) => transformed(line, choice));
    choice.zero = zeroRow(flat, choice.logY);
    const bounds = this.same.checked ? sameBounds(flat, choice.logY, choice.zero) : {};
    this.show({
      title: shown.map((name, i) => ({ text: endOf(name, (place(i).width + 40) / 7.4), left: place(i).left - 40, top: place(i).top - 20, textStyle: { fontSize: 11, fontWeight: 600, color: css("--ink"), width: place(i).width + 44, overflow: "truncate" }, padding: 0 })),
      grid: shown.map((_, i) => place(i)),
      xAxis: shown.map((_, i) => ({ ...axis("x", ""), gridIndex: i, splitNumber: 2 })),
      yAxis: shown.map((_, i) => ({ ...axis("y", "", { log: choice.logY, zero: choice.zero, values: this.same.checked ? flat : this.lines[i].map((line) => transformed(line, choice)), extra: bounds }), gridIndex: i, splitNumber: 2 })),
      series: this.lines.flatMap((lines, i) => lines.map((line) => ({ ...asSeries(line, transformed(line, choice), choice, {}), xAxisIndex: i, yAxisIndex: i }))),
    });
    this.heading.textContent = `${column.title}, layer by layer`;
    this.title = `small multiples ${column.name}`;
    this.alarm.textContent = nonFinite(this.lines.flat().map((line) => ({ ...line, name: `${line.layer} of ${line.run}` })));
    const told = choice.zero === null ? [] : ["values of exactly 0 are on the row marked 0 at the bottom"];
    const chosen = data.findings.length ? "some with findings, the others spread over the depth" : "spread over the depth";
    if (shown.length < names.length) told.push(`${shown.length} of ${names.length} layers, ${chosen}: search in the tree of layers for others`);
    this.remark.textContent = told.join("; ");
  }

  asCsv() {
    const rows = this.lines.flat().flatMap((line) => Array.from(line.x, (step, i) => [line.run, line.layer, step, line.y[i]]));
    return { head: ["run", "layer", "step", this.column.name], rows };
  }
}

// The same axis for all charts; whole decades on a logarithmic axis.
function sameBounds(arrays, log, zero = null) {
  const [low, high] = extentOf(arrays, log);
  if (!(high > low) || zero !== null) return {};
  return log ? { min: 10 ** Math.floor(Math.log10(low)), max: 10 ** Math.ceil(Math.log10(high)) } : { min: low, max: high };
}
