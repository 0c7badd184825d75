/*
Vivid Descent, 2 of 3: the surface, in WebGL written by hand. Planes become meshes and paths ribbons, on first use; then
a frame is a handful of calls. Labels, balls and rings are drawn on a 2D canvas above. Next: vivid_controls.js.
*/

// The planes: x is direction 1, -z direction 2, both from -1 to 1; y is the logarithm of the loss, from 0 to HIGH.

const HIGH = 0.9, FLOOR = -0.07;

function prepare(plane, id) {
  plane.id = id;
  const n = plane.n, logs = plane.loss.map(Math.log10), names = Object.keys(plane.paths);
  const own = names.flatMap(name => [data.runs[name].loss, plane.paths[name].loss]).flat().map(Math.log10);
  plane.low = Math.min(...logs, ...own);
  plane.high = Math.max(...logs, ...own);
  plane.height = loss => HIGH * (Math.log10(loss) - plane.low) / (plane.high - plane.low);
  plane.y = plane.loss.map(plane.height);
  plane.place = ([a, b]) => [(a - plane.middle[0]) / plane.half, (b - plane.middle[1]) / -plane.half];
  plane.ground = (x, z) => {                                // height of the mesh, between its corners
    const u = (x + 1) / 2 * (n - 1), v = (1 - z) / 2 * (n - 1);
    const i = Math.min(Math.floor(u), n - 2), j = Math.min(Math.floor(v), n - 2);
    const f = u - i, g = v - j, k = j * n + i;
    const row = k => plane.y[k] * (1 - f) + plane.y[k + 1] * f;
    return row(k) * (1 - g) + row(k + n) * g;
  };
}

/* Where a run is at time t, between two steps as well: on the surface, and at its true loss. */
function spot(plane, name, t) {
  const k = Math.min(Math.floor(t), STEPS - 1), f = t - k, at = plane.paths[name].at, loss = data.runs[name].loss;
  const [x, z] = plane.place([0, 1].map(i => at[k][i] * (1 - f) + at[k + 1][i] * f));
  const y = plane.height(loss[k]) * (1 - f) + plane.height(loss[k + 1]) * f;
  return {ball: [x, plane.ground(x, z), z], ring: [x, y, z]};
}

/* Triangles of the surface and of the four walls under its edges: position and normal of each corner. */
function mesh(plane) {
  const n = plane.n, gap = 2 / (n - 1), corners = [], triangles = [], y = (i, j) => plane.y[j * n + i];
  const put = (i, j, height, normal) => corners.push(i * gap - 1, height, 1 - j * gap, ...normal);
  const quads = (a, b, c, d) => triangles.push(a, b, c, b, d, c);
  for (let j = 0; j < n; j++)
    for (let i = 0; i < n; i++) {
      const i0 = Math.max(i - 1, 0), i1 = Math.min(i + 1, n - 1), j0 = Math.max(j - 1, 0), j1 = Math.min(j + 1, n - 1);
      const slope = [(y(i0, j) - y(i1, j)) / (gap * (i1 - i0)), 1, (y(i, j1) - y(i, j0)) / (gap * (j1 - j0))];
      put(i, j, y(i, j), slope.map(s => s / Math.hypot(...slope)));
      if (i < n - 1 && j < n - 1) quads(j * n + i, j * n + i + 1, j * n + i + n, j * n + i + n + 1);
    }
  const walls = [[k => [k, 0], [0, 0, 1]], [k => [k, n - 1], [0, 0, -1]],
                 [k => [0, k], [-1, 0, 0]], [k => [n - 1, k], [1, 0, 0]]];
  for (const [edge, normal] of walls)
    for (let k = 0; k < n; k++) {
      const [i, j] = edge(k), at = corners.length / 6;
      put(i, j, y(i, j), normal);
      put(i, j, FLOOR, normal);
      if (k) quads(at - 2, at - 1, at, at + 1);
    }
  return {corners: new Float32Array(corners), triangles: new Uint32Array(triangles)};
}


// WebGL: one program for surfaces, one for lines

