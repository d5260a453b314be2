// The page: choice of scan and series, slider, play, overlays, numbers.

const KINDS = {
  manipulation: {
    name: "Along the diagnosis axis",
    question: (c) => `The scan's semantic code y_sem moves by α along the direction of the ${c.classes[1]} classifier, to the right towards ${c.classes[1]}, to the left towards ${c.classes[0]}; its stochastic code z_T stays.`,
  },
  visits: { name: "Between two visits", question: () => "Both codes of the first and the last visit are interpolated: y_sem on a line, z_T on a circle. Diamonds are real visits, measured on their scans." },
  reconstruction: { name: "Scan and reconstructions", question: () => "The scan, the autoencoder's reconstruction, and the LDAE's from the scan's own codes in T steps each way." },
  variation: { name: "Same code, other noise", question: () => "One y_sem, decoded from the scan's own z_T and from noise: what stays is in y_sem, what changes is not." },
};
const CHANGE_LOW = 5;    // of 255: smaller changes are not drawn, nor those within the rounding
const CHANGE_FULL = 0.6; // quantile of the largest change that has the full colour
const PLAY_MS = 350;

const get = (id) => document.getElementById(id);
const content = JSON.parse(get("content").textContent);
const state = { person: 0, series: 0, position: 0, overlay: "none", playing: null };
const stacks = [];
let viewer, map;

function element(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

const person = () => content.people[state.person];
const series = () => person().series[state.series];

function stackOf(place) {
  stacks[place] ??= decodeStack(JSON.parse(document.querySelectorAll("script.stack")[place].textContent));
  return stacks[place];
}

/** Radio buttons that look like chips; those that are there already stay, and keep the focus. */
function chips(fieldset, name, entries, chosen, choose) {
  const labels = [...fieldset.querySelectorAll("label")];
  if (labels.map((label) => label.textContent).join() === entries.map(({ text }) => text).join()) {
    labels[chosen].querySelector("input").checked = true;
    return;
  }
  labels.forEach((label) => label.remove());
  entries.forEach(({ text, colour }, i) => {
    const input = element("input", { type: "radio", name, checked: i === chosen, onchange: () => choose(i) });
    const label = element("label", {}, input);
    if (colour) label.append(element("span", { className: "dot", style: `background: var(--${colour}, #767676)` }));
    label.append(text);
    fieldset.append(label);
  });
}

/** Participant and month of a scan; its name where it has no month. */
function shortName({ scan, month }) {
  return month === undefined ? [scan] : [scan.split("_")[0], `month ${month}`];
}

async function openPerson(place) {
  const kind = series().key;
  stop();
  state.person = place;
  const found = person().series.findIndex((each) => each.key === kind);
  chips(get("people"), "person", content.people.map((each) => ({
    text: [each.diagnosis, ...shortName(each)].filter(Boolean).join(" · "), colour: each.diagnosis,
  })), place, openPerson);
  map?.mark(content.map.points.findIndex((point) => point.scan === person().scan));
  showPicture(content.map ? content.map.points.findIndex((point) => point.scan === person().scan) : -1);
  await openSeries(Math.max(0, found));
}

let opened = 0;  // number of the series opened last; one that is ready later than it is dropped

async function openSeries(place) {
  stop();
  const mine = ++opened;
  state.series = place;
  const own = series();
  chips(get("series"), "series", person().series.map((each) => ({ text: KINDS[each.key].name })), place, openSeries);
  get("question").textContent = KINDS[own.key].question(content);
  own.axisLabel = own.key === "manipulation" ? "α" : own.key === "visits" ? "month" : "";
  own.short = {
    manipulation: () => own.positions.map((alpha) => String(Number(alpha.toPrecision(2))).replace("-", "−")),
    visits: () => own.positions.map((month) => month.toFixed(0)),
  }[own.key]?.() ?? own.labels;
  const slider = get("slider");
  slider.max = own.positions.length - 1;
  get("slider-name").textContent = own.key === "manipulation" ? `α: towards ${content.classes[0]} ← → towards ${content.classes[1]}` : own.key === "visits" ? "Month" : "Volume";
  markUnseen(own);
  const stack = await stackOf(state.person);
  if (mine !== opened) return;
  state.volumes = own.frames.map(stack.frame);
  state.truth = own.key === "manipulation" && person().truth ? stack.frame(person().truth.frame) : null;
  state.original = stack.frame(0);
  await viewer.load(stack.shape, state.volumes);
  if (mine !== opened) return;
  state.low = Math.max(CHANGE_LOW, stack.tolerance + 2);
  state.full = fullChange(state.volumes, state.volumes[own.reference]);
  overlayChoices();
  drawCharts();
  move(own.reference);
}

/** The change that has the full colour: nearly the largest of the series. */
function fullChange(volumes, base) {
  const counts = new Uint32Array(256);
  for (const volume of volumes) {
    if (volume === base) continue;
    for (let v = 0; v < volume.length; v++) counts[Math.abs(volume[v] - base[v])]++;
  }
  let highest = 255;
  while (highest > 0 && !counts[highest]) highest--;
  return Math.max(4 * state.low, CHANGE_FULL * highest);
}

/** Hatch the part of the slider whose codes lie outside the training codes' range. */
function markUnseen(own) {
  const strip = get("unseen");
  strip.hidden = !own.seen;
  if (!own.seen) return;
  const at = (value) => {  // the slider's steps are even, the alphas need not be
    const after = own.positions.findIndex((each) => each >= value);
    if (after === 0) return 0;
    if (after < 0) return 100;
    const part = (value - own.positions[after - 1]) / (own.positions[after] - own.positions[after - 1]);
    return (100 * (after - 1 + part)) / (own.positions.length - 1);
  };
  const [low, high] = own.seen.map(at);
  strip.style.background = `linear-gradient(90deg, #767676 ${low}%, #cfe3f1 ${low}%, #cfe3f1 ${high}%, #767676 ${high}%)`;
}

function overlayChoices() {
  const own = series(), select = get("overlay");
  const from = { manipulation: "α = 0", visits: "the first visit", reconstruction: "the scan", variation: "its own noise" }[own.key];
  const options = [["none", "none"], ["change", `change from ${from}`], ["contour", "contour of the ventricles"]];
  if (state.truth) {
    const target = person().truth.target;
    options.push(["truth", `true counterfactual (${target})`], ["true change", `true change to ${target}`]);
  }
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, textContent: text })));
  if (!options.some(([value]) => value === state.overlay)) state.overlay = "none";
  select.value = state.overlay;
}

