// Depth as colour.

const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [160, 218, 57]];

function depthColor(place, count) {
  const at = (count > 1 ? place / (count - 1) : 0.5) * (VIRIDIS.length - 1);
  const [low, share] = [Math.floor(at), at - Math.floor(at)];
  const [a, b] = [VIRIDIS[low], VIRIDIS[Math.min(low + 1, VIRIDIS.length - 1)]];
  return `rgb(${a.map((channel, i) => Math.round(channel + share * (b[i] - channel))).join(",")})`;
}
