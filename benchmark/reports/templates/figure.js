// One figure with all curves. Its values stand in the page as JSON; uPlot draws axes and lines, the rest is drawn beside them.
for (const figure of document.querySelectorAll("figure[data-figure]")) {
  const data = JSON.parse(document.getElementById(figure.dataset.figure).textContent);
  const part = (name) => figure.querySelector(`[data-part="${name}"]`);
  const area = part("area"), tip = part("tip"), reading = part("reading"), legend = part("legend");
  const names = [...new Set(data.views.flatMap((view) => view.series.map((one) => one.name)))];
  const shown = new Set(names);
  const MANY = 6;
  let view = data.views[0], plot = null, focus = null, at = null, bands = names.length <= MANY;
  const number = (value, signed) => value === null ? "–" : (signed && value > 0 ? "+" : "") + value.toFixed(2);
  const count = (value) => value.toLocaleString("en");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const listed = () => view.series.filter((one) => shown.has(one.name) && (one.ours.length || one.published.length));

  // Markers by matplotlib's letters, so that they are those of the printed panels.
  const corners = {
    s: [[-1, -1], [1, -1], [1, 1], [-1, 1]], D: [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]],
    "^": [[0, -1.2], [1.2, 1], [-1.2, 1]], v: [[0, 1.2], [1.2, -1], [-1.2, -1]],
    "<": [[-1.2, 0], [1, -1.2], [1, 1.2]], ">": [[1.2, 0], [-1, -1.2], [-1, 1.2]],
    P: [[-.4, -1.2], [.4, -1.2], [.4, -.4], [1.2, -.4], [1.2, .4], [.4, .4], [.4, 1.2], [-.4, 1.2], [-.4, .4], [-1.2, .4], [-1.2, -.4], [-.4, -.4]],
    X: [[-1.2, -.7], [-.7, -1.2], [0, -.5], [.7, -1.2], [1.2, -.7], [.5, 0], [1.2, .7], [.7, 1.2], [0, .5], [-.7, 1.2], [-1.2, .7], [-.5, 0]],
  };
  const turned = (points, step, inner) => Array.from({ length: points }, (_, k) => {
    const angle = -Math.PI / 2 + k * step, r = inner && k % 2 ? inner : 1.3;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  });
  corners.p = turned(5, 2 * Math.PI / 5);
  corners["*"] = turned(10, Math.PI / 5, .6);
  const mark = (path, marker, x, y, r) => {
    const edge = corners[marker];
    if (!edge) { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); return; }
    edge.forEach(([dx, dy], k) => path[k ? "lineTo" : "moveTo"](x + r * dx, y + r * dy));
    path.closePath();
  };
  const points = (one, hollow) => ({
    show: true, size: 7, width: 1.4, stroke: one.colour, fill: hollow ? style("--paper") : one.colour,
    paths: (u, series, first, last) => {
      const path = new Path2D(), xs = u.data[0], ys = u.data[series];
      for (let k = first; k <= last; k++)
        if (ys[k] != null) mark(path, one.marker, u.valToPos(xs[k], "x", true), u.valToPos(ys[k], "y", true), 3.2 * devicePixelRatio);
      return { stroke: path, fill: path, clip: null, flags: 3 };
    },
  });

  const draw = () => {
    const from = view.series, ink = style("--ink"), grid = style("--line");
    const xs = [...new Set(from.flatMap((one) => [...one.ours, ...one.published].map((point) => point[0])))].sort((a, b) => a - b);
    const column = (list) => { const held = new Map(list.map((p) => [p[0], p[1]])); return xs.map((x) => held.get(x) ?? null); };
    const series = [{}], values = [xs];
    for (const one of from) {
      const show = shown.has(one.name);
      series.push({ label: one.name, show, stroke: one.colour, width: 2, spanGaps: true, points: points(one, false) });
      series.push({ label: `${one.name}, published`, show, stroke: one.colour, width: 1.2, dash: [5, 4], spanGaps: true, points: points(one, true) });
      values.push(column(one.ours), column(one.published));
    }
    const banded = (one) => bands || (focus && focus.name === one.name);
    const limits = () => {
      const held = listed().flatMap((one) => [
        ...one.ours.flatMap((p) => banded(one) && p[2] !== null ? [p[1] - p[2], p[1] + p[2]] : [p[1]]),
        ...one.published.flatMap((p) => p[2] ? [p[1] - p[2], p[1] + p[2]] : [p[1]]),
      ]);
      if (view.line && (view.line[1] === 0 || !held.length)) held.push(view.line[1]);
      return uPlot.rangeNum(Math.min(...held), Math.max(...held), 0.06, false);
    };
    const beneath = (u) => {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      for (const one of listed()) {
        const held = one.ours.filter((p) => p[2] !== null);
        if (!banded(one) || held.length < one.ours.length) continue;
        ctx.beginPath();
        for (const p of held) ctx.lineTo(u.valToPos(p[0], "x", true), u.valToPos(p[1] + p[2], "y", true));
        for (const p of [...held].reverse()) ctx.lineTo(u.valToPos(p[0], "x", true), u.valToPos(p[1] - p[2], "y", true));
        ctx.closePath();
        ctx.globalAlpha = .2;
        ctx.fillStyle = one.colour;
        ctx.fill();
        ctx.globalAlpha = 1;
      }
      for (const one of listed()) for (const p of one.published) {
        if (!p[2]) continue;
        const x = u.valToPos(p[0], "x", true);
        ctx.beginPath();
        ctx.moveTo(x, u.valToPos(p[1] - p[2], "y", true));
        ctx.lineTo(x, u.valToPos(p[1] + p[2], "y", true));
        ctx.strokeStyle = one.colour;
        ctx.lineWidth = devicePixelRatio;
        ctx.stroke();
      }
      if (view.line) {
        const y = u.valToPos(view.line[1], "y", true);
        ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.strokeStyle = ink;
        ctx.lineWidth = 1.2 * devicePixelRatio;
        ctx.stroke();
        ctx.fillStyle = ink;
        ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
        ctx.textAlign = "right";
        ctx.textBaseline = "bottom";
        ctx.fillText(view.line[0], bbox.left + bbox.width - 4 * devicePixelRatio, y - 4 * devicePixelRatio);
      }
      ctx.restore();
    };
    const axis = (label) => ({ label, stroke: ink, grid: { stroke: grid, width: .6 }, ticks: { stroke: grid }, font: "12px system-ui, sans-serif", labelFont: "13px system-ui, sans-serif" });
    const wide = xs.length > 1 && xs[0] > 0 && xs[xs.length - 1] / xs[0] > 60;
    plot?.destroy();
    plot = new uPlot({
      width: area.clientWidth, height: height(), series, legend: { show: false }, focus: { alpha: .25 },
      cursor: { drag: { x: true, y: true, uni: 40 }, points: { show: false }, y: false },
      scales: { x: { time: false, distr: wide ? 3 : 1 }, y: { range: limits } },
      axes: [{ ...axis("labelled images"), values: (u, splits) => splits.map((x) => x === null ? "" : count(x)) }, { ...axis(view.axis), size: 56 }],
      hooks: { drawAxes: [beneath], setCursor: [hover] },
    }, values, area);
    plot.over.addEventListener("mouseleave", () => point(null));
  };
  const height = () => Math.max(300, Math.min(460, Math.round(.62 * area.clientWidth)));

  const words = (one, x) => {
    const ours = one.ours.find((p) => p[0] === x), theirs = one.published.find((p) => p[0] === x), signed = view !== data.views[0] || data.what === "suite";
    const parts = [];
    if (ours) {
      const [, mean, half, n] = ours;
      parts.push(`ours ${number(mean, signed)}` + (half === null ? "" : ` [${number(mean - half, signed)}, ${number(mean + half, signed)}]`) + `, n=${n}`);
    }
    if (theirs) parts.push(`published ${number(theirs[1], signed)}` + (theirs[2] ? ` ± ${number(theirs[2])}` : ""));
    return `${one.name} at ${count(x)}: ${parts.join("; ")}`;
  };
  // What the pointer or the keyboard is at: one series at one size.
  const point = (one, x) => {
    const changed = focus?.name !== one?.name;
    focus = one;
    at = one ? x : null;
    if (changed && plot) {
      const place = one ? 1 + 2 * view.series.indexOf(one) : null;
      plot.setSeries(place, { focus: true }, false);
      if (one) plot.series[place + 1].alpha = 1;
      plot.redraw(false);
    }
    tip.hidden = !one;
    reading.textContent = one ? words(one, x) : "";
    if (!one) return;
    tip.textContent = words(one, x);
    const p = one.ours.find((q) => q[0] === x) ?? one.published.find((q) => q[0] === x);
    const left = plot.over.offsetLeft + plot.valToPos(x, "x"), top = plot.over.offsetTop + plot.valToPos(p[1], "y");
    tip.style.left = `${Math.max(0, Math.min(left + 12, area.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, top - tip.offsetHeight - 10)}px`;
  };
  const hover = (u) => {
    if (u.cursor.idx == null || u.cursor.left < 0) return;
    const x = u.data[0][u.cursor.idx];
    let best = null, gap = Infinity;
    for (const one of listed()) for (const p of [...one.ours, ...one.published]) {
      const far = Math.abs(u.valToPos(p[1], "y") - u.cursor.top);
      if (p[0] === x && far < gap) { gap = far; best = one; }
    }
    if (best && (best !== focus || x !== at)) point(best, x);
  };
  area.addEventListener("keydown", (event) => {
    const all = listed(), steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") point(null);
    if (!(event.key in steps) || !all.length) return;
    event.preventDefault();
    const [dx, dy] = steps[event.key], held = Math.max(0, all.indexOf(focus));
    const one = focus ? all[(held + dy + all.length) % all.length] : all[0];
    const sizes = [...new Set([...one.ours, ...one.published].map((p) => p[0]))].sort((a, b) => a - b);
    const near = sizes.reduce((a, b) => Math.abs(b - (at ?? sizes[0])) < Math.abs(a - (at ?? sizes[0])) ? b : a);
    point(one, focus ? sizes[Math.max(0, Math.min(sizes.length - 1, sizes.indexOf(near) + dx))] : sizes[0]);
  });
  area.addEventListener("blur", () => point(null));

  const show = () => {
    for (const button of legend.querySelectorAll("button[data-name]")) button.setAttribute("aria-pressed", shown.has(button.dataset.name));
    point(null);
    draw();
  };
  const only = (name) => { const alone = shown.size === 1 && shown.has(name); shown.clear(); (alone ? names : [name]).forEach((one) => shown.add(one)); show(); };
  for (const name of names) {
    const one = data.views[0].series.find((item) => item.name === name);
    const item = document.createElement("li"), toggle = document.createElement("button"), alone = document.createElement("button");
    const swatch = document.createElement("canvas"), scale = Math.max(1, devicePixelRatio);
    swatch.width = 22 * scale; swatch.height = 12 * scale;
    swatch.setAttribute("aria-hidden", "true");
    const ctx = swatch.getContext("2d"), path = new Path2D();
    ctx.strokeStyle = ctx.fillStyle = one.colour;
    ctx.lineWidth = 2 * scale;
    ctx.beginPath(); ctx.moveTo(0, 6 * scale); ctx.lineTo(22 * scale, 6 * scale); ctx.stroke();
    mark(path, one.marker, 11 * scale, 6 * scale, 3.6 * scale);
    ctx.fill(path);
    toggle.type = alone.type = "button";
    toggle.dataset.name = name;
    toggle.append(swatch, name);
    toggle.title = "Hide or show; double click: this one only";
    alone.textContent = "only";
    alone.dataset.only = name;
    alone.setAttribute("aria-label", `Show ${name} only, or all again`);
    toggle.addEventListener("click", (event) => {
      if (event.detail > 1) return;
      shown.has(name) ? shown.delete(name) : shown.add(name);
      show();
    });
    toggle.addEventListener("dblclick", () => only(name));
    alone.addEventListener("click", () => only(name));
    item.append(toggle, alone);
    legend.append(item);
  }
  part("all").addEventListener("click", () => { names.forEach((name) => shown.add(name)); show(); });
  part("bands").checked = bands;
  part("bands").addEventListener("change", (event) => { bands = event.target.checked; draw(); });
  for (const choice of figure.querySelectorAll("input[data-view]"))
    choice.addEventListener("change", () => { view = data.views[+choice.dataset.view]; point(null); draw(); });
  figure.hidden = false;
  show();
  new ResizeObserver(() => { if (plot && area.clientWidth && area.clientWidth !== plot.width) plot.setSize({ width: area.clientWidth, height: height() }); }).observe(area);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
