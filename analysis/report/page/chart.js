// A panel: title, note, controls, and a chart of ECharts under them.

const panels = new Set();

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Panel {
  // csv: returns {head, rows} of the drawn numbers. height: on the screen. paper: {width, height} on paper.
  constructor(place, { title, note = "", pandas = "", height = 260, paper = { width: 340, height: 220 }, csv }) {
    this.title = title;
    this.paper = paper;
    this.figure = add(place, "figure");
    const caption = add(this.figure, "figcaption");
    this.heading = add(caption, "h2", title);
    add(caption, "p", note, { class: "note", title: note });
    this.controls = add(this.figure, "div", "", { class: "controls" });
    this.plot = add(this.figure, "div", "", { class: "plot", role: "img", "aria-label": title });
    this.height = height;
    this.plot.style.height = `${height}px`;
    this.alarm = add(this.figure, "p", "", { class: "alarm" });
    this.remark = add(this.figure, "p", "", { class: "note" });
    if (pandas) {
      const more = add(this.figure, "details", "", { class: "pandas" });
      add(more, "summary", "pandas");
      add(more, "pre", pandas);
    }
    this.csv = csv;
    this.pointer = null;
    panels.add(this);
  }

  addDownloads() {
    const group = add(this.controls, "span", "", { class: "downloads" });
    addButton(group, "PNG", () => save(this.title, this.png(), "png"), { title: "download the chart as a picture" });
    addButton(group, "CSV", () => { const { head, rows } = this.csv(); saveCsv(this.title, head, rows); }, { title: "download the numbers that are drawn" });
  }

  get chart() {
    if (!this.instance) {
      this.instance = echarts.init(this.plot, null, { renderer: "canvas" });
      this.instance.getZr().on("mousemove", ({ offsetX, offsetY }) => { this.pointer = [offsetX, offsetY]; });
      this.instance.getZr().on("dblclick", () => this.unzoom());
      new ResizeObserver(() => this.fit()).observe(this.plot);
      // A mouse zooms by dragging, without choosing a tool first. A finger scrolls the page.
      if (matchMedia("(pointer: fine)").matches) this.plot.addEventListener("pointerenter", () => this.takeZoom());
    }
    return this.instance;
  }

  // Redraws only if the size has changed: an observer also reports once without a change.
  fit() {
    if (this.onPaper || !this.instance || !this.plot.clientWidth) return;
    const { clientWidth, clientHeight } = this.plot;
    if (this.instance.getWidth() !== clientWidth || this.instance.getHeight() !== clientHeight) this.instance.resize();
  }

  // On paper the height is that of the paper.
  setHeight(pixels) {
    this.height = pixels;
    if (this.onPaper) { this.toPaper(true); return; }
    this.plot.style.height = `${pixels}px`;
    this.fit();
  }

  takeZoom() {
    if (this.option?.toolbox) this.chart.dispatchAction({ type: "takeGlobalCursor", key: "dataZoomSelect", dataZoomSelectActive: true });
  }

  show(option) {
    this.option = option;
    this.chart.setOption({ animation: false, backgroundColor: "transparent", textStyle: { fontFamily: css("--font") }, ...option }, { notMerge: true });
    if (this.plot.matches(":hover")) this.takeZoom();
  }

  unzoom() {
    if (this.option?.toolbox) this.show(this.option);
  }

  png() {
    return this.chart.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: css("--paper"), excludeComponents: ["toolbox"] });
  }

  // Called before and after printing.
  toPaper(on) {
    this.onPaper = on;
    this.plot.style.height = `${on ? this.paper.height : this.height}px`;
    this.print?.remove();
    this.instance?.resize(on ? this.paper : { width: "auto", height: "auto" });
  }

  // Draws one canvas at once, in place of the chart's several: of these a browser may print only the last.
  flatten() {
    this.print?.remove();
    if (!this.instance) return;
    this.print = this.figure.insertBefore(this.instance.renderToCanvas({ pixelRatio: 2 }), this.plot);
    this.print.className = "print";
    Object.assign(this.print.style, { position: "static", width: `${this.paper.width}px`, height: `${this.paper.height}px` });
  }
}

// Dragging zooms both axes. A double click shows everything again. The tools themselves are not visible.
const DRAG_TO_ZOOM = { itemSize: 0, right: -50, feature: { dataZoom: { xAxisIndex: "all", yAxisIndex: "all", filterMode: "none", brushStyle: { color: "rgba(90,140,220,0.25)" } } } };

const MOST_TOLD = 14;

// The values of all lines at the step under the pointer, or of the lines nearest to the pointer if there are many.
function tipOf(panel, lines, head) {
  return (params) => {
    const first = Array.isArray(params) ? params[0] : params;
    const at = first?.axisValue ?? first?.value?.[0];
    const box = document.createElement("div");
    if (at === undefined) return box;
    const found = lines().filter((line) => line.x.length).map((line) => {
      const place = nearest(line.x, at);
      return { line, step: line.x[place], value: line.y[place] };
    });
    const height = ({ value }) => {
      const pixel = panel.chart.convertToPixel({ yAxisIndex: 0 }, value === 0 && panel.zero ? panel.zero : value);
      return Number.isFinite(pixel) && panel.pointer ? Math.abs(pixel - panel.pointer[1]) : Infinity;
    };
    const told = found.length > MOST_TOLD ? found.map((row) => [height(row), row]).sort(([a], [b]) => a - b).slice(0, MOST_TOLD).map(([, row]) => row) : found;
    const place = head === "step" ? (x) => x.toLocaleString("en") : written;
    const closest = told.reduce((best, { step }) => (Math.abs(step - at) < Math.abs(best - at) ? step : best), Infinity);
    add(box, "b", `${head} ${place(closest)}`);
    for (const { line, step, value } of told.sort((a, b) => b.value - a.value)) {
      const row = add(box, "div", "", { class: "tip" });
      add(row, "i").style.background = line.color;
      add(row, "span", line.name + (step === closest ? "" : ` (at ${place(step)})`));
      add(row, "b", written(value));
    }
    if (told.length < found.length) add(box, "div", `and ${found.length - told.length} more lines`);
    return box;
  };
}

function tooltip(panel, lines, head) {
  return {
    trigger: "axis", confine: true, formatter: tipOf(panel, lines, head), transitionDuration: 0,
    backgroundColor: css("--paper"), borderColor: css("--line"), textStyle: { color: css("--ink"), fontSize: 12 },
    axisPointer: { type: "line", lineStyle: { color: css("--quiet") }, snap: false },
  };
}
