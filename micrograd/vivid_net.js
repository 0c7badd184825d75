/*
Vivid Descent, the script of the page, 1 of 3: the data, the net, and the flat pictures. Next: vivid_surface.js.

Paths, weights, losses and planes are data, recorded by vivid.py; the net is run here, on the recorded weights, to
show activations and gradients.
*/
"use strict";

const $ = selector => document.querySelector(selector), all = selector => [...document.querySelectorAll(selector)];
const data = JSON.parse($("#run").textContent);
const NAMES = Object.keys(data.runs), STEPS = data.runs.sgd.path.length - 1;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const VIEW = {yaw: 0.58, pitch: 0.76, distance: 4.6};
const state = {t: calm ? STEPS : 0, playing: false, speed: 24, compare: false, runs: ["momentum", "adam"], plane: "all",
               point: 0, edges: "weights", drift: !calm, ...VIEW};

const now = () => Math.floor(state.t);
const shown = () => state.compare ? state.runs : state.runs.slice(1);
const planeOf = run => state.plane === "all" ? data.planes.all : data.planes[state.plane][run];

const colour = {};                                          // of the theme, by name; filled by theme()
const LIT = {sgd: "#ffb43d", momentum: "#ff5fa2", adam: "#d9c2ff"};         // on dark ground, in both themes
const rgba = (hex, alpha = 1) => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255).concat(alpha);
const TICKS = [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];


// The net: `a` holds the outputs of all neurons, layer by layer, the inputs first; theta is in the engine's order.

const sizes = data.sizes, NEURONS = sizes.reduce((sum, n) => sum + n);

function forward(theta, x, a = new Float64Array(NEURONS)) {
  a.set(x);
  for (let l = 1, from = 0, to = sizes[0], w = 0; l < sizes.length; from = to, to += sizes[l++])
    for (let j = 0; j < sizes[l]; j++) {
      let sum = 0;
      for (let i = 0; i < sizes[l - 1]; i++) sum += theta[w++] * a[from + i];
      sum += theta[w++];                                    // the bias comes last
      a[to + j] = l < sizes.length - 1 ? Math.max(sum, 0) : sum;
    }
  return a;
}

/* Gradients of log(1 + exp(-y * score)), the loss of a point: in all weights, and in the outputs of all neurons. */
function backward(theta, a, y) {
  const dtheta = new Float64Array(theta.length), da = new Float64Array(NEURONS), out = NEURONS - 1;
  da[out] = -y / (1 + Math.exp(y * a[out]));
  for (let l = sizes.length - 1, to = NEURONS, w = theta.length; l > 0; l--) {
    to -= sizes[l];
    w -= sizes[l] * (sizes[l - 1] + 1);
    const from = to - sizes[l - 1];
    for (let j = 0, k = w; j < sizes[l]; j++) {
      const dsum = l < sizes.length - 1 && a[to + j] <= 0 ? 0 : da[to + j];   // relu lets nothing back at 0
      for (let i = 0; i < sizes[l - 1]; i++, k++) {
        dtheta[k] = dsum * a[from + i];
        da[from + i] += dsum * theta[k];
      }
      dtheta[k++] = dsum;
    }
  }
  return {dtheta, da};
}


// Flat pictures: small tools first

const boxes = new Map();                                    // canvas -> its size in CSS pixels

/* A cleared 2D context in CSS pixels, its width and height. */
function paper(canvas) {
  const {w, h} = boxes.get(canvas), scale = Math.min(devicePixelRatio, 2), ctx = canvas.getContext("2d");
  const [width, height] = [Math.round(w * scale), Math.round(h * scale)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, w, h);
  ctx.textBaseline = "middle";
  return [ctx, w, h];
}

function stroke(ctx, points, style, width) {
  ctx.beginPath();
  points.forEach(([x, y], i) => i ? ctx.lineTo(x, y) : ctx.moveTo(x, y));
  Object.assign(ctx, {strokeStyle: style, lineWidth: width, lineJoin: "round"}).stroke();
}

