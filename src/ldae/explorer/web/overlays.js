// What is laid over the scan: signed changes, and the contour of the ventricles.

/** Signed change of `image` from `base`, written to `into` (Int16Array). */
function writeChange(image, base, into) {
  for (let v = 0; v < into.length; v++) into[v] = image[v] - base[v];
}

/** Intensity in the ventricles' region below which a voxel is fluid, by the median of the brain. */
function fluidLevel(base, grid) {
  const counts = new Uint32Array(256), floor = Math.floor(grid.brain * 255);
  let total = 0;
  for (let v = 0; v < base.length; v++) if (base[v] > floor) { counts[base[v]]++; total++; }
  let median = 0;
  for (let seen = 0; median < 255; median++) { seen += counts[median]; if (seen >= total / 2) break; }
  return grid.fluid * median;
}

/**
 * Contour of the ventricles in one slice: segments [[u, v], [u, v]] in voxels of the plane's two
 * axes, where the intensity crosses `level` inside the region's box (marching squares).
 */
function contourSegments(image, shape, axis, index, level, box) {
  const strides = [1, shape[0], shape[0] * shape[1]];
  const [a, b] = [0, 1, 2].filter((other) => other !== axis);
  const [low, high] = box;
  if (index < low[axis] || index > high[axis]) return [];
  // Depth below the level; outside the box nothing is fluid, so that the contour closes there.
  const depth = (u, v) => {
    const outside = u < low[a] || u > high[a] || v < low[b] || v > high[b];
    return outside ? -1 : level - image[index * strides[axis] + u * strides[a] + v * strides[b]];
  };
  const segments = [];
  for (let v = low[b] - 1; v <= high[b]; v++) {
    for (let u = low[a] - 1; u <= high[a]; u++) {
      const corners = [[u, v], [u + 1, v], [u + 1, v + 1], [u, v + 1]];
      const depths = corners.map((corner) => depth(...corner));
      const crossed = [];
      for (let side = 0; side < 4; side++) {
        const next = (side + 1) % 4, from = depths[side], to = depths[next];
        if (from > 0 === to > 0) continue;
        const part = from / (from - to);
        crossed.push([0, 1].map((i) => corners[side][i] + part * (corners[next][i] - corners[side][i])));
      }
      for (let i = 0; i + 1 < crossed.length; i += 2) segments.push([crossed[i], crossed[i + 1]]);
    }
  }
  return segments;
}

/** Draw segments on a 2-D canvas; `place` maps the plane's voxel axes to pixels. */
function strokeSegments(context, segments, place, colour, width) {
  for (const [stroke, thick] of [["rgba(0, 0, 0, 0.75)", width + 2], [colour, width]]) {
    context.strokeStyle = stroke;
    context.lineWidth = thick;
    context.beginPath();
    for (const [from, to] of segments) {
      context.moveTo(...place(...from));
      context.lineTo(...place(...to));
    }
    context.stroke();
  }
}
