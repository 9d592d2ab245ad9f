// Packed numbers, scales and ticks.

function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// A scale maps values to pixels and back; on a logarithmic one what is not positive has no place.
function makeScale([low, high], [from, to], log) {
  const forward = log ? (v) => (v > 0 ? Math.log10(v) : NaN) : (v) => v;
  const backward = log ? (v) => 10 ** v : (v) => v;
  const [a, b] = [forward(low), forward(high)];
  const scale = (value) => from + ((forward(value) - a) / (b - a)) * (to - from);
  scale.invert = (pixel) => backward(a + ((pixel - from) / (to - from)) * (b - a));
  scale.domain = [low, high];
  scale.log = log;
  return scale;
}

function ticks([low, high], count, log) {
  if (log && high / low >= 10) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    // Of less than two and a half decades the powers of ten alone are no scale.
    if (Math.log10(high / low) < 2.5) return range(first - 1, last, 1).flatMap((power) => [1, 2, 5].map((n) => n * 10 ** power)).filter((v) => v >= low && v <= high);
    const step = Math.max(1, Math.ceil((last - first) / count));
    return range(first, last, step).map((power) => 10 ** power);
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
  return range(Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9), 1).map((n) => n * step);
}

function range(first, last, step) {
  const numbers = [];
  for (let n = first; n <= last; n += step) numbers.push(n);
  return numbers;
}

function written(value) {
  if (!Number.isFinite(value)) return "NaN";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

// The extent of finite values, with air; outliers beyond three times the middle 96 % do not stretch it, unless asked.
function extent(arrays, log) {
  const values = [];
  for (const array of arrays) for (const v of array) if (Number.isFinite(v) && (!log || v > 0)) values.push(log ? Math.log10(v) : v);
  if (!values.length) return log ? [0.1, 10] : [0, 1];
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  let [low, high] = [values[0], values[values.length - 1]];
  const inner = at(0.98) - at(0.02);
  if (inner > 0 && high - low > 6 * inner) {
    low = Math.max(low, at(0.02) - inner / 2);
    high = Math.min(high, at(0.98) + inner / 2);
  }
  const air = 0.05 * (high - low) || Math.abs(high) * 0.05 || 0.05;
  if (log) return [10 ** (low - air), 10 ** (high + air)];
  // Shares and norms have no values below 0: neither has their axis.
  return [values[0] < 0 ? low - air : Math.max(0, low - air), high + air];
}