function circle(ctx, x, y, r, fill, edge, width = 1) {
  ctx.beginPath();
  ctx.arc(x, y, r, 0, 2 * Math.PI);
  if (fill) Object.assign(ctx, {fillStyle: fill}).fill();
  if (edge) Object.assign(ctx, {strokeStyle: edge, lineWidth: width}).stroke();
}

const write = (ctx, text, x, y, ink) => Object.assign(ctx, {fillStyle: ink}).fillText(text, x, y);
const letters = (ctx, size, align) => Object.assign(ctx, {font: `${size}px system-ui, sans-serif`, textAlign: align});

/* A run's name on a dark plate, which begins at x, or ends there. */
function tag(ctx, text, x, y, ink, ends = false) {
  Object.assign(ctx, {font: "600 12px system-ui, sans-serif", textAlign: "left", fillStyle: "#0b1020cc"});
  const width = ctx.measureText(text).width;
  if (ends) x -= width;
  ctx.beginPath();
  ctx.roundRect(x - 5, y - 9, width + 10, 18, 5);
  ctx.fill();
  write(ctx, text, x, y, ink);
}

const signed = v => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(2);
const largest = list => list.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12);
const tint = v => v > 0 ? colour.plus : colour.minus;


// What the net says over the plane of its inputs

const CELLS = 1800, MARGIN = 0.4;                           // of a picture; around the points
const [[LEFT, RIGHT], [BOTTOM, TOP]] = [0, 1].map(i => {
  const values = data.points.map(point => point[i]);
  return [Math.min(...values) - MARGIN, Math.max(...values) + MARGIN];
});
const fields = new Map(), patch = document.createElement("canvas");

/* The outputs of all neurons over a grid that fills a picture of w times h, with the weights of this run now. */
function field(name, w, h) {
  const key = `${name} ${now()} ${w} ${h}`;
  if (fields.get(name)?.key === key) return fields.get(name);
  const scale = Math.min(w / (RIGHT - LEFT), h / (TOP - BOTTOM)), cx = (LEFT + RIGHT) / 2, cy = (BOTTOM + TOP) / 2;
  const nx = Math.round(Math.sqrt(CELLS * w / h)), ny = Math.round(CELLS / nx);
  const acts = new Float64Array(nx * ny * NEURONS), theta = data.runs[name].path[now()];
  for (let j = 0, k = 0; j < ny; j++)
    for (let i = 0; i < nx; i++, k += NEURONS) {
      const x = cx + ((i + 0.5) / nx - 0.5) * w / scale, y = cy - ((j + 0.5) / ny - 0.5) * h / scale;
      forward(theta, [x, y], acts.subarray(k, k + NEURONS));
    }
  fields.set(name, {key, nx, ny, acts, px: v => w / 2 + (v - cx) * scale, py: v => h / 2 - (v - cy) * scale});
  return fields.get(name);
}

/*
Paint outputs over the field into `patch`, one tile a neuron, each below the last: from minus over card to plus, hidden
ones from card to live. The score is as strong as its probability is sure, others by their share of the largest.
*/
function tiles(f, neurons, every = 1) {
  const nx = Math.ceil(f.nx / every), ny = Math.ceil(f.ny / every), image = new ImageData(nx, ny * neurons.length);
  let k = 0;
  for (const neuron of neurons) {
    const score = neuron === NEURONS - 1, hidden = neuron >= sizes[0] && !score, cells = [];
    for (let j = 0; j < f.ny; j += every)
      for (let i = 0; i < f.nx; i += every) cells.push(f.acts[(j * f.nx + i) * NEURONS + neuron]);
    const most = largest(cells), names = ["card", hidden ? "live" : "plus", "minus"];
    const [none, plus, minus] = names.map(c => rgba(colour[c]).map(v => 255 * v));
    for (const v of cells) {
      const to = v > 0 ? plus : minus, part = 0.75 * Math.abs(score ? Math.tanh(v / 2) : v / most);
      for (let c = 0; c < 3; c++) image.data[k++] = none[c] + part * (to[c] - none[c]);
      image.data[k++] = 255;
    }
  }
  [patch.width, patch.height] = [nx, ny * neurons.length];
  patch.getContext("2d").putImageData(image, 0, 0);
  return {nx, ny};
}