const SURFACE = [`#version 300 es
  uniform mat4 camera; in vec3 place, normal; out vec3 p, n;
  void main() { p = place; n = normal; gl_Position = camera * vec4(place, 1.); }`, `#version 300 es
  precision highp float;
  uniform vec3 eye; uniform vec2 logs; in vec3 p, n; out vec4 pixel;
  const vec3 RAMP[6] = vec3[6](vec3(.07,.09,.29), vec3(.08,.25,.46), vec3(.10,.47,.55), vec3(.31,.68,.56),
                               vec3(.72,.83,.58), vec3(.98,.94,.80));
  void main() {
    float h = clamp(p.y / ${HIGH.toFixed(3)}, 0., 1.), x = h * 4.999, wall = step(abs(n.y), 1e-6);
    vec3 c = mix(RAMP[int(x)], RAMP[int(x) + 1], fract(x));
    float level = mix(logs.x, logs.y, p.y / ${HIGH.toFixed(3)}) * 8.;      // a contour line each eighth of a decade
    float line = 1. - smoothstep(.4, 1.3, abs(fract(level - .5) - .5) / max(fwidth(level), 1e-6));
    vec3 sun = normalize(vec3(-.55, .75, .35)), from = normalize(eye - p), N = normalize(n);
    float light = .5 + .6 * max(dot(N, sun), 0.), shine = pow(max(dot(N, normalize(sun + from)), 0.), 48.);
    c = c * mix(light, .62 + .2 * dot(N, sun), wall) + .16 * shine * (1. - wall);
    pixel = vec4(mix(c, c * .5, line * mix(.6, .25, wall)), 1.);
  }`];

/* Lines as wide as you like: each piece from a to b is a rectangle on the screen, its corners numbered 0 to 3. */
const LINE = [`#version 300 es
  uniform mat4 camera; uniform vec2 size; uniform float width, time; uniform bool round, dotted;
  in vec3 a, b; out vec3 at;                                // at: along the piece, across it, its length; pixels
  void main() {
    int piece = gl_VertexID / 4, corner = gl_VertexID % 4;
    vec4 A = camera * vec4(a, 1.), B = camera * vec4(mix(a, b, clamp(time - float(piece), 0., 1.)), 1.);
    vec2 s = A.xy / A.w * size * .5, e = B.xy / B.w * size * .5, way = e - s;
    float far = float(corner & 1), side = float(corner & 2) - 1., len = length(way), r = width * .5 + 1.;
    way = len > 1e-4 ? way / len : vec2(1., 0.);
    at = vec3(far * len + (round ? r * (2. * far - 1.) : 0.), side * r, len);
    vec4 P = far > .5 ? B : A;
    gl_Position = vec4((s + way * at.x + vec2(-way.y, way.x) * at.y) / size * 2. * P.w, P.z - .002 * P.w, P.w);
    if (dotted && (piece & 1) == 1) gl_Position = vec4(2., 2., 2., 1.);
  }`, `#version 300 es
  precision highp float;
  uniform vec4 colour; uniform float width; in vec3 at; out vec4 pixel;
  void main() {
    float away = length(vec2(at.x - clamp(at.x, 0., at.z), at.y));
    float alpha = colour.a * (1. - smoothstep(width * .5 - .5, width * .5 + .5, away));
    pixel = vec4(colour.rgb * alpha, alpha);
  }`];

const canvas = $("#surface"), gl = canvas.getContext("webgl2", {antialias: false}), buffers = new Map();
const surface = gl && program(SURFACE), line = gl && program(LINE);
let ratio = 2, moving = 2;                                  // pixels a CSS pixel; moving falls where frames are late

function program(sources) {
  const it = gl.createProgram();
  sources.forEach((source, i) => {
    const shader = gl.createShader([gl.VERTEX_SHADER, gl.FRAGMENT_SHADER][i]);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw Error(gl.getShaderInfoLog(shader));
    gl.attachShader(it, shader);
  });
  gl.linkProgram(it);
  return {it, u: name => gl.getUniformLocation(it, name), a: name => gl.getAttribLocation(it, name)};
}

