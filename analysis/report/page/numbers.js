// Numbers: unpacked, written as text, smoothed, and as colours.

async function inflated(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The first bytes of all numbers come first, then the second bytes, and so on.
function fromPlanes(bytes, offset, count, Kind) {
  const size = Kind.BYTES_PER_ELEMENT;
  const out = new Uint8Array(count * size);
  for (let place = 0; place < size; place++) {
    const start = offset + place * count;
    for (let i = 0; i < count; i++) out[i * size + place] = bytes[start + i];
  }
  return new Kind(out.buffer);
}

function written(value) {
  if (Number.isNaN(value) || value === null || value === undefined) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

// Exponential smoothing with weights by the distance of steps, because thinned records are not equally spaced.
// Values that are not finite stay as they are, and do not enter the mean.
function smoothed(x, y, weight) {
  if (!weight || x.length < 3) return y;
  const usual = (x[x.length - 1] - x[0]) / (x.length - 1) || 1;
  const out = new Float64Array(y.length);
  let sum = 0, weights = 0, before = x[0];
  for (let i = 0; i < y.length; i++) {
    if (!Number.isFinite(y[i])) { out[i] = y[i]; continue; }
    const decay = weight ** ((x[i] - before) / usual);
    sum = sum * decay + y[i];
    weights = weights * decay + 1;
    before = x[i];
    out[i] = sum / weights;
  }
  return out;
}

const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [160, 218, 57], [253, 231, 37]];

function viridis(share, most = 1) {
  const at = Math.min(Math.max(share, 0), 1) * most * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const channels = VIRIDIS[low].map((channel, i) => Math.round(channel + (at - low) * (VIRIDIS[low + 1][i] - channel)));
  return `rgb(${channels.join(",")})`;
}

// The palest part of viridis is hard to see on white, the darkest part on black.
function depthColor(share) {
  return isDark() ? viridis(0.3 + 0.7 * share) : viridis(share, 0.85);
}

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

// The index of the last number of an ascending array that is at most `value`; -1 if there is none.
function lastAtMost(ascending, value) {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function nearest(ascending, value) {
  const at = lastAtMost(ascending, value);
  if (at < 0) return 0;
  if (at === ascending.length - 1) return at;
  return value - ascending[at] <= ascending[at + 1] - value ? at : at + 1;
}