function overlay() {
  const own = series(), image = state.volumes[state.position], base = state.volumes[own.reference];
  const change = (now, before) => ({ image: now, base: before, low: state.low, high: state.full });
  const level = fluidLevel(base, content.grid);
  const key = get("key");
  key.textContent = "";
  if (state.overlay === "change" || state.overlay === "true change") {
    key.append(element("b", { textContent: "Red: brighter; blue: darker" }), ` by at least ${state.low} of 255; full colour from ${state.full.toFixed(0)}.`);
    return { change: state.overlay === "change" ? change(image, base) : change(state.truth, state.original) };
  }
  if (state.overlay === "truth") {
    key.textContent = "The same head, made with the other diagnosis: what a perfect manipulation of the scan would show.";
    return { other: state.truth };
  }
  if (state.overlay === "contour") {
    const contours = [{ image: base, level, colour: CONTOURS.base }, { image, level, colour: CONTOURS.now }];
    key.textContent = "Fluid in the ventricles' region: blue now, yellow at the start";
    if (state.truth) {
      contours.push({ image: state.truth, level: fluidLevel(state.original, content.grid), colour: CONTOURS.truth });
      key.textContent += `, pink the true counterfactual (${person().truth.target})`;
    }
    key.textContent += ". A proxy by intensity, no segmentation.";
    return { contours };
  }
  return {};
}

function drawCharts() {
  const own = series(), base = own.reference;
  const bands = own.key === "manipulation" ? content.bands : null;
  const real = own.key === "visits" ? person().visits : null;
  state.charts = content.measures.map((measure) => {
    const start = own.decoded[measure.key][base];
    const band = bands?.[measure.key]?.map((row) => ({ x: row.alpha, low: start + row.low, high: start + row.high }));
    if (band?.length) {
      band.push({ x: 0, low: start, high: start });
      band.sort((a, b) => a.x - b.x);
    }
    return new Chart(measure, own, {
      decoded: own.decoded[measure.key],
      asked: own.is_list ? null : own.asked[measure.key],
      band,
      real: real?.positions.map((x, i) => ({ x, y: real.decoded[measure.key][i] })),
      seen: own.seen,
    }, move);
  });
  get("charts").replaceChildren(...state.charts.map((chart) => chart.figure));
  const parts = ["Orange: the decoded volume, encoded and measured again"];
  if (!own.is_list) parts.push("dashed: what the code asks for");
  if (bands && Object.values(bands).some((band) => band.length)) parts.push("shaded orange: mean change of test scans, 95 % interval");
  if (own.seen) parts.push("grey: outside the range of the training codes");
  if (real) parts.push("diamonds: real visits");
  get("legend").textContent = `${parts.join("; ")}.`;
}