/* A vertex array, made on first use. inputs: name in the shader -> offset in floats; each takes three floats. */
function vertices(key, make) {
  if (!buffers.has(key)) {
    const {of, corners, stride, inputs, triangles} = make(), array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    for (const [name, offset] of Object.entries(inputs)) {
      gl.enableVertexAttribArray(of.a(name));
      gl.vertexAttribPointer(of.a(name), 3, gl.FLOAT, false, 4 * stride, 4 * offset);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
    buffers.set(key, {array, count: triangles.length});
  }
  const found = buffers.get(key);
  gl.bindVertexArray(found.array);
  return found.count;
}

function drawSurface(plane, camera, eye) {
  const count = vertices(plane, () => ({of: surface, stride: 6, inputs: {place: 0, normal: 3}, ...mesh(plane)}));
  gl.useProgram(surface.it);
  gl.uniformMatrix4fv(surface.u("camera"), false, camera);
  gl.uniform3fv(surface.u("eye"), eye);
  gl.uniform2f(surface.u("logs"), plane.low, plane.high);
  gl.depthMask(true);
  gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
}

/* The four corners of each piece of a path, all alike: where the piece starts and ends. */
function ribbon(plane, name, kind) {
  const at = Array.from({length: STEPS + 1}, (_, k) => add(spot(plane, name, k)[kind], [0, 0.004, 0]));   // just above
  const pieces = at.slice(1).map((b, i) => [...at[i], ...b]);
  return {corners: new Float32Array(pieces.flatMap(piece => [piece, piece, piece, piece].flat())),
          triangles: new Uint32Array(pieces.flatMap((_, i) => [0, 1, 2, 1, 3, 2].map(corner => 4 * i + corner)))};
}

/* The path of a run up to now. kind "ball": on the surface, faint behind it; "ring": dotted, at its true loss. */
function drawPath(plane, name, kind, camera, size, wide) {
  vertices(`${plane.id} ${name} ${kind}`,
           () => ({of: line, stride: 6, inputs: {a: 0, b: 3}, ...ribbon(plane, name, kind)}));
  const count = 6 * Math.ceil(state.t), ball = kind === "ball";
  gl.useProgram(line.it);
  gl.depthMask(false);
  gl.uniformMatrix4fv(line.u("camera"), false, camera);
  gl.uniform2fv(line.u("size"), size);
  gl.uniform1f(line.u("time"), state.t);
  gl.uniform1i(line.u("dotted"), !ball);
  const stroke = (width, colour) => {
    gl.uniform1f(line.u("width"), width * ratio);
    gl.uniform1i(line.u("round"), colour[3] === 1);         // round ends overlap, which shows where they are faint
    gl.uniform4fv(line.u("colour"), colour);
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
  };
  if (!ball) return stroke(wide, rgba(LIT[name], 0.75));
  stroke(wide + 3, [0.03, 0.05, 0.12, 1]);
  stroke(wide, rgba(LIT[name]));
  gl.depthFunc(gl.GREATER);
  stroke(wide, rgba(LIT[name], 0.3));
  gl.depthFunc(gl.LEQUAL);
}


// The stage: one plane or two side by side, each with its own piece of the canvas

const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d];
const unit = a => a.map(x => x / Math.hypot(...a));

function panels(width, height) {
  const groups = state.plane === "all" ? [shown()] : shown().map(run => [run]), n = groups.length, TITLE = 44;
  const below = width < 560, w = below ? width : width / n, h = below ? height / n : height;    // below: on a phone
  return groups.map((runs, i) => ({plane: planeOf(runs[0]), runs, w, h: h - TITLE,
                                   x: below ? 0 : i * w, y: (below ? i * h : 0) + TITLE}));
}

/* The camera for a panel: its matrix, by columns; where the eye is; where on the canvas a point appears. */
function look({x, y, w, h}) {
  const {yaw, pitch} = state, far = state.distance * Math.max(1, 1.3 * h / w), target = [0, HIGH * 0.18, 0];
  const back = [Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch)];
  const eye = add(target, back, far), f = back.map(v => -v), r = unit(cross(f, [0, 1, 0])), u = cross(r, f);
  const zoom = 1 / Math.tan(0.29), near = 0.1, last = 40, a = (last + near) / (last - near);
  const row = (axis, scale, shift = 0) => [...axis.map(v => v * scale), -dot(axis, eye) * scale + shift];
  const rows = [row(r, zoom * h / w), row(u, zoom), row(f, a, -2 * last * near / (last - near)), row(f, 1)];
  const project = p => {
    const [X, Y, , W] = rows.map(row => dot(row, [...p, 1]));
    return [x + (X / W + 1) / 2 * w, y + (1 - Y / W) / 2 * h];
  };
  return {camera: new Float32Array([0, 1, 2, 3].flatMap(i => rows.map(row => row[i]))), eye, project};
}

