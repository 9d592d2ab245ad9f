// A chart of lines on a canvas: gaps stay gaps, NaN is marked in red, drag zooms, double click shows all again.

const MARGIN = { left: 62, right: 12, top: 8, bottom: 34 };
const ALARM = "#b2182b";

class LineChart {
  constructor(place, { xlabel, ylabel }) {
    this.place = place;
    this.labels = { xlabel, ylabel };
    this.canvas = place.appendChild(document.createElement("canvas"));
    this.tip = place.appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.lines = [];
    this.log = false;
    this.zoom = null;
    this.drag = null;
    new ResizeObserver(() => this.draw()).observe(place);
    this.listen();
  }

  // lines: [{x, y, color, dashes, name, width}]
  show(lines, { log }) {
    if (log !== this.log) this.zoom = null;
    this.lines = lines;
    this.log = log;
    this.draw();
  }

  reset() {
    this.zoom = null;
    this.draw();
  }

  scales() {
    const { clientWidth: width, clientHeight: height } = this.place;
    const x = this.zoom ? this.zoom.x : extentOfSteps(this.lines.map((line) => line.x));
    const y = this.zoom ? this.zoom.y : extent(this.lines.map((line) => line.y), this.log);
    return {
      width, height,
      x: makeScale(x, [MARGIN.left, width - MARGIN.right], false),
      y: makeScale(y, [height - MARGIN.bottom, MARGIN.top], this.log),
    };
  }

  draw() {
    const scales = (this.current = this.scales());
    if (scales.width < 80) return;
    const sharp = window.devicePixelRatio || 1;
    this.canvas.width = scales.width * sharp;
    this.canvas.height = scales.height * sharp;
    const pen = this.canvas.getContext("2d");
    pen.scale(sharp, sharp);
    this.drawAxes(pen, scales);
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, MARGIN.top, scales.width - MARGIN.left - MARGIN.right, scales.height - MARGIN.top - MARGIN.bottom);
    pen.clip();
    for (const line of this.lines) drawNaN(pen, line, scales);
    pen.restore();
    // Two pixels wider than the axes: a line along one of them is not cut in half.
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left - 2, MARGIN.top - 2, scales.width - MARGIN.left - MARGIN.right + 4, scales.height - MARGIN.top - MARGIN.bottom + 4);
    pen.clip();
    for (const line of this.lines) drawLine(pen, line, scales);
    pen.restore();
    this.drawNote(pen, scales);
    if (this.drag) this.drawDrag(pen);
  }

  drawAxes(pen, { width, height, x, y }) {
    pen.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const value of this.lines.length ? ticks(y.domain, 6, this.log) : []) {
      const at = Math.round(y(value)) + 0.5;
      stroke(pen, "#ebebeb", [[MARGIN.left, at], [width - MARGIN.right, at]]);
      pen.fillStyle = "#444";
      pen.fillText(written(value), MARGIN.left - 6, at);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const value of this.places(x.domain, width)) {
      const at = Math.round(x(value)) + 0.5;
      stroke(pen, "#ebebeb", [[at, MARGIN.top], [at, height - MARGIN.bottom]]);
      pen.fillStyle = "#444";
      pen.fillText(written(value), at, height - MARGIN.bottom + 5);
    }
    stroke(pen, "#8a8a8a", [[MARGIN.left, MARGIN.top], [MARGIN.left, height - MARGIN.bottom], [width - MARGIN.right, height - MARGIN.bottom]]);
    pen.fillStyle = "#222";
    pen.textBaseline = "bottom";
    pen.fillText(this.labels.xlabel, (MARGIN.left + width - MARGIN.right) / 2, height);
    pen.save();
    pen.translate(2, (height - MARGIN.bottom + MARGIN.top) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "top";
    pen.fillText(this.labels.ylabel, 0, 0);
    pen.restore();
  }

  // Where numbers stand under the chart: there are no halves of a step, and none before the first.
  places(domain, width) {
    if (!this.lines.length) return [];
    const all = ticks(domain, Math.max(2, width / 90), false);
    return this.labels.xlabel === "step" ? all.filter((value) => Number.isInteger(value) && value >= 0) : all;
  }

  // What the reader sees no line of, in words.
  drawNote(pen, { width, height }) {
    pen.textAlign = "center";
    if (!this.lines.length) {
      pen.fillStyle = "#666";
      pen.textBaseline = "middle";
      pen.fillText("no run is shown", (MARGIN.left + width - MARGIN.right) / 2, (MARGIN.top + height - MARGIN.bottom) / 2);
    }
    const broken = this.lines.filter(({ y }) => y.some((v) => !Number.isFinite(v)));
    if (!broken.length) return;
    pen.fillStyle = ALARM;
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    const names = broken.length > 3 ? `${broken.length} of ${this.lines.length} lines` : broken.map((line) => line.name).join(", ");
    const note = [`red: NaN in ${names}`, width - MARGIN.right - 2, height - MARGIN.bottom - 6];
    pen.strokeStyle = "#fff";
    pen.lineWidth = 3;
    pen.strokeText(...note);
    pen.fillText(...note);
  }

  drawDrag(pen) {
    const { from, to } = this.drag;
    pen.fillStyle = "#0072b222";
    pen.fillRect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
  }

  listen() {
    const at = (event) => [event.offsetX, event.offsetY];
    this.canvas.addEventListener("pointerdown", (event) => {
      this.drag = { from: at(event), to: at(event) };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.drag) {
        this.drag.to = at(event);
        this.draw();
      } else this.point(...at(event));
    });
    this.canvas.addEventListener("pointerup", () => this.release());
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("dblclick", () => this.reset());
  }

  release() {
    const { from, to } = this.drag || {};
    this.drag = null;
    if (from && Math.abs(to[0] - from[0]) > 5 && Math.abs(to[1] - from[1]) > 5) {
      const { x, y } = this.current;
      const sorted = (a, b) => (a < b ? [a, b] : [b, a]);
      this.zoom = { x: sorted(x.invert(from[0]), x.invert(to[0])), y: sorted(y.invert(from[1]), y.invert(to[1])) };
    }
    this.draw();
  }

  point(left, top) {
    const { x, y, width } = this.current;
    const step = x.invert(left);
    const rows = this.lines.map((line) => {
      const i = nearest(line.x, step);
      return { line, step: line.x[i], value: line.y[i], away: Math.abs(y(line.y[i]) - top) };
    });
    rows.sort((a, b) => (Number.isFinite(a.away) ? a.away : 1e9) - (Number.isFinite(b.away) ? b.away : 1e9));
    const shown = rows.slice(0, 8);
    if (!shown.length) return;
    this.tip.replaceChildren(textElement("div", `${this.labels.xlabel} ${written(shown[0].step)}`));
    for (const { line, value } of shown) {
      const row = this.tip.appendChild(document.createElement("div"));
      row.appendChild(document.createElement("i")).style.background = line.color;
      row.append(line.name);
      row.appendChild(textElement("b", written(value)));
    }
    if (rows.length > shown.length) this.tip.append(`and ${rows.length - shown.length} more`);
    this.tip.hidden = false;
    const room = width - left - this.tip.offsetWidth - 16;
    this.tip.style.left = `${room > 0 ? left + 12 : left - this.tip.offsetWidth - 12}px`;
    this.tip.style.top = `${Math.max(0, top - this.tip.offsetHeight / 2)}px`;
  }
}

