// Viewer without a graphics card: three slices of the same volumes as plain pictures.

const PLANES = [
  { name: "Axial", axis: 2, sides: ["R", "L"], cut: 0.54 },
  { name: "Coronal", axis: 1, sides: ["R", "L"], cut: 0.5 },
  { name: "Sagittal", axis: 0, sides: ["A", "P"], cut: 0.55 },
];

class PlainViewer {
  static async create(holder, grid) {
    const viewer = new PlainViewer();
    viewer.grid = grid;
    viewer.holder = holder;
    holder.classList.add("plain");
    const row = document.createElement("div");
    row.className = "planes";
    viewer.planes = PLANES.map((plane) => {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = `${plane.name} (${plane.sides.join(" – ")})`;
      figure.append(canvas, caption);
      row.append(figure);
      canvas.addEventListener("click", (event) => viewer.cut(plane.axis, event));
      return { ...plane, canvas };
    });
    holder.querySelectorAll("canvas.volume, canvas.lines").forEach((canvas) => canvas.remove());
    holder.append(row);
    return viewer;
  }

  async load(shape, frames) {
    this.shape = shape;
    this.frames = frames;
  }

  show(frame, overlay) {
    this.shown = [frame, overlay];
    for (const plane of this.planes) this.draw(plane, overlay.other || this.frames[frame], overlay);
  }

  /** Move the other two slices to where a slice was pressed. */
  cut(axis, event) {
    const [a, b] = [0, 1, 2].filter((other) => other !== axis);
    const box = event.target.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
    for (const plane of this.planes) {
      if (plane.axis === a) plane.cut = Math.min(0.999, Math.max(0, 1 - across));
      if (plane.axis === b) plane.cut = Math.min(0.999, Math.max(0, 1 - down));
    }
    this.show(...this.shown);
  }

  setView(name) {
    for (const plane of this.planes) {
      const shown = !(name in VIEWS) || VIEWS[name] > 2 || plane.name.toLowerCase() === name;
      plane.canvas.parentElement.hidden = !shown;
    }
  }

  draw(plane, image, overlay) {
    const { axis, canvas } = plane;
    const [a, b] = [0, 1, 2].filter((other) => other !== axis);
    const [width, height] = [this.shape[a], this.shape[b]];
    const index = Math.floor(plane.cut * this.shape[axis]);
    const strides = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const zoom = Math.max(1, Math.ceil(256 / Math.max(width, height)));
    const pixels = new ImageData(width, height);
    for (let v = 0; v < height; v++) {
      for (let u = 0; u < width; u++) {
        const from = index * strides[axis] + u * strides[a] + v * strides[b];
        // The subject's right, or the front, on the left; up is up.
        const to = 4 * ((height - 1 - v) * width + (width - 1 - u));
        let colour = [image[from], image[from], image[from]];
        if (overlay.change) {
          const change = overlay.change.image[from] - overlay.change.base[from];
          const part = Math.min(1, Math.abs(change) / overlay.change.high);
          if (Math.abs(change) >= overlay.change.low) {
            const [first, last] = change > 0 ? SIGNED.rise : SIGNED.fall;
            colour = first.map((value, i) => value + part * (last[i] - value));
          }
        }
        pixels.data.set([...colour, 255], to);
      }
    }
    Object.assign(canvas, { width: width * zoom, height: height * zoom });
    canvas.setAttribute("aria-label", `${plane.name} slice`);
    const small = document.createElement("canvas");
    Object.assign(small, { width, height });
    small.getContext("2d").putImageData(pixels, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const place = (u, v) => [(width - 0.5 - u) * zoom, (height - 0.5 - v) * zoom];
    for (const contour of overlay.contours || []) {
      const segments = contourSegments(
        contour.image, this.shape, axis, index, contour.level, this.grid.box);
      strokeSegments(context, segments, place, contour.colour, 2);
    }
  }
}
