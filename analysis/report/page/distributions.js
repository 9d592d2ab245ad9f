// Histograms and spectra of one layer: one line per run, at the step of a slider.

class Distributions extends Panel {
  constructor(place, table, { title, note, xlabel, ylabel, logX, logY }) {
    super(place, { title, note, csv: () => this.asCsv(), paper: { width: 690, height: 300 }, height: 300 });
    Object.assign(this, { table, xlabel, ylabel, items: [], place });
    this.layerSelect = addSelect(this.controls, "layer", layersWith(table).map((name) => [name, name]), () => { this.chosen = true; changed([this.part]); });
    this.kindSelect = addSelect(this.controls, table === "histograms" ? "tensor" : "matrix", [], () => this.draw());
    const sliding = add(this.controls, "label", "step ", { class: "sliding" });
    this.slider = add(sliding, "input", "", { type: "range", min: 0, max: 0, value: 0 });
    this.slider.addEventListener("input", () => this.draw());
    this.stepText = add(sliding, "output");
    this.logX = addCheck(this.controls, `log ${xlabel}`, logX, () => this.draw());
    this.logY = addCheck(this.controls, `log ${ylabel}`, logY, () => this.draw());
    this.addDownloads();
    this.part = addPart(this.figure, { prepare: () => this.prepare(), draw: () => this.draw() });
  }

  async prepare() {
    const names = layersWith(this.table);
    const wanted = this.chosen ? this.layerSelect.value : state.layer;  // the layer of the first finding, until another is chosen
    fillSelect(this.layerSelect, names.map((name) => [name, name]), names.includes(wanted) ? wanted : names[0]);
    this.place.hidden = !names.length;
    this.items = names.length ? await distribution(this.table, this.layerSelect.value) : [];
  }

  // The slider keeps its step. At first it is at the last step.
  draw() {
    fillSelect(this.kindSelect, this.items.map(({ kind }) => [kind, kind]));
    const item = this.items.find(({ kind }) => kind === this.kindSelect.value) ?? this.items[0];
    if (!item) return;
    const steps = [...new Set(item.steps)].sort((a, b) => a - b);
    if (this.steps?.join() !== steps.join()) {
      const at = this.steps ? nearest(steps, this.steps[this.slider.value] ?? Infinity) : steps.length - 1;
      this.steps = steps;
      this.slider.max = steps.length - 1;
      this.slider.value = at;
    }
    const step = steps[this.slider.value];
    this.stepText.textContent = step.toLocaleString("en");
    this.lines = shownRuns().map((run) => [run, this.at(item, run.id, step)]).filter(([, at]) => at >= 0).map(([run, at]) => {
      const { color, dashes } = lookOf(run);
      return { run: run.id, layer: item.layer, step: item.steps[at], x: item.x, y: item.numbers[at], broken: item.nonfinite[at], color, dashes: dashes.map((n) => 1.5 * n), width: 1.6, name: run.id };
    });
    const choice = { column: { table: this.table }, logX: this.logX.checked, logY: this.logY.checked };
    this.zero = choice.zero = zeroRow(this.lines.map(({ y }) => y), choice.logY);
    this.show({
      grid: { left: 66, right: 18, top: 14, bottom: 40 },
      xAxis: axis("x", this.xlabel, { log: choice.logX, values: [item.x] }),
      yAxis: axis("y", this.ylabel, { log: choice.logY, values: this.lines.map(({ y }) => y), zero: choice.zero }),
      tooltip: tooltip(this, () => this.lines, this.xlabel),
      toolbox: DRAG_TO_ZOOM,
      series: this.lines.map((line, i) => asSeries(line, line.y, choice, i ? {} : findingMarks([], choice.zero))),
    });
    const broken = this.lines.filter((line) => line.broken > 0);
    this.alarm.textContent = broken.map((line) => `${line.name}: ${written(100 * line.broken)} % NaN or infinite`).join("; ");
    const runs = new Set(item.runs);
    const without = shownRuns().filter(({ id }) => !runs.has(id)).length;
    const told = choice.zero === null ? [] : ["values of exactly 0 are on the dotted row marked 0 at the bottom"];
    if (without && !data.live) told.push(`${plural(without, "run")} without: the file holds those of ${runs.size}; --live has all`);
    this.remark.textContent = told.join("; ");
  }

  // Index of a run's last record at or before the step; -1 if it has none.
  at(item, run, step) {
    let found = -1;
    item.runs.forEach((name, i) => { if (name === run && item.steps[i] <= step) found = i; });
    return found;
  }

  asCsv() {
    const rows = this.lines.flatMap((line) => Array.from(line.x, (x, i) => [line.run, line.layer, line.step, x, line.y[i]]));
    return { head: ["run", "layer", "step", this.table === "histograms" ? "value" : "rank", this.table === "histograms" ? "density" : "singular_value"], rows };
  }
}