function extentOfSteps(arrays) {
  let [low, high] = [Infinity, -Infinity];
  for (const array of arrays) {
    for (const v of array) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
  }
  if (low > high) return [0, 1];
  const air = 0.01 * (high - low) || 1;
  return [low - air, high + air];
}

function nearest(sorted, value) {
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle;
    else high = middle;
  }
  return Math.abs(sorted[low] - value) <= Math.abs(sorted[high] - value) ? low : high;
}

function drawLine(pen, { x, y, color, dashes, width }, scales) {
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = width || 1.6;
  pen.setLineDash((dashes || []).map((n) => n * 2));
  let open = false;
  pen.beginPath();
  for (let i = 0; i < x.length; i += 1) {
    const [left, top] = [scales.x(x[i]), scales.y(y[i])];
    if (!Number.isFinite(top)) open = false;
    else if (open) pen.lineTo(left, top);
    else {
      pen.moveTo(left, top);
      open = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  for (let i = 0; i < x.length; i += 1) {
    const alone = !Number.isFinite(scales.y(y[i - 1] ?? NaN)) && !Number.isFinite(scales.y(y[i + 1] ?? NaN));
    if (alone && Number.isFinite(scales.y(y[i]))) {
      pen.beginPath();
      pen.arc(scales.x(x[i]), scales.y(y[i]), 3, 0, 7);
      pen.fill();
    }
  }
}

// A red strip at the foot of the chart where the line is NaN.
function drawNaN(pen, { x, y }, scales) {
  pen.fillStyle = ALARM;
  const foot = scales.height - MARGIN.bottom - 4;
  for (let i = 0; i < x.length; i += 1) {
    if (Number.isFinite(y[i])) continue;
    const next = x[Math.min(i + 1, x.length - 1)];
    pen.fillRect(scales.x(x[i]) - 1, foot, Math.max(2, scales.x(next) - scales.x(x[i]) + 1), 4);
  }
}

function stroke(pen, color, points) {
  pen.strokeStyle = color;
  pen.beginPath();
  points.forEach(([left, top], i) => (i ? pen.lineTo(left, top) : pen.moveTo(left, top)));
  pen.stroke();
}

function textElement(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}
