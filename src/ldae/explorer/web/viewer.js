// Viewer of a series of volumes in WebGL 2 (NiiVue): slices and a rendering.

const VIEWS = { slices: 3, axial: 0, coronal: 1, sagittal: 2, rendering: 4 };
const CONTOURS = { now: "#56d4ff", base: "#ffe14d", truth: "#ff8ad8" };

// Signed changes as in the figures: red for brighter, blue for darker, from small to large.
const SIGNED = { rise: [[178, 24, 43], [255, 180, 140]], fall: [[33, 102, 200], [160, 225, 255]] };

/** A colour map of the viewer between two colours. */
function colormap([first, last]) {
  const channels = [0, 1, 2].map((i) => [first[i], first[i], last[i]]);
  return { R: channels[0], G: channels[1], B: channels[2], A: [0, 255, 255], I: [0, 1, 255] };
}

// Names of renderers without a graphics card, where a step at the paper's grid takes seconds.
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;
const FORCED = "#webgl"; // at the end of the address: WebGL also in software

/** Why volumes are shown as plain slices, and whether WebGL can be used all the same; null: they are not. */
function whyPlain() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return { text: "This browser has no WebGL 2", usable: false };
  const named = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = named ? gl.getParameter(named.UNMASKED_RENDERER_WEBGL) : "";
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  if (!SOFTWARE.test(renderer) || location.hash === FORCED) return null;
  return { text: "This browser draws WebGL without a graphics card, which is slow", usable: true };
}

/** The library, from the page itself. */
async function loadNiivue() {
  const text = await unpacked(document.getElementById("niivue").textContent);
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  await new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: url, onload: resolve, onerror: reject });
    document.head.append(script);
  });
  URL.revokeObjectURL(url);
  return globalThis.niivue;
}

class Viewer {
  static async create(holder, grid, library) {
    const viewer = new Viewer();
    viewer.library = library;
    viewer.grid = grid;
    viewer.canvas = holder.querySelector("canvas.volume");
    viewer.lines = holder.querySelector("canvas.lines");
    viewer.nv = new library.Niivue({
      logLevel: "error", dragAndDropEnabled: false, isRadiologicalConvention: true,
      multiplanarShowRender: 0, multiplanarLayout: 0, multiplanarPadPixels: 4, multiplanarEqualSize: false,
      crosshairWidth: 0, backColor: [0, 0, 0, 1], fontColor: [1, 1, 1, 1],
      isColorbar: false, sagittalNoseLeft: true, show3Dcrosshair: false, clipPlaneHotKey: "", viewModeHotKey: "", cycleClipPlaneHotKey: "",
      loadingText: "", scrollRequiresFocus: true,
    });
    for (const [name, colours] of Object.entries(SIGNED)) viewer.nv.addColormap(name, colormap(colours));
    await viewer.nv.attachToCanvas(viewer.canvas, false);
    const draw = viewer.nv.drawScene.bind(viewer.nv);
    viewer.nv.drawScene = () => { const drawn = draw(); viewer.drawContours(); return drawn; };
    return viewer;
  }

  /** Show a series: `frames` are 8-bit volumes; the overlay starts empty. */
  load(shape, frames) {
    this.loading = (this.loading ?? Promise.resolve()).then(() => this.loadNow(shape, frames));
    return this.loading;
  }

  async loadNow(shape, frames) {
    this.shape = shape;
    const scan = emptyNifti(shape, this.grid.affine, frames.length, UINT8);
    frames.forEach((frame, i) => scan.voxels.set(frame, i * frame.length));
    const change = emptyNifti(shape, this.grid.affine, 1, INT16);
    const other = emptyNifti(shape, this.grid.affine, 1, UINT8);
    const crosshair = this.nv.volumes.length ? [...this.nv.scene.crosshairPos] : [0.55, 0.5, 0.54];
    this.nv.volumes = [];
    const make = (file, name, colour, low, high, negative) => this.library.NVImage.new(
      file.buffer, name, colour, 1, null, low, high, true, 0.02, false, false, negative);
    this.scan = await make(scan, "scan.nii", "gray", 0, 255, "");
    this.change = await make(change, "change.nii", "rise", 1, 255, "fall");
    this.other = await make(other, "other.nii", "gray", 1, 255, "");
    for (const volume of [this.scan, this.change, this.other]) {
      volume.colorbarVisible = false;
      this.nv.addVolume(volume);
    }
    this.change.opacity = this.other.opacity = 0;
    this.nv.scene.crosshairPos = crosshair;
    this.contours = [];
  }

  /**
   * Show a frame. `overlay` has `change` {image, base, low, high} or `other`, a volume in the scan's
   * place, and `contours` [{image, level, colour}].
   */
  show(frame, overlay) {
    this.scan.frame4D = frame;
    this.change.opacity = overlay.change ? 0.9 : 0;
    this.other.opacity = overlay.other ? 1 : 0;
    if (overlay.change) {
      writeChange(overlay.change.image, overlay.change.base, this.change.img);
      Object.assign(this.change, { cal_min: overlay.change.low, cal_max: overlay.change.high });
    }
    if (overlay.other) this.other.img.set(overlay.other);
    this.contours = overlay.contours || [];
    // The viewer would upload an invisible layer as well.
    const layers = [overlay.change && this.change, overlay.other && this.other].filter(Boolean);
    this.nv.volumes = [this.scan, ...layers];
    this.nv.updateGLVolume();
  }

  setView(name) {
    this.canvas.parentElement.dataset.view = name;
    this.nv.setSliceType(VIEWS[name]);
  }

  /** Contours on the canvas above the slices, where these are. */
  drawContours() {
    const { canvas, lines, nv } = this;
    if (lines.width !== canvas.width || lines.height !== canvas.height) {
      Object.assign(lines, { width: canvas.width, height: canvas.height });
    }
    const context = lines.getContext("2d");
    context.clearRect(0, 0, lines.width, lines.height);
    if (!this.contours?.length || !nv.volumes.length) return;
    const cross = [...nv.scene.crosshairPos];
    for (const { axCorSag } of nv.screenSlices) {
      const axis = [2, 1, 0][axCorSag];
      if (axis === undefined) continue;
      const [a, b] = [0, 1, 2].filter((other) => other !== axis);
      const at = (u, v) => {
        const fraction = [...cross];
        fraction[a] = u;
        fraction[b] = v;
        return nv.frac2canvasPosWithTile(fraction, axCorSag)?.pos;
      };
      const first = at(0.25, 0.25), last = at(0.75, 0.75);
      if (!first || !last) continue;
      // The tile maps each voxel axis to one screen axis, linearly.
      const place = (u, v) => [[u, a], [v, b]].map(([voxel, n], i) => {
        const fraction = (voxel + 0.5) / this.shape[n];
        return first[i] + ((fraction - 0.25) / 0.5) * (last[i] - first[i]);
      });
      const index = Math.min(this.shape[axis] - 1, Math.floor(cross[axis] * this.shape[axis]));
      for (const contour of this.contours) {
        const segments = contourSegments(
          contour.image, this.shape, axis, index, contour.level, this.grid.box);
        strokeSegments(context, segments, place, contour.colour, 1.5 * (devicePixelRatio || 1));
      }
    }
  }
}
