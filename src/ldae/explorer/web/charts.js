// Small charts of a measure over the positions of a series.

const SVG = "http://www.w3.org/2000/svg";
const CHART = { width: 300, height: 168, left: 46, right: 10, top: 10, bottom: 34 };

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}

/** A number with a true minus sign. */
function number(value, digits, sign) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(digits);
  const isZero = Number(text) === 0;
  return (value < 0 && !isZero ? "−" : sign && !isZero ? "+" : "") + text;
}

/** Round values in an interval, seven at most. */
function ticks(low, high) {
  const raw = (high - low) / 6, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + 1e-9 * step; n++) found.push(n * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function limits(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  let low = Math.min(...known), high = Math.max(...known);
  if (high - low < 1e-6) { low -= 1; high += 1; }
  const pad = 0.08 * (high - low);
  return [low - pad, high + pad];
}

class Chart {
  /**
   * `lines`: {decoded, asked, band: [{x, low, high}], real: [{x, y}], seen: [low, high] of x}; any
   * but `decoded` may be absent. `pick(position)` is called where the chart is pressed.
   */
  constructor(measure, series, lines, pick) {
    const { positions } = series;
    const { width, height, left, right, top, bottom } = CHART;
    this.series = series;
    this.measure = measure;
    this.values = lines.decoded;
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    const title = document.createElement("figcaption");
    title.textContent = measure.label + (measure.unit ? ` (${measure.unit})` : "");
    this.root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    this.figure.append(title, this.root);
    const ends = positions.length > 1 ? [positions[0], positions.at(-1)] : [positions[0] - 1, positions[0] + 1];
    const margin = series.is_list ? 0.4 : 0.03 * (ends[1] - ends[0]);
    const [x0, x1] = [ends[0] - margin, ends[1] + margin];
    const all = [...lines.decoded, ...(lines.asked || [])];
    for (const point of lines.band || []) all.push(point.low, point.high);
    for (const point of lines.real || []) all.push(point.y);
    const [y0, y1] = limits(all);
    this.x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
    this.y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
    if (lines.seen) this.hatch(lines.seen, x0, x1);
    const vertical = ticks(y0, y1);
    for (const value of vertical.found) {
      svg("line", { x1: left, x2: width - right, y1: this.y(value), y2: this.y(value), class: "grid" }, this.root);
      svg("text", { x: left - 5, y: this.y(value) + 3.5, class: "tick", "text-anchor": "end" }, this.root, number(value, vertical.digits));
    }
    const few = series.is_list ? positions.map((_, i) => i) : [0, series.reference, positions.length - 1];
    for (const i of new Set(few)) {
      const anchor = series.is_list || (i > 0 && i < positions.length - 1) ? "middle" : i ? "end" : "start";
      svg("text", { x: this.x(positions[i]), y: height - bottom + 14, class: "tick", "text-anchor": anchor }, this.root, series.short[i]);
    }
    svg("text", { x: (left + width - right) / 2, y: height - 4, class: "axis", "text-anchor": "middle" }, this.root, series.axisLabel);
    if (lines.band?.length) {
      const upper = lines.band.map((p) => `${this.x(p.x)},${this.y(p.high)}`);
      const lower = lines.band.map((p) => `${this.x(p.x)},${this.y(p.low)}`).reverse();
      svg("polygon", { points: [...upper, ...lower].join(" "), class: "band" }, this.root);
    }
    if (lines.asked) this.line(lines.asked, "asked");
    if (!series.is_list) this.line(lines.decoded, "decoded");
    for (const { x, y } of lines.real || []) {
      const [px, py] = [this.x(x), this.y(y)];
      svg("path", { d: `M${px} ${py - 5}L${px + 5} ${py}L${px} ${py + 5}L${px - 5} ${py}Z`, class: "real" }, this.root);
    }
    positions.forEach((at, i) => svg("circle", { cx: this.x(at), cy: this.y(lines.decoded[i]), r: 2.6, class: "decoded" }, this.root));
    this.cursor = svg("line", { y1: top, y2: height - bottom, class: "cursor" }, this.root);
    this.mark = svg("circle", { r: 5, class: "mark" }, this.root);
    this.root.addEventListener("click", (event) => {
      const box = this.root.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * width;
      const gaps = positions.map((each) => Math.abs(this.x(each) - at));
      pick(gaps.indexOf(Math.min(...gaps)));
    });
  }

  /** Shade the positions outside the range of the training codes. */
  hatch([low, high], x0, x1) {
    for (const [from, to] of [[x0, Math.min(low, x1)], [Math.max(high, x0), x1]]) {
      if (to <= from) continue;
      const box = { x: this.x(from), width: this.x(to) - this.x(from), y: CHART.top, height: CHART.height - CHART.top - CHART.bottom };
      svg("rect", { ...box, class: "unseen" }, this.root);
    }
  }

  line(values, kind) {
    const points = values.map((value, i) => `${this.x(this.series.positions[i])},${this.y(value)}`);
    svg("polyline", { points: points.join(" "), class: kind }, this.root);
  }

  show(position) {
    const [x, value] = [this.x(this.series.positions[position]), this.values[position]];
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.mark.setAttribute("cx", x);
    this.mark.setAttribute("cy", this.y(value));
    const { label, unit, digits } = this.measure;
    this.root.setAttribute("aria-label", `${label} over ${this.series.axisLabel}: ${number(value, digits)} ${unit} at ${this.series.labels[position]}`);
  }
}