function drawStage() {
  const {w, h} = boxes.get(canvas), parts = panels(w, h);
  if (gl) {
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio))
      [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.depthMask(true);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  }
  const [ctx] = paper($("#labels"));
  for (const part of parts) {
    const {camera, eye, project} = look(part), {plane, runs} = part;
    const order = Object.keys(plane.paths).sort((a, b) => runs.includes(a) - runs.includes(b));  // the chosen on top
    if (gl) {
      const box = [part.x, h - part.y - part.h, part.w, part.h].map(v => Math.round(v * ratio));
      gl.viewport(...box);
      drawSurface(plane, camera, eye);
      for (const name of order) {
        drawPath(plane, name, "ball", camera, box.slice(2), runs.includes(name) ? 4.5 : 2.5);
        if (runs.includes(name)) drawPath(plane, name, "ring", camera, box.slice(2), 1.6);
      }
    }
    labels(ctx, part, project);
    for (const name of order) marker(ctx, plane, name, runs.includes(name), project);
  }
}

const SIDES = {sgd: [1, 1], momentum: [-1, 0], adam: [1, -1]};                // where the tag goes, so that they part

/* The ball on the surface, the ring at the true loss, and a stem between them. */
function marker(ctx, plane, name, chosen, project) {
  const {ball, ring} = spot(plane, name, state.t), [x, y] = project(ball), [rx, ry] = project(ring);
  const r = chosen ? 9 : 6, [sx, sy] = SIDES[name];
  if (chosen) {
    stroke(ctx, [[x, y], [rx, ry]], LIT[name], 1.5);
    for (const [c, width] of [["#0b1020", 5], [LIT[name], 2.5]]) circle(ctx, rx, ry, 6, null, c, width);
  }
  const shade = ctx.createRadialGradient(x - r * 0.35, y - r * 0.4, r * 0.1, x, y, r);
  shade.addColorStop(0, "#fff");
  shade.addColorStop(0.45, LIT[name]);
  shade.addColorStop(1, "#3a2440");
  circle(ctx, x, y, r, shade, "#0b1020", 1);
  tag(ctx, data.runs[name].label, x + sx * (r + 8), y + sy * (r + 8), LIT[name], sx < 0);
}

const PLANES = {all: ["Plane of all three paths", "principal direction"],
                own: ["Plane of its own path", "principal direction"],
                random: ["Random plane, filter-normalized", "random direction"]};

/* Which plane this is and how much of the paths it holds; its two directions, and the scale of the loss. */
function labels(ctx, {plane, runs, x, y, w}, project) {
  const [title, axis] = PLANES[state.plane], narrow = w < 560;
  const percent = path => `${Math.round(100 * path.share)}%`;
  const held = Object.entries(plane.paths).map(([name, path]) => `${data.runs[name].label} ${percent(path)}`);
  letters(ctx, 14, "left").font = "600 14px system-ui, sans-serif";
  write(ctx, state.plane === "all" ? title : `${title}: ${data.runs[runs[0]].label}`, x + 14, y - 24, colour.ink);
  letters(ctx, narrow ? 11 : 12.5, "left");
  write(ctx, `${narrow ? "" : "variance of "}the path in this plane: ${held.join(", ")}`, x + 14, y - 5, colour.soft);

  const [cx] = project([0, FLOOR, 0]);
  const edges = [-1.06, 1.06].map(s => [project([0, FLOOR, s]), project([s, FLOOR, 0])]);
  for (const i of [0, 1]) {                                 // at the two edges in front
    const [tx, ty] = edges.map(pair => pair[i]).reduce((a, b) => b[1] > a[1] ? b : a);
    const text = `${axis} ${i + 1}`, room = ctx.measureText(text).width + 8, left = tx < cx;
    ctx.textAlign = left ? "right" : "left";
    write(ctx, text, left ? Math.max(tx, x + room) : Math.min(tx, x + w - room), ty + 15, colour.soft);
  }
  scale(ctx, plane, x, project);
}

function scale(ctx, plane, x, project) {
  const corners = [[-1, -1], [-1, 1], [1, -1], [1, 1]], across = ([x, z]) => project([x, 0, z])[0];
  const [cx, cz] = corners.reduce((a, b) => across(b) < across(a) ? b : a);               // the leftmost
  ctx.textAlign = "right";
  let last = Infinity;
  for (const tick of TICKS.filter(v => Math.log10(v) > plane.low && Math.log10(v) < plane.high)) {
    const [tx, ty] = project([cx, plane.height(tick), cz]);
    if (last - ty < 14) continue;                           // no room for it
    last = ty;
    stroke(ctx, [[tx - 8, ty], [tx - 2, ty]], colour.soft, 1);
    write(ctx, tick, tx - 11, ty, colour.soft);
  }
  const [lx, ly] = project([cx, HIGH + 0.08, cz]);
  write(ctx, "loss", Math.max(lx - 11, x + 36), ly, colour.soft);
}