function cells(row, tag) {
  return element("tr", {}, ...row.map((text, i) => {
    const cell = element(i && tag === "td" ? "td" : "th", i ? {} : { scope: "row" });
    if (tag === "th") cell.scope = "col";
    const [value, interval] = String(text).split("|");
    cell.append(value);
    if (interval) cell.append(" ", element("span", { className: "ci", textContent: interval }));
    return cell;
  }));
}

function writeNumbers() {
  const own = series(), i = state.position, base = own.reference;
  const alpha = own.positions[i];
  const head = ["Measure"], truth = own.key === "manipulation" ? person().truth : null;
  if (!own.is_list) head.push("asked");
  head.push("decoded", `change`);
  let people = 0;
  if (own.key === "manipulation" && content.bands) head.push("mean change of test scans | [95 % interval]");
  if (truth) head.push(`true change to ${truth.target}`);
  const rows = content.measures.map(({ key, label, unit, digits, asked }) => {
    const row = [label + (unit ? `, ${unit}` : "")];
    if (!own.is_list) row.push(asked ? number(own.asked[key][i], digits) : "–");
    row.push(number(own.decoded[key][i], digits), number(own.decoded[key][i] - own.decoded[key][base], digits, true));
    if (own.key === "manipulation" && content.bands) {
      const found = content.bands[key].find((each) => Math.abs(each.alpha - alpha) < 1e-9);
      people = found?.people || people;
      row.push(found ? `${number(found.value, digits, true)}|[${number(found.low, digits, true)}, ${number(found.high, digits, true)}]` : "–");
    }
    if (truth) row.push(number(truth.changes[key], digits, true));
    return row;
  });
  if (own.ssim) rows.push(["SSIM to the scan", number(own.ssim[i], 3), number(own.ssim[i] - own.ssim[base], 3, true)]);
  get("numbers").replaceChildren(
    element("thead", {}, cells(head, "th")), element("tbody", {}, ...rows.map((row) => cells(row, "td"))));
  const notes = ["Ventricles and hippocampi: soft volumes by intensity in fixed regions, in template scale."];
  if (people) notes.push(`Mean change: ${people} test people of the class that is moved, same α, same direction.`);
  get("note").textContent = notes.join(" ");
}

function sentence() {
  const own = series(), i = state.position, [logit] = content.measures;
  const value = number(own.decoded.logit[i], logit.digits);
  const label = own.labels[i].replaceAll("-", "−");
  if (own.key === "manipulation") {
    const alpha = own.positions[i], outside = own.seen && (alpha < own.seen[0] || alpha > own.seen[1]);
    const where = alpha === 0 ? "not moved" : `towards ${content.classes[alpha > 0 ? 1 : 0]}`;
    return `α = ${label} (${where}): ${logit.label} (above 0: more like it) of the moved code ${number(own.asked.logit[i], logit.digits)}, of the decoded brain, encoded again, ${value}.` +
      (outside ? " Outside the range of the training codes." : "");
  }
  const extra = own.ssim ? `, SSIM to the scan ${number(own.ssim[i], 3)}` : "";
  return `${label[0].toUpperCase() + label.slice(1)}: ${logit.label} ${value}, predicted age ${number(own.decoded.age[i], 1)}${extra}.`;
}

/** Show a position of the series. */
function move(position) {
  const own = series();
  state.position = Math.max(0, Math.min(own.positions.length - 1, position));
  viewer.show(state.position, overlay());
  const slider = get("slider"), text = own.labels[state.position].replaceAll("-", "−");
  slider.value = state.position;
  const shown = own.key === "manipulation" ? `α = ${text}` : text;
  slider.setAttribute("aria-valuetext", shown);
  get("position").textContent = shown;
  get("state").textContent = sentence();
  state.charts.forEach((chart) => chart.show(state.position));
  map?.follow(own.key === "manipulation" ? person().trail : null, state.position);
  writeNumbers();
}

