/*
Vivid Descent, 3 of 3: frames and controls. A frame is drawn only when something changed.
*/

/* What the ball and the ring say now, in words. */
function reading() {
  const k = now(), lines = shown().map(name => {
    const run = data.runs[name], rule = state.compare ? "" : ` (${run.rule})`;
    const [loss, inPlane] = [run.loss, planeOf(name).paths[name].loss].map(losses => losses[k].toFixed(3));
    return `${run.label}${rule}: loss ${loss}, in the plane ${inPlane}.`;
  });
  return lines.join(" ") + " Ball: the nearest spot in the plane. Ring: the true loss. " + {
    all: "Where they part, the path has left this plane.", own: "They stay close: this plane was fitted to the path.",
    random: "Far apart until the end: a random plane holds little of any path."}[state.plane];
}

let asked = 0, moved = 0, usual = 12, flat = "", spent = 0;
const wake = () => asked ||= requestAnimationFrame(frame);
const change = values => { Object.assign(state, values); flat = ""; wake(); };

function frame(time) {
  const passed = moved ? Math.min(time - moved, 100) : 0, began = performance.now();
  asked = 0;
  if (state.playing) {
    state.t = Math.min(state.t + state.speed * passed / 1000, STEPS);
    if (state.drift) state.yaw += passed * 6e-5;
    if (state.t === STEPS) change({playing: false});
    usual += (Math.min(passed || usual, 34) - usual) / 24;  // slow graphics: fewer pixels, the same motion
    if (usual > 18 && moving > 0.5) [moving, usual] = [moving * 0.8, 16];
  }
  ratio = state.playing || held.size ? moving : 2;
  draw();
  moved = state.playing ? time : 0;
  spent = performance.now() - began;
  if (state.playing) wake();
}

function draw() {
  drawStage();
  const key = [now(), ...shown(), state.playing].join();    // the rest stands still between two steps
  if (key === flat) return;
  flat = key;
  drawLosses($("#losses canvas"));
  shown().forEach((name, i) => {
    drawBoundary(all("#boundary canvas")[i], name);
    drawNet(all("#net canvas")[i], name);
  });
  $("#time").value = now();
  $("#step").textContent = `step ${now()} / ${STEPS}`;
  $("#reading").textContent = reading();
  $("#play").textContent = state.playing ? "❚❚" : "▶";
  $("#play").setAttribute("aria-label", state.playing ? "pause" : "play");
}

const buttons = kind => all(`button[data-${kind}]`);

/* What does not change with time: which buttons are down, and how many pictures there are. */
function arrange(values = {}) {
  Object.assign(state, values);
  const press = (kind, down) => buttons(kind).forEach(b => b.setAttribute("aria-pressed", down(b.dataset[kind])));
  press("run", name => shown().includes(name));
  press("plane", name => name === state.plane);
  press("edges", name => name === state.edges);
  $("#compare").setAttribute("aria-pressed", state.compare);
  $("#stage").classList.toggle("two", state.compare && state.plane !== "all");
  for (const second of ["#boundary canvas:nth-child(2)", "#net canvas:nth-child(2)"]) $(second).hidden = !state.compare;
  for (const c of all("canvas")) boxes.set(c, {w: Math.max(c.clientWidth, 1), h: Math.max(c.clientHeight, 1)});
  change({});
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  const style = getComputedStyle(document.documentElement);
  for (const key of ["back", "card", "ink", "soft", "line", "plus", "minus", "live", ...NAMES])
    colour[key] = style.getPropertyValue(`--${key}`).trim();
  change({});
}

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const play = () => change(state.playing ? {playing: false} : {playing: true, t: state.t === STEPS ? 0 : state.t});
const seek = t => change({t: clamp(Math.round(t), 0, STEPS), playing: false});
const view = values => { Object.assign(state, values, {drift: false}); wake(); };       // the flat pictures stay
const turn = (yaw, pitch) => view({yaw: state.yaw + yaw, pitch: clamp(state.pitch + pitch, 0.05, 1.5)});
const zoom = factor => view({distance: clamp(state.distance * factor, 2, 9)});
const next = (list, item) => list[(list.indexOf(item) + 1) % list.length];
const pick = name => shown().includes(name) || arrange({runs: [state.runs[1], name]});    // the one chosen last stays

