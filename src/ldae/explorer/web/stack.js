// Decoding of the volumes that ldae/explorer/stack_coding.py coded.

/** Bytes of base64 of gzip. */
async function unpacked(text) {
  const coded = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([coded]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Volumes of one person: {shape, tolerance, size, frame(i)}; frame(i) holds 8-bit voxels, x fastest. */
async function decodeStack(coded) {
  const levels = await unpacked(coded.data);
  const [nx, ny, nz] = coded.shape;
  const size = nx * ny * nz;
  coded.after.forEach((after, i) => {
    const start = i * size, end = start + size;
    if (coded.smooth[i]) {
      for (const stride of [1, nx, nx * ny]) {
        for (let v = start; v < end; v++) {
          const place = v - start;
          const inRow = stride === 1 ? place % nx : stride === nx ? place % (nx * ny) - place % nx : place - place % (nx * ny);
          if (inRow > 0) levels[v] += levels[v - stride];
        }
      }
    } else if (after >= 0) {
      const from = after * size;
      for (let v = 0; v < size; v++) levels[start + v] += levels[from + v];
    }
  });
  if (coded.step > 1) {
    for (let v = 0; v < levels.length; v++) levels[v] = Math.min(255, levels[v] * coded.step);
  }
  return { shape: coded.shape, tolerance: coded.tolerance, size, frame: (i) => levels.subarray(i * size, (i + 1) * size) };
}
