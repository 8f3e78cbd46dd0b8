"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer;
  const began = new Float64Array(bytes(data.bars.began)), took = new Float32Array(bytes(data.bars.took));
  const ended = began.map((time, at) => time + took[at]);
  const lane = new (data.lanes > 0x10000 ? Uint32Array : Uint16Array)(bytes(data.bars.lane)), fate = new Uint8Array(bytes(data.bars.fate));
  const index = new Uint32Array(bytes(data.bars.index)), calls = new Uint32Array(bytes(data.bars.calls));
  const REASONS = ["repeat", "slot", "gate", "rate"];
  const WORDS = { repeat: "its next attempt", slot: "a slot", gate: "the gate", rate: "a rate" };
  const FATES = ["returned", "refused by the server", "failed, to be repeated", "failed", "cut off", "still under way", "waiting, not begun"];
  const FAILED = new Set([1, 2, 3, 4]), UNDER_WAY = 5, WAITING = 6;
  const many = began.length, whole = Math.max(data.seconds, 1e-6);
  const waits = REASONS.map((reason) => {
    const [which, seconds] = data.bars.waits[reason];
    const places = new Uint32Array(bytes(which)), lengths = new Float32Array(bytes(seconds)), full = new Float32Array(many);
    if (lengths.length > places.length) return lengths; // of every bar
    places.forEach((place, at) => { full[place] = lengths[at]; });
    return full;
  });
  const start = new Float64Array(many);
  for (let at = 0; at < many; at++) start[at] = began[at] - waits[0][at] - waits[1][at] - waits[2][at] - waits[3][at];
  const byLane = Array.from({ length: Math.max(1, data.lanes) }, () => []);
  for (let at = 0; at < many; at++) byLane[lane[at]].push(at);
  byLane.forEach((one) => one.sort((a, b) => start[a] - start[b]));
  const inTime = Uint32Array.from(began.keys()).sort((a, b) => began[a] - began[b]);

  const canvas = document.getElementById("chart"), pen = canvas.getContext("2d");
  const tip = document.getElementById("tip"), readout = document.getElementById("readout"), view = document.getElementById("view");
  let from = 0, to = whole, chosen = -1, width = 0, height = 0, asked = false;
  const LEFT = 44, CURVES = 96, FLOW = 46, MARKS = 16, GAP = 10, FOOT = 22, PAPER = 720;
  const top = { curves: 8, flow: 8 + CURVES + GAP, marks: 8 + CURVES + GAP + FLOW + GAP, lanes: 8 + CURVES + GAP + FLOW + GAP + MARKS };
  const CLOCK = [15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400]; // seconds between two labels
  let laneHeight = 16;

  const seconds = (value) => {
    if (value > 0 && value < 0.01) return (1000 * value).toFixed(1) + " ms";
    if (value < 1) return value.toFixed(2) + " s";
    if (value < 99.95) return value.toFixed(1) + " s";
    const whole = Math.round(value), minutes = Math.floor(whole / 60);
    return minutes < 60 ? minutes + " min " + (whole % 60) + " s" : Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
  };
  // A time of the run, as exact as a length of so many seconds beside it needs.
  const moment = (value, length) => {
    const digits = length > 0 ? Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(length)))) : 3;
    return time(value, length >= 100 ? 0 : digits);
  };
  const time = (value, digits) => {
    const rounded = Math.round(Math.max(0, value) * 10 ** digits) / 10 ** digits, hours = Math.floor(rounded / 3600);
    const minutes = Math.floor(rounded / 60) % 60, rest = (rounded - 3600 * hours - 60 * minutes).toFixed(digits);
    return [hours && hours + " h", minutes && minutes + " min", (Number(rest) || !(hours || minutes)) && rest + " s"].filter(Boolean).join(" ");
  };
  const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT - 8);
  const timeAt = (place) => from + ((place - LEFT) / (width - LEFT - 8)) * (to - from);

  function colours() {
    const style = getComputedStyle(document.documentElement), found = {};
    for (const name of ["paper", "ink", "soft", "line", "call", "call2", "failed", "slot", "rate", "gate", "repeat", "refused", "ceiling", "outage", "flow"])
      found[name] = style.getPropertyValue("--" + name).trim();
    return found;
  }

  // How many of these were there, as the mean over each pixel.
  function means(columns, each) {
    const sums = new Float64Array(columns + 2), scale = columns / (to - from);
    each((a, b, weight) => {
      let left = (a - from) * scale, right = (b - from) * scale;
      if (right <= 0 || left >= columns || right <= left) return;
      left = Math.max(0, left); right = Math.min(columns, right);
      const first = Math.floor(left), last = Math.floor(right);
      if (first === last) { sums[first] += weight * (right - left); sums[first + 1] -= weight * (right - left); return; }
      // a difference array: the edges get their share, the middle is whole
      const lead = first + 1 - left, tail = right - last;
      sums[first] += weight * lead; sums[first + 1] += weight * (1 - lead);
      sums[last] += weight * (tail - 1); sums[last + 1] -= weight * tail;
    });
    for (let at = 1; at < columns + 2; at++) sums[at] += sums[at - 1];
    return sums;
  }

  function draw() {
    asked = false;
    const paper = document.documentElement.classList.contains("print");
    const ratio = paper ? 3 : window.devicePixelRatio || 1, room = paper ? 460 : Math.max(120, Math.min(460, window.innerHeight * 0.55));
    width = paper ? PAPER : canvas.clientWidth;
    laneHeight = Math.min(18, room / Math.max(1, data.lanes));
    height = top.lanes + Math.max(24, laneHeight * data.lanes) + FOOT;
    canvas.style.height = paper ? "auto" : height + "px"; // on paper its width is the page's
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = colours(), columns = Math.max(1, Math.floor(width - LEFT - 8));
    pen.fillStyle = ink.paper; pen.fillRect(0, 0, width, height);
    pen.font = "11px system-ui, 'DejaVu Sans', sans-serif"; pen.textBaseline = "middle";
    for (const [a, b] of data.outages) { pen.fillStyle = ink.outage; pen.fillRect(Math.max(LEFT, x(a)), top.curves, Math.max(1, Math.min(width - 8, x(b)) - Math.max(LEFT, x(a))), height - FOOT - top.curves); }
    curves(ink, columns); flow(ink, columns); marks(ink); lanes(ink); axis(ink);
    view.textContent = moment(from, to - from) + " to " + moment(to, to - from);
    Object.assign(document.documentElement.dataset, { drawn: many, lanes: data.lanes, from: from.toFixed(4), to: to.toFixed(4), chosen });
  }

  function curves(ink, columns) {
    const base = top.curves + CURVES;
    const under = means(columns, (add) => { for (let at = 0; at < many; at++) if (fate[at] !== WAITING) add(began[at], ended[at], 1); });
    const waiting = REASONS.map((_, which) => means(columns, (add) => {
      for (let at = 0; at < many; at++) if (waits[which][at] > 0) {
        let since = start[at];
        for (let before = 0; before < which; before++) since += waits[before][at];
        add(since, since + waits[which][at], 1);
      }
    }));
    let most = 1;
    for (let at = 0; at < columns; at++) most = Math.max(most, under[at] + waiting.reduce((sum, one) => sum + one[at], 0));
    for (const [time, limit] of data.ceiling) if (time <= to && limit < 2.5 * most) most = Math.max(most, limit);
    most *= 1.08;
    const y = (value) => base - (value / most) * CURVES;
    const layers = [[ink.call, under], ...REASONS.map((reason, which) => [ink[reason], waiting[which]])];
    const level = new Float64Array(columns), levels = layers.map(([, one]) => { one.forEach((value, at) => { if (at < columns) level[at] += Math.max(0, value); }); return level.slice(); });
    for (let layer = layers.length - 1; layer >= 0; layer--) { // whole shapes, the highest first: columns of their own show seams on paper
      pen.fillStyle = layers[layer][0]; pen.beginPath(); pen.moveTo(LEFT, base);
      levels[layer].forEach((value, at) => { const place = value > 1e-3 ? y(value) : base; pen.lineTo(LEFT + at, place); pen.lineTo(LEFT + at + 1, place); });
      pen.lineTo(LEFT + columns, base); pen.fill();
    }
    pen.strokeStyle = ink.ceiling; pen.lineWidth = 1.5; pen.setLineDash([5, 3]); pen.beginPath();
    data.ceiling.forEach(([time, limit], at) => {
      const next = at + 1 < data.ceiling.length ? data.ceiling[at + 1][0] : whole, level = Math.max(top.curves, y(limit));
      if (next < from || time > to) return;
      pen.lineTo(Math.max(LEFT, x(time)), level); pen.lineTo(Math.min(width - 8, x(next)), level);
    });
    pen.stroke(); pen.setLineDash([]);
    label(ink, Math.round(most / 1.08).toLocaleString("en"), y(most / 1.08)); label(ink, "0", base); side(ink, "calls", top.curves + CURVES / 2);
  }

  function flow(ink, columns) {
    const base = top.flow + FLOW, step = 5, bins = new Float64Array(Math.ceil(columns / step) + 1), scale = columns / (to - from);
    for (let at = 0; at < many; at++) {
      if (fate[at] !== 0 || ended[at] < from || ended[at] > to) continue;
      bins[Math.floor(((ended[at] - from) * scale) / step)] += calls.length ? calls[at] : 1;
    }
    const most = bins.reduce((a, b) => Math.max(a, b), 0) || 1, perSecond = most / (step / scale);
    pen.fillStyle = ink.flow;
    bins.forEach((value, at) => { if (value) pen.fillRect(LEFT + at * step, base - (value / most) * FLOW, step - 1, (value / most) * FLOW); });
    pen.strokeStyle = ink.line; pen.lineWidth = 1; pen.beginPath(); pen.moveTo(LEFT, base + 0.5); pen.lineTo(width - 8, base + 0.5); pen.stroke();
    label(ink, (perSecond < 10 ? perSecond.toFixed(1) : perSecond < 10000 ? String(Math.round(perSecond)) : Math.round(perSecond / 1000) + "k") + "/s", top.flow + 6); side(ink, "answers", top.flow + FLOW / 2);
  }

  function marks(ink) {
    pen.fillStyle = ink.refused;
    for (const [time] of data.refusals) {
      if (time < from || time > to) continue;
      const place = x(time), tip_ = top.marks + MARKS - 3;
      pen.beginPath(); pen.moveTo(place - 4, tip_ - 9); pen.lineTo(place + 4, tip_ - 9); pen.lineTo(place, tip_); pen.fill();
    }
  }

  function lanes(ink) {
    const room = Math.max(0.6, laneHeight - (laneHeight > 4 ? 2 : 0)), right = width - 8;
    const bar = (colour, a, b, y) => {
      const left = Math.max(LEFT, x(a)), end = Math.min(right, x(b));
      if (end < LEFT || left > right || b < from || a > to) return;
      pen.fillStyle = colour; pen.fillRect(left, y, Math.max(0.7, end - left), room);
    };
    for (let row = 0; row < data.lanes; row++) {
      const y = top.lanes + row * laneHeight;
      let odd = false;
      for (const at of byLane[row]) {
        odd = !odd;
        if (ended[at] < from || start[at] > to) continue;
        if (!calls.length || calls[at] === 1) {
          let since = start[at];
          REASONS.forEach((reason, which) => { const length = waits[which][at]; if (length > 0) { bar(ink[reason], since, since + length, y); since += length; } });
        }
        if (fate[at] !== WAITING) bar(FAILED.has(fate[at]) ? ink.failed : odd ? ink.call : ink.call2, began[at], ended[at], y);
        if (at === chosen) { pen.strokeStyle = ink.ink; pen.lineWidth = 2; pen.strokeRect(Math.max(LEFT, x(start[at])) - 1, y - 1, Math.max(3, Math.min(right, x(ended[at])) - Math.max(LEFT, x(start[at]))) + 2, room + 2); }
      }
    }
    if (data.lanes) side(ink, "lanes", top.lanes + Math.max(10, (laneHeight * data.lanes) / 2));
  }

  function axis(ink) {
    const wanted = Math.max(2, Math.floor((width - LEFT) / 110)), rough = (to - from) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const steps = rough <= 10 ? [1, 2, 5, 10].map((one) => one * power) : CLOCK.concat([1, 2, 5, 10].map((one) => one * 86400 * 10 ** Math.max(0, Math.floor(Math.log10(rough / 86400)))));
    const step = steps.find((one) => one >= rough) || rough, digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    pen.fillStyle = ink.soft; pen.textAlign = "center";
    for (let at = Math.ceil(from / step) * step; at <= to + step * 1e-6; at += step) {
      const place = x(at);
      pen.fillStyle = ink.line; pen.fillRect(place, height - FOOT, 1, 4);
      if (place > width - 24) continue;
      pen.fillStyle = ink.soft; pen.fillText(time(at, digits), place, height - FOOT / 2 + 2);
    }
    pen.textAlign = "left";
  }
  function label(ink, text, y) { pen.fillStyle = ink.soft; pen.textAlign = "right"; pen.fillText(text, LEFT - 4, y); pen.textAlign = "left"; }
  function side(ink, text, y) { pen.save(); pen.translate(8, y); pen.rotate(-Math.PI / 2); pen.fillStyle = ink.soft; pen.textAlign = "center"; pen.fillText(text, 0, 0); pen.restore(); pen.textAlign = "left"; }
  const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };

  function about(at) {
    const joined = calls.length && calls[at] > 1;
    const lines = [joined ? calls[at] + " calls, from item " + index[at] : "item " + index[at] + ": " + FATES[fate[at]]];
    REASONS.forEach((reason, which) => { if (waits[which][at] > 0) lines.push("waited " + seconds(waits[which][at]) + " for " + WORDS[reason]); });
    if (fate[at] !== WAITING) lines.push((joined ? "together " : fate[at] === UNDER_WAY ? "under way for " : "took ") + seconds(took[at]) + ", from " + moment(began[at], took[at]) + " to " + moment(ended[at], took[at]));
    return lines;
  }
  function find(place, y) {
    if (y >= top.marks && y < top.lanes) {
      const near = data.refusals.find(([time]) => Math.abs(x(time) - place) < 6);
      return near ? { lines: ["item " + near[1] + " was refused: " + near[2], near[3] ? "the server asked to wait " + seconds(near[3]) : "no wait was named"], at: -1 } : null;
    }
    const row = Math.floor((y - top.lanes) / laneHeight);
    if (row < 0 || row >= data.lanes) return null;
    const time = timeAt(place), slack = (to - from) / Math.max(1, width) * 3, line = byLane[row];
    let low = 0, high = line.length;
    while (low < high) { const middle = (low + high) >> 1; if (start[line[middle]] <= time + slack) low = middle + 1; else high = middle; }
    const at = line[low - 1];
    return low && ended[at] >= time - slack ? { lines: about(at), at } : null;
  }
  function show(found, place, y) {
    tip.hidden = !found;
    if (!found) return;
    tip.textContent = found.lines.join("\n");
    tip.style.left = Math.max(4, Math.min(place + 12, width - tip.offsetWidth - 6)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, height - tip.offsetHeight - 4)) + "px";
  }
  function choose(at) {
    chosen = at;
    if (at >= 0) {
      readout.textContent = about(at).join(", ");
      const span = to - from;
      if (ended[at] < from || start[at] > to) { from = Math.max(0, Math.min(whole - span, start[at] - span / 3)); to = from + span; }
    }
    redraw();
  }
  function zoom(factor, centre) {
    const span = Math.max(Math.min(whole, 1e-3), Math.min(whole, (to - from) * factor)), share = (centre - from) / (to - from);
    from = Math.max(0, Math.min(whole - span, centre - share * span)); to = from + span; redraw();
  }
  function pan(by) { const span = to - from; from = Math.max(0, Math.min(whole - span, from + by)); to = from + span; redraw(); }
  function key(name) {
    const middle = chosen >= 0 ? Math.min(to, Math.max(from, (start[chosen] + ended[chosen]) / 2)) : (from + to) / 2, place = chosen < 0 ? -1 : inTime.indexOf(chosen);
    if (name === "+" || name === "=") zoom(0.5, middle);
    else if (name === "-") zoom(2, middle);
    else if (name === "0" || name === "Home") { from = 0; to = whole; redraw(); }
    else if (name === "ArrowLeft") pan(-(to - from) / 8);
    else if (name === "ArrowRight") pan((to - from) / 8);
    else if (name === "ArrowDown" && many) choose(inTime[Math.min(many - 1, place + 1)]);
    else if (name === "ArrowUp" && many) choose(inTime[Math.max(0, place - 1)]);
    else if (name === "Escape") { choose(-1); show(null); }
    else return false;
    return true;
  }
  canvas.addEventListener("keydown", (event) => { if (!event.ctrlKey && !event.metaKey && !event.altKey && key(event.key)) event.preventDefault(); });
  document.querySelectorAll("button[data-key]").forEach((button) => button.addEventListener("click", () => key(button.dataset.key)));
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) { event.preventDefault(); zoom(Math.exp(event.deltaY / 240), timeAt(event.offsetX)); }
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { event.preventDefault(); pan((event.deltaX / width) * (to - from)); }
  }, { passive: false });

  const fingers = new Map();
  let moved = 0;
  const spread = () => { const [a, b] = [...fingers.values()]; return { apart: Math.max(12, Math.abs(a - b)), middle: (a + b) / 2 }; };
  canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, event.offsetX); moved = 0; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) { show(find(event.offsetX, event.offsetY), event.offsetX, event.offsetY); return; }
    const before = fingers.get(event.pointerId), pair = fingers.size === 2 ? spread() : null;
    fingers.set(event.pointerId, event.offsetX); moved += Math.abs(event.offsetX - before);
    if (pair) { const now = spread(); zoom(pair.apart / now.apart, timeAt(now.middle)); }
    else if (moved > 4) { tip.hidden = true; pan(((before - event.offsetX) / (width - LEFT)) * (to - from)); }
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    if (event.type !== "pointerup" || moved > 4) return;
    const found = find(event.offsetX, event.offsetY);
    show(found, event.offsetX, event.offsetY);
    if (found && found.at >= 0) choose(found.at); else if (found) readout.textContent = found.lines.join(", ");
  };
  canvas.addEventListener("pointerup", lift); canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); draw(); });
  window.addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); draw(); });
  canvas.setAttribute("aria-label", "Timeline of the run: " + many + " bars in " + data.lanes + " lanes. " + document.getElementById("why").textContent);
  draw();
})();