const KEYS = {
  " ": play, ArrowLeft: () => seek(now() - 1), ArrowRight: () => seek(now() + 1),
  Home: () => seek(0), End: () => seek(STEPS),
  1: () => pick(NAMES[0]), 2: () => pick(NAMES[1]), 3: () => pick(NAMES[2]),
  c: () => arrange({compare: !state.compare}),
  d: () => arrange({plane: next(Object.keys(PLANES), state.plane)}),
  g: () => arrange({edges: next(["weights", "gradients"], state.edges)}),
  n: () => change({point: (state.point + 1) % data.points.length}),
  r: () => view(VIEW),
  t: () => theme(next(["light", "dark"], document.documentElement.dataset.theme)),
  "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1),
};
const TURNS = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08]};     // with shift

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length > 1 ? event.key : event.key.toLowerCase(), turned = event.shiftKey && TURNS[key];
  const at = event.target, slides = at.matches("input") && key in TURNS && !turned;          // has its own arrow keys
  if (at.matches("select") || slides || (key === " " && at.matches("button:focus-visible"))) return;
  if (!turned && !KEYS[key]) return;
  event.preventDefault();
  turned ? turn(...turned) : KEYS[key]();
});

/* Turning and zooming by pointer: one turns, two pinch. */
const held = new Map(), gap = () => {
  const [a, b] = [...held.values()];
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
};
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  held.set(event.pointerId, [event.clientX, event.clientY]);
});
canvas.addEventListener("pointermove", event => {
  if (!held.has(event.pointerId)) return;
  const [x, y] = held.get(event.pointerId), before = held.size === 2 && gap();
  held.set(event.pointerId, [event.clientX, event.clientY]);
  if (held.size === 2) zoom(before / gap());
  else turn((x - event.clientX) * 0.008, (event.clientY - y) * 0.006);
});
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, event => {
    held.delete(event.pointerId);
    wake();
  });
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(event.deltaY * 0.001));
}, {passive: false});

all("#boundary canvas").forEach((c, i) => c.addEventListener("click", event => {
  const f = fields.get(shown()[i]);
  const away = data.points.map(([x, y]) => Math.hypot(f.px(x) - event.offsetX, f.py(y) - event.offsetY));
  change({point: away.indexOf(Math.min(...away))});
}));
const scrub = event => {
  const {left, right} = CHART, width = event.target.clientWidth - left - right;
  if (event.buttons) seek((event.offsetX - left) / width * STEPS);
};
for (const kind of ["pointerdown", "pointermove"]) $("#losses canvas").addEventListener(kind, scrub);

$("#time").max = STEPS;
$("#time").addEventListener("input", event => seek(+event.target.value));
$("#speed").addEventListener("change", event => change({speed: +event.target.value}));
$("#play").addEventListener("click", play);
$("#theme").addEventListener("click", KEYS.t);
$("#reset").addEventListener("click", KEYS.r);
$("#compare").addEventListener("click", KEYS.c);
for (const b of buttons("run")) {
  const {label, rule} = data.runs[b.dataset.run];
  Object.assign(b, {textContent: label, title: rule}).style.setProperty("--own", `var(--${b.dataset.run})`);
  b.addEventListener("click", () => pick(b.dataset.run));
}
for (const kind of ["plane", "edges"])
  for (const b of buttons(kind)) b.addEventListener("click", () => arrange({[kind]: b.dataset[kind]}));

/* Frames a second while it plays, and what a frame costs: our script, and WebGL until the pixels are there. */
async function measure(seconds, settle = 4) {
  const begin = performance.now(), times = [], scripts = [];
  change({t: 0, playing: true, drift: true});
  while (performance.now() < begin + 1000 * (settle + seconds)) {
    const time = await new Promise(requestAnimationFrame);
    if (state.t > STEPS - 1) change({t: 0, playing: true});
    if (time > begin + 1000 * settle) { times.push(time); scripts.push(spent); }
  }
  const until = performance.now();
  for (let i = 0; gl && i < 20; i++) {
    drawStage();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
  change({playing: false});
  const mean = list => list.reduce((sum, v) => sum + v, 0) / list.length;
  const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
  return {frames_per_second: 1000 / mean(gaps), slowest_frame_ms: gaps.at(-1), script_ms_per_frame: mean(scripts),
          webgl_ms_per_frame: (performance.now() - until) / 20, surface_pixels: canvas.width * canvas.height};
}
window.vivid = {state, data, forward, backward, draw, arrange, measure, gl};          // for the tests and for you

prepare(data.planes.all, "all");
for (const kind of ["own", "random"]) for (const name of NAMES) prepare(data.planes[kind][name], `${kind} ${name}`);
if (gl) {
  gl.enable(gl.DEPTH_TEST);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
} else $("#missing").hidden = false;
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
new ResizeObserver(() => arrange()).observe($("#stage"));
arrange();
if (!calm) play();
