// Map of y_sem: test scans that can be opened, by pointer or by arrow keys.

const MAP = { width: 640, height: 380, left: 54, right: 16, top: 14, bottom: 46 };

class CodeMap {
  /** `open(place)` is called for a point of the map; `people` have `scan` and `trail`. */
  constructor(holder, content, people, open) {
    const { width, height, left, right, top, bottom } = MAP;
    this.points = content.points;
    this.open = open;
    this.root = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "listbox", tabindex: 0,
      "aria-label": `${content.x} against ${content.y}: ${this.points.length} scans`,
    });
    holder.append(this.root);
    const trails = people.flatMap((person) => person.trail || []);
    const [x0, x1] = limits([...this.points.map((p) => p.at[0]), ...trails.map((p) => p[0]), ...(content.range || [])]);
    const [y0, y1] = limits([...this.points.map((p) => p.at[1]), ...trails.map((p) => p[1])]);
    this.x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
    this.y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
    const drawn = svg("g", { role: "presentation" }, this.root);
    if (content.range) {
      const [low, high] = content.range.map(this.x);
      svg("rect", { x: low, width: high - low, y: top, height: height - top - bottom, class: "range" }, drawn);
    }
    for (const [axis, low, high] of [["x", x0, x1], ["y", y0, y1]]) {
      const { found, digits } = ticks(low, high);
      for (const value of found) {
        const isX = axis === "x", at = this[axis](value);
        svg("line", isX ? { x1: at, x2: at, y1: top, y2: height - bottom, class: "grid" } : { x1: left, x2: width - right, y1: at, y2: at, class: "grid" }, drawn);
        svg("text", isX ? { x: at, y: height - bottom + 16, class: "tick", "text-anchor": "middle" } : { x: left - 7, y: at + 4, class: "tick", "text-anchor": "end" }, drawn, number(value, digits));
      }
    }
    svg("text", { x: (left + width - right) / 2, y: height - 8, class: "axis", "text-anchor": "middle" }, drawn, content.x);
    svg("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, class: "axis", "text-anchor": "middle" }, drawn, content.y);
    this.trail = svg("polyline", { class: "trail" }, drawn);
    const shown = new Set(people.map((person) => person.scan));
    this.order = this.points.map((_, i) => i).sort((i, j) => this.points[i].at[0] - this.points[j].at[0]);
    this.marks = this.points.map((point, i) => {
      const mark = svg("circle", {
        cx: this.x(point.at[0]), cy: this.y(point.at[1]), r: shown.has(point.scan) ? 7 : 4.5, id: `point-${i}`,
        role: "option", "aria-selected": "false", "data-diagnosis": point.diagnosis, class: shown.has(point.scan) ? "point moves" : "point",
        "aria-label": `${point.scan}, ${point.diagnosis}${shown.has(point.scan) ? ", can be moved" : ""}`,
      }, this.root);
      mark.addEventListener("click", () => this.select(i));
      svg("title", {}, mark, `${point.scan} · ${point.diagnosis}`);
      return mark;
    });
    // Above the others, in the order of drawing.
    this.marks.filter((mark) => mark.classList.contains("moves")).forEach((mark) => this.root.append(mark));
    this.now = svg("circle", { r: 5, class: "mark" });
    this.root.append(this.now);
    this.now.setAttribute("role", "presentation");
    this.root.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const place = this.order.indexOf(this.selected ?? this.order[0]);
      this.select(this.order[Math.min(this.order.length - 1, Math.max(0, place + step))]);
      event.preventDefault();
      event.stopPropagation();
    });
  }

  select(place) {
    this.mark(place);
    this.open(place);
  }

  /** Mark a point as the one that is open. */
  mark(place) {
    this.marks[this.selected]?.setAttribute("aria-selected", "false");
    this.selected = place;
    this.marks[place]?.setAttribute("aria-selected", "true");
    if (place !== undefined) this.root.setAttribute("aria-activedescendant", `point-${place}`);
  }

  /** The way of the decoded scan over the map, and where it is; null hides both. */
  follow(trail, position) {
    this.trail.setAttribute("points", (trail || []).map(([x, y]) => `${this.x(x)},${this.y(y)}`).join(" "));
    this.now.toggleAttribute("hidden", !trail);
    this.now.style.display = trail ? "" : "none";
    if (!trail) return;
    this.now.setAttribute("cx", this.x(trail[position][0]));
    this.now.setAttribute("cy", this.y(trail[position][1]));
  }
}
