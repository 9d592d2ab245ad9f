// Scales: the axes of charts, their ticks, and the row of zeros below a logarithmic axis.

function axis(kind, name, { log = false, values = [], zero = null, extra = {} } = {}) {
  const ink = css("--ink"), quiet = css("--quiet");
  const { bounds = {}, ticks } = log ? logScale(values, zero) : {};
  return {
    type: log ? "log" : "value",
    name,
    nameLocation: "middle",
    nameGap: kind === "x" ? 24 : 50,
    nameTextStyle: { color: ink, fontSize: 12 },
    scale: true,
    min: kind === "x" && !log ? "dataMin" : null,
    max: kind === "x" ? "dataMax" : null,
    ...bounds,
    minInterval: name === "step" && !log ? 1 : 0,
    axisLine: { show: true, onZero: false, lineStyle: { color: quiet } },
    axisTick: { show: true, customValues: ticks },
    axisLabel: { color: ink, formatter: (value) => (isZeroRow(value, zero) ? "0" : written(value)), hideOverlap: true, fontSize: 11, customValues: ticks },
    splitLine: { lineStyle: { color: css("--grid") } },
    ...extra,
  };
}

// The height at which zeros are drawn on a logarithmic axis, about a tenth of the axis below the smallest value; null
// without zeros.
function zeroRow(arrays, log) {
  if (!log || !arrays.some((array) => array.some((value) => value === 0))) return null;
  const [low, high] = extentOf(arrays, true);
  return Number.isFinite(low) ? low / Math.max((high / low) ** 0.12, 1.5) : 1;
}

function isZeroRow(value, zero) {
  return zero !== null && Math.abs(value / zero - 1) < 1e-6;
}

// A dashed line at the row of zeros.
function zeroMark(zero) {
  if (zero === null) return [];
  return [{ yAxis: zero, lineStyle: { color: css("--quiet"), type: "dotted", width: 1 }, label: { show: false } }];
}

const WIDEST_TICKS = 7;

// On less than two decades, powers of ten are too few ticks: take 1, 2, 5, or below a factor of 4 equal distances.
function logScale(arrays, zero) {
  let [low, high] = extentOf(arrays, true);
  if (!Number.isFinite(low)) {
    if (zero === null) return {};
    [low, high] = [10 * zero, 10 * zero];
  }
  const wide = !(high / low < 100);
  if (wide && zero === null) return {};
  const air = (high / low) ** 0.05 * 1.001;
  const bounds = { min: (zero ?? low) / air, max: high * air };
  const shown = { min: zero === null ? bounds.min : low, max: bounds.max };
  const ticks = wide ? powerTicks(shown) : high / low < 4 ? evenTicks(shown) : decadeTicks(shown);
  return { bounds, ticks: zero === null ? ticks : [zero, ...ticks] };
}

// Powers of ten, so few that their labels do not touch.
function powerTicks({ min, max }) {
  const [first, last] = [Math.ceil(Math.log10(min)), Math.floor(Math.log10(max))];
  const every = Math.max(1, Math.ceil((last - first + 1) / WIDEST_TICKS));
  const ticks = [];
  for (let power = last; power >= first; power -= every) ticks.unshift(Number(`1e${power}`));
  return ticks;
}

function decadeTicks({ min, max }) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power++) ticks.push(...[1, 2, 5].map((n) => Number(`${n}e${power}`)));
  return ticks.filter((tick) => tick >= min && tick <= max);
}

function evenTicks({ min, max }) {
  const rough = (max - min) / 6;
  if (!(rough > 0)) return [min];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
  const first = Math.ceil(min / step);
  return Array.from({ length: Math.floor(max / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The extent of all finite values (only of positive values on a logarithmic axis).
function extentOf(arrays, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const array of arrays) for (const v of array) if (Number.isFinite(v) && (!log || v > 0)) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return [low, high];
}