/* The line where the score is 0: marching squares, each cell of the grid on its own. */
function zero(f, w, h) {
  const path = new Path2D(), score = (i, j) => f.acts[(j * f.nx + i + 1) * NEURONS - 1];
  for (let j = 0; j < f.ny - 1; j++)
    for (let i = 0; i < f.nx - 1; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], cuts = [];
      corners.forEach(([a, b], k) => {
        const [c, d] = corners[(k + 1) % 4], u = score(a, b), v = score(c, d);
        if (u > 0 !== v > 0) cuts.push([a + (c - a) * u / (u - v), b + (d - b) * u / (u - v)]);
      });
      cuts.forEach(([a, b], k) => path[k % 2 ? "lineTo" : "moveTo"]((a + 0.5) * w / f.nx, (b + 0.5) * h / f.ny));
    }
  return path;
}

function drawBoundary(canvas, name) {
  const [ctx, w, h] = paper(canvas), f = field(name, w, h);
  tiles(f, [NEURONS - 1]);
  ctx.drawImage(patch, 0, 0, w, h);
  Object.assign(ctx, {strokeStyle: colour.ink, lineWidth: 2}).stroke(zero(f, w, h));
  for (const [x, y, label] of data.points) circle(ctx, f.px(x), f.py(y), 3.6, tint(label), colour.card, 1.2);
  const [x, y] = data.points[state.point];
  for (const [c, width] of [[colour.card, 5], [colour.ink, 2]]) circle(ctx, f.px(x), f.py(y), 8, null, c, width);
  const {label, right} = data.runs[name], score = `${right[now()]}/${data.points.length}`;
  tag(ctx, `${label}  ${score}${w < 200 ? "" : " right"}`, 12, 16, LIT[name]);
  canvas.setAttribute("aria-label", `decision boundary of ${label}: ${score} points right`);
}


// The net at the marked point: what flows through it, or the gradients of that point's loss

function drawNet(canvas, name) {
  const [ctx, w, h] = paper(canvas), theta = data.runs[name].path[now()];
  const [x1, x2, y] = data.points[state.point], a = forward(theta, [x1, x2]), {dtheta, da} = backward(theta, a, y);
  const grads = state.edges === "gradients", weights = grads ? dtheta : theta, most = largest(weights);
  const narrow = w < 330, r = Math.min(17, (h - 22) / (2.45 * Math.max(...sizes)));
  const left = narrow ? r + 8 : 86, right = narrow ? r + 14 : 50, pitch = (h - 20 - 2 * r) / (Math.max(...sizes) - 1);
  const places = sizes.flatMap((n, l) => Array.from({length: n}, (_, j) =>
    [left + (w - left - right) * l / (sizes.length - 1),
     (h - 14) / 2 + (j - (n - 1) / 2) * (n > 2 ? pitch : 3 * pitch)]));

  drawEdges(ctx, places, weights, most);
  drawNeurons(ctx, places, r, fields.get(name), grads ? da : a, grads);
  letters(ctx, 12, "right");
  [x1, x2].forEach((v, i) => narrow ? write(ctx, `x${i + 1}`, left + 5, places[i][1] + r + 11, colour.soft)
    : write(ctx, `x${i + 1} ${signed(v)}`, left - r - 6, places[i][1], colour.soft));
  const [ox, oy] = places[NEURONS - 1], score = a[NEURONS - 1];
  write(ctx, "score", ox + 20, oy - r - 12, colour.soft);
  write(ctx, signed(score), ox + 20, oy + r + 12, tint(score));
  letters(ctx, 12, "left");
  const kind = narrow ? "" : `${grads ? "∂ loss of this point / ∂ weight" : "weights"}: blue +, orange −, `;
  write(ctx, `${kind}widest ${most.toPrecision(2)}`, 2, h - 7, colour.soft);
  canvas.setAttribute("aria-label", `the net of ${data.runs[name].label} at the marked point: score ${signed(score)}, `
                                    + `should be ${y > 0 ? "positive" : "negative"}`);
}