function stop() {
  clearInterval(state.playing);
  state.playing = null;
  get("play").setAttribute("aria-pressed", "false");
  get("play").textContent = "Play";
}

/** Move to and fro through the series until stopped. */
function play() {
  let step = 1;
  get("play").setAttribute("aria-pressed", "true");
  get("play").textContent = "Pause";
  state.playing = setInterval(() => {
    const last = series().positions.length - 1;
    if (state.position + step > last || state.position + step < 0) step = -step;
    move(state.position + step);
  }, PLAY_MS);
}

let pictured = -1;  // point whose picture was asked for last; one that is ready later is dropped

async function showPicture(place) {
  const figure = get("picture");
  figure.hidden = place < 0;
  pictured = place;
  if (place < 0) return;
  const { pictures, points } = content.map, point = points[place];
  pictures.pixels ??= await unpacked(pictures.data);
  if (place !== pictured) return;
  const sizes = pictures.widths.map((width, i) => width * pictures.heights[i]);
  const canvas = figure.querySelector("canvas"), context = canvas.getContext("2d");
  const [height, width] = [Math.max(...pictures.heights), pictures.widths[0] + pictures.widths[1] + 2];
  Object.assign(canvas, { width, height });
  let from = place * (sizes[0] + sizes[1]), left = 0;
  pictures.widths.forEach((wide, i) => {
    const picture = new ImageData(wide, pictures.heights[i]);
    for (let p = 0; p < sizes[i]; p++) picture.data.set([...Array(3).fill(pictures.pixels[from + p]), 255], 4 * p);
    context.putImageData(picture, left, Math.floor((height - pictures.heights[i]) / 2));
    from += sizes[i];
    left += wide + 2;
  });
  const moves = content.people.some((each) => each.scan === point.scan);
  figure.querySelector("figcaption").textContent = `${point.scan} · ${point.diagnosis} · ${number(point.age, 1)} years old, ` +
    `${number(point.at[1], 1)} predicted from y_sem · coronal and axial slice. ` + (moves ? "Open in the viewer above." : "Only this picture is on the page.");
}

function openPoint(place) {
  const found = content.people.findIndex((each) => each.scan === content.map.points[place].scan);
  if (found >= 0) openPerson(found);
  else showPicture(place);
}

function listen() {
  const slider = get("slider");
  slider.addEventListener("input", () => { stop(); move(Number(slider.value)); });
  get("play").addEventListener("click", () => (state.playing ? stop() : play()));
  get("overlay").addEventListener("change", (event) => { state.overlay = event.target.value; move(state.position); });
  get("view").addEventListener("change", (event) => { viewer.setView(event.target.value); });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const taken = event.target.closest("input, select, button, [role=listbox], [role=region]");
    if (taken || event.ctrlKey || event.altKey || event.metaKey) return;
    if (step) { stop(); move(state.position + step); }
    else if (event.key === " ") state.playing ? stop() : play();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}

async function start() {
  const reason = whyPlain();
  viewer = await (reason ? PlainViewer.create(get("viewer"), content.grid) : Viewer.create(get("viewer"), content.grid, await loadNiivue()));
  if (reason) {
    get("trouble").textContent = `${reason.text}: the volumes are shown as plain slices, without the 3-D rendering. `;
    if (reason.usable) {
      const link = element("a", { href: FORCED }, "Use it all the same.");
      link.addEventListener("click", () => setTimeout(() => location.reload()));
      get("trouble").append(link);
    }
    get("trouble").hidden = false;
    get("view").querySelector("[value=rendering]").remove();
  }
  get("map-section").hidden = !content.map;
  if (content.map) {
    map = new CodeMap(get("map"), content.map, content.people, openPoint);
    const names = [...new Set(content.map.points.map((point) => point.diagnosis))].filter(Boolean);
    names.forEach((name) => get("map-legend").append(element("span", { className: "dot", style: `background: var(--${name}, #767676)` }), `${name}  `));
    get("map-legend").append("· dotted: the way of the decoded scan as α moves; circle: where it is now.");
  }
  listen();
  await openPerson(0);
  document.body.dataset.ready = reason ? "plain" : "webgl";
}

start().catch((error) => {
  get("trouble").textContent = `The page could not be drawn: ${error.message}`;
  get("trouble").hidden = false;
  throw error;
});
