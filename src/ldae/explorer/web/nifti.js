// NIfTI-1 images in memory, for the viewer.

const UINT8 = 2, INT16 = 4, HEADER = 352;

/** An image of `frames` volumes: {buffer, voxels}; `voxels` is a view of its data, x fastest. */
function emptyNifti(shape, affine, frames, type) {
  const count = shape[0] * shape[1] * shape[2] * frames;
  const bytes = type === INT16 ? 2 : 1;
  const buffer = new ArrayBuffer(HEADER + count * bytes);
  const view = new DataView(buffer);
  view.setInt32(0, 348, true);
  [frames > 1 ? 4 : 3, ...shape, frames, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  view.setInt16(70, type, true);
  view.setInt16(72, 8 * bytes, true);
  const edges = [0, 1, 2].map((axis) => Math.abs(affine[axis][axis]));
  [1, ...edges, 1, 1, 1, 1].forEach((edge, i) => view.setFloat32(76 + 4 * i, edge, true));
  view.setFloat32(108, HEADER, true);
  view.setFloat32(112, 1, true);
  view.setInt16(254, 2, true);  // sform: aligned to a template
  affine.flat().forEach((value, i) => view.setFloat32(280 + 4 * i, value, true));
  [0x6e, 0x2b, 0x31, 0].forEach((code, i) => view.setUint8(344 + i, code));
  const voxels = type === INT16 ? new Int16Array(buffer, HEADER) : new Uint8Array(buffer, HEADER);
  return { buffer, voxels };
}