function drawEdges(ctx, places, weights, most) {
  for (let l = 1, from = 0, to = sizes[0], k = 0; l < sizes.length; from = to, to += sizes[l++])
    for (let j = 0; j < sizes[l]; j++, k++)                 // k++: past the bias
      for (let i = 0; i < sizes[l - 1]; i++, k++) {
        const part = Math.abs(weights[k]) / most;
        ctx.globalAlpha = 0.15 + 0.85 * part;
        stroke(ctx, [places[from + i], places[to + j]], tint(weights[k]), 0.4 + 4 * part);
      }
  ctx.globalAlpha = 1;
}

/* In each neuron its output over the plane of inputs; around it, as wide as it is large, its value at the point. */
function drawNeurons(ctx, places, r, f, values, grads) {
  const {nx, ny} = tiles(f, [...places.keys()], 2), hidden = i => i >= sizes[0] && i < NEURONS - 1;
  const most = largest(values.filter((_, i) => hidden(i)));
  places.forEach(([x, y], i) => {
    const part = hidden(i) ? Math.abs(values[i]) / most : 1;
    ctx.save();
    circle(ctx, x, y, r, colour.card);
    ctx.clip();
    ctx.drawImage(patch, 0, i * ny, nx, ny, x - r, y - r, 2 * r, 2 * r);
    ctx.restore();
    const ink = part < 0.01 ? colour.line : hidden(i) && !grads ? colour.live : tint(values[i]);
    circle(ctx, x, y, r, null, ink, 1 + 3.5 * part);
  });
}


// The losses of all runs; dotted, of the chosen ones, the loss at the nearest spot of the plane

const CHART = {left: 36, right: 8, top: 4, bottom: 16};

function drawLosses(canvas) {
  const [ctx, w, h] = paper(canvas), {left, right, top, bottom} = CHART;
  const every = NAMES.flatMap(name => data.runs[name].loss).map(Math.log10);
  const low = Math.min(...every) - 0.08, high = Math.max(...every) + 0.12;
  const x = k => left + (w - left - right) * k / STEPS;
  const y = loss => h - bottom - (h - top - bottom) * (Math.log10(loss) - low) / (high - low);
  letters(ctx, 11, "right");
  for (const tick of TICKS.filter(v => Math.log10(v) > low && Math.log10(v) < high)) {
    stroke(ctx, [[left, y(tick)], [w - right, y(tick)]], colour.line, 1);
    write(ctx, tick, left - 6, y(tick), colour.soft);
  }
  letters(ctx, 11, "center");
  write(ctx, "step 0", x(0), h - 6, colour.soft);
  write(ctx, Math.round(STEPS / 2), x(STEPS / 2), h - 6, colour.soft);
  write(ctx, STEPS, Math.min(x(STEPS), w - 14), h - 6, colour.soft);
  stroke(ctx, [[x(now()), top], [x(now()), h - bottom]], colour.ink, 1);

  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, w, h - bottom);
  ctx.clip();
  for (const name of NAMES) {
    const {loss} = data.runs[name], chosen = shown().includes(name);
    const curve = (losses, width) => stroke(ctx, losses.map((v, k) => [x(k), y(v)]), colour[name], width);
    ctx.globalAlpha = chosen ? 1 : 0.35;
    curve(loss, chosen ? 2.2 : 1.4);
    circle(ctx, x(now()), y(loss[now()]), chosen ? 4.5 : 3, colour[name]);
    ctx.setLineDash([1.5, 3]);
    if (chosen) curve(planeOf(name).paths[name].loss, 1.5);
    ctx.setLineDash([]);
  }
  ctx.restore();
}
