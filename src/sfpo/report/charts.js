// Draws a figure of content.py with Observable Plot. Colours are CSS variables, so a new theme needs no redrawing.
"use strict";

const charts = (() => {
  const FORMATS = {
    number: d3.format(".4~g"),
    integer: d3.format(",.6~g"),
    percent: (value) => d3.format(".1f")(100 * value),
    times: (value) => `${d3.format(".2f")(value)}×`,
  };
  const TICKS = {
    number: (value) => d3.format(Math.abs(value) >= 1e4 ? ".3~s" : ".4~g")(value),
    integer: d3.format(".4~s"),
    percent: (value) => d3.format(".4~g")(100 * value),
    // The label of the axis says that they are times.
    times: (value) => d3.format(".3~g")(value),
  };
  // What a logarithmic vertical axis marks within each power of ten.
  const STEPS_OF_TEN = [1, 2, 5];

  const MOST_BANDS = 6;
  // The top of an axis whose values are all 0.
  const FLAT = { number: 1, integer: 1, percent: 0.1, times: 1 };

  function variable({ light, dark }) {
    const name = `--c${light.slice(1)}-${dark.slice(1)}`;
    document.documentElement.style.setProperty(name, `light-dark(${light}, ${dark})`);
    return `var(${name})`;
  }

  // "lookahead,learning_rate=3e-4: 12.3 (11.9–12.8)": the text for a hovered point and for a cell in the table of values.
  function spoken(point, axis) {
    const format = FORMATS[axis.form];
    const band = point.low === null || point.high === null ? "" : ` (${format(point.low)} to ${format(point.high)})`;
    return `${format(point.y)}${axis.form === "percent" ? " %" : ""}${band}`;
  }

  function points(series) {
    return series.x.map((x, index) => ({
      name: series.name,
      x,
      y: series.y[index],
      low: series.low[index] ?? null,
      high: series.high[index] ?? null,
    }));
  }

  function scale(axis, values) {
    const options = { label: axis.label, tickFormat: TICKS[axis.form], labelArrow: "none", type: axis.log ? "log" : "linear" };
    // Steps and passes have no values in between.
    if (axis.form === "integer" && !axis.log) {
      const [low, high] = d3.extent(values);
      if (high - low < 8) options.ticks = d3.range(Math.ceil(low), high + 1);
    }
    return options;
  }

  function horizontal(axis, values) {
    const options = scale(axis, values);
    // A swept setting has its ticks at its values.
    if (axis.log) {
      options.ticks = [...new Set(values)];
      options.tickFormat = (value) => (value < 1e-3 ? d3.format("~e") : TICKS[axis.form])(value);
    }
    return options;
  }

  function vertical(axis, [low, high]) {
    const options = { ...scale(axis, [low, high]), nice: !axis.log, ticks: 5 };
    if (axis.log) {
      const tens = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
      options.ticks = tens.flatMap((ten) => STEPS_OF_TEN.map((step) => step * 10 ** ten)).filter((tick) => tick >= low && tick <= high);
    }
    return options;
  }

  // The part of a figure in which the second half of its curves lies, where they are close to their ceiling.
  function lateHalf(figure) {
    const xs = figure.series.flatMap(({ x }) => x).filter((x) => x !== null);
    const [first, last] = d3.extent(xs);
    const from = first + (last - first) / 2;
    const banded = figure.series.length <= MOST_BANDS;
    const ys = figure.series.flatMap((series) => points(series))
      .filter((point) => point.x >= from && point.y !== null)
      .flatMap(({ y, low, high }) => (banded && low !== null ? [y, low, high] : [y]));
    const [bottom, top] = d3.extent(ys);
    const room = (top - bottom || 0.01) * 0.05;
    return { x: [from, last], y: figure.y.log ? [bottom, top] : [bottom - room, top + room] };
  }

  // `zoom`: the ranges of x and y to show, null for all.
  function curves(figure, width, zoom) {
    const clip = zoom !== null;
    const inside = (point) => !zoom || (point.x >= zoom.x[0] && point.x <= zoom.x[1] && point.at >= zoom.y[0] && point.at <= zoom.y[1]);
    const marks = [Plot.gridY({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 })];
    const all = [];
    if (figure.shades.length) {
      marks.push(Plot.rectX(figure.shades, { x1: "0", x2: "1", fill: "var(--shade)", fillOpacity: 0.09, clip }));
    }
    marks.push(Plot.ruleY(figure.levels, { y: "value", stroke: "var(--soft)", strokeDasharray: "5 4" }));
    // Many overlapping bands hide the lines that they belong to.
    const banded = figure.series.length <= MOST_BANDS;
    const area = ({ style }) => style === "area";
    const drawn = figure.series.map((series) => ({ series, data: points(series), color: variable(series.color) }));
    for (const { series, data, color } of drawn) {
      if (series.low.length && (area(series) || banded)) {
        const options = { x: "x", y1: "low", y2: "high", fill: color, fillOpacity: area(series) ? 0.75 : 0.16, ariaDescription: series.name, clip };
        marks.push(Plot.areaY(data, options));
      }
    }
    for (const { series, data, color } of drawn) {
      const known = data.filter((point) => point.y !== null);
      // For an area, the pointer marks its top and the text gives its own height.
      all.push(...known.map((point) => ({ ...point, at: area(series) ? point.high : point.y, color })).filter(inside));
      const markers = series.style === "points" || (series.style === "line" && data.length <= 12);
      const at = { x: "x", y: "y", ariaDescription: series.name, clip };
      if (series.style === "line" || series.style === "step") {
        const stroke = { stroke: color, strokeWidth: 1.8, strokeDasharray: series.dash.join(" ") || null, strokeLinejoin: "round" };
        marks.push(Plot.lineY(data, { ...at, ...stroke, curve: series.style === "step" ? "step" : "linear" }));
      }
      if (markers) marks.push(Plot.dot(known, { ...at, fill: color, r: 2.8 }));
    }
    marks.push(
      Plot.text(figure.levels, {
        y: "value", text: "label", frameAnchor: "right", textAnchor: "end", dy: -7,
        fill: "var(--soft)", stroke: "var(--card)", strokeWidth: 4,
      }),
    );
    const pointer = figure.series.length > 1 ? Plot.pointer : Plot.pointerX;
    const at = { x: "x", y: "at", maxRadius: figure.series.length > 1 ? 70 : 1000 };
    const ofArea = (point) => figure.series.some((series) => series.name === point.name && area(series));
    const title = (point) =>
      [
        figure.series.length > 1 ? `${point.name}\n` : "",
        `${figure.x.label}: ${FORMATS[figure.x.form](point.x)}\n`,
        `${figure.y.label.replace(" (%)", "")}: ${spoken(ofArea(point) ? { ...point, low: null } : point, figure.y)}`,
      ].join("");
    marks.push(
      Plot.dot(all, pointer({ ...at, r: 5, fill: "color", stroke: "var(--card)", strokeWidth: 2 })),
      Plot.tip(all, pointer({ ...at, title, lineWidth: 26, lineHeight: 1.3, fontSize: 12.5, stroke: "var(--soft)", pathFilter: "none" })),
    );
    const ys = figure.series.flatMap((series) => [...series.y, ...(banded ? [...series.low, ...series.high] : [])]).filter((y) => y !== null);
    const [low, high] = d3.extent([...ys, ...figure.levels.map(({ value }) => value)]);
    const whole = low === high ? [Math.min(0, low), Math.max(0, high) || FLAT[figure.y.form]] : [low, high];
    const xs = figure.series.flatMap((series) => series.x).filter((x) => x !== null);
    const ticks = Math.max(3, Math.floor(width / 90));
    const x = { ...horizontal(figure.x, zoom?.x ?? xs), insetLeft: 4, insetRight: 4 };
    const y = { ...vertical(figure.y, zoom?.y ?? whole), domain: zoom?.y ?? whole };
    return plot(figure, {
      width, height: Math.round(Math.min(300, Math.max(220, width * 0.55))), marginLeft: 54, marginTop: 28, marginBottom: 40,
      marginRight: 16, x: { ...x, ticks: x.ticks ?? ticks, ...(zoom ? { domain: zoom.x } : {}) },
      y: zoom ? { ...y, nice: false } : y, color: { type: "identity" }, marks,
    });
  }

  // A text in lines of at most `most` characters where it has spaces to break at.
  function inLines(text, most) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (longer.length > most && lines.at(-1)) lines.push(word);
      else lines[lines.length - 1] = longer;
    }
    return lines;
  }

  // A label and a text above each row, the text below the label if they do not fit side by side.
  function rows(figure, width, makeMarks, domain, text) {
    const most = Math.floor((width - 24) / 7);
    const heads = figure.rows.map((row) => {
      const beside = row.label.length + text(row).length + 2 <= most;
      return { label: row.label, lines: inLines(row.label, most), text: inLines(text(row), most), beside };
    });
    const line = 16;
    const headLines = d3.max(heads, ({ lines, text, beside }) => lines.length + (beside ? 0 : text.length)) ?? 1;
    const step = 28 + line * headLines;
    const marks = makeMarks(step);
    const ticks = Math.max(3, Math.floor(width / 110));
    const at = { y: "label", fill: "currentColor", stroke: "var(--card)", strokeWidth: 4, lineAnchor: "top", dy: 6 - step / 2, lineHeight: line / 12 };
    const left = { frameAnchor: "left", textAnchor: "start" };
    const right = { frameAnchor: "right", textAnchor: "end" };
    const label = ({ lines }) => lines.join("\n");
    return plot(figure, {
      width, height: step * figure.rows.length + 48, marginLeft: 8, marginRight: 12, marginTop: 8, marginBottom: 40,
      x: { ...scale(figure.x, domain), domain, nice: true, ticks },
      y: { domain: figure.rows.map((row) => row.label), axis: null, type: "band", padding: 0 },
      marks: [
        Plot.gridX({ ticks, stroke: "var(--line)", strokeOpacity: 1 }),
        ...marks,
        Plot.text(heads, { ...at, ...left, text: label, fontWeight: 600 }),
        Plot.text(heads.filter(({ beside }) => beside), { ...at, ...right, text: ({ text }) => text.join("\n") }),
        Plot.text(heads.filter(({ beside }) => !beside), {
          ...at, ...left, text: ({ lines, text }) => `${"\n".repeat(lines.length)}${text.join("\n")}`,
        }),
      ],
    });
  }

  function intervals(figure, width) {
    const known = figure.rows.filter((row) => row.value !== null);
    const most = d3.max(known, (row) => row.high ?? row.value) ?? 0;
    const color = (row) => variable(row.color);
    const ranges = known.filter((row) => row.low !== null && row.high !== null);
    const marks = (step) => [
      Plot.ruleX([figure.reference], { stroke: "var(--soft)", strokeDasharray: "5 4" }),
      Plot.ruleY(ranges, { y: "label", x1: "low", x2: "high", stroke: color, strokeWidth: 4, strokeOpacity: 0.45, dy: step / 2 - 13, strokeLinecap: "round" }),
      Plot.dot(known, { y: "label", x: "value", fill: color, r: 5.5, dy: step / 2 - 13, tip: { pointer: "y", lineHeight: 1.3 }, title: (row) => `${row.label}\n${row.text}` }),
    ];
    return rows(figure, width, marks, [0, Math.max(figure.reference, most) * 1.05], (row) => row.text);
  }

  function bars(figure, width) {
    const stacked = figure.rows.flatMap((row) => {
      let end = 0;
      return figure.parts.map(([name, color], index) => {
        const value = row.values[index];
        return { label: row.label, name, value, color: variable(color), x1: end, x2: (end += value) };
      });
    });
    const format = FORMATS[figure.x.form];
    const marks = (step) => [
      Plot.rect(stacked, {
        y: "label", x1: "x1", x2: "x2", fill: "color", insetTop: step - 22, insetBottom: 8, insetRight: 1,
        tip: { pointer: "xy", lineHeight: 1.3 }, title: (part) => `${part.label}\n${part.name}: ${format(part.value)} ${figure.unit}`,
      }),
    ];
    const total = (row) => figure.parts.map(([name], index) => `${name} ${d3.format(".3~g")(row.values[index])} ${figure.unit}`).join(" + ");
    return rows(figure, width, marks, [0, d3.max(stacked, (part) => part.x2)], total);
  }

  function plot(figure, options) {
    const svg = Plot.plot({ style: { background: "none", fontSize: "12px", color: "var(--ink)" }, ...options });
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${figure.title}. ${figure.caption} The values are in the table below.`);
    return svg;
  }

  // The figure as a header and rows of text, for readers who cannot see or hover.
  function table(figure) {
    if (figure.kind === "intervals") return [["", figure.x.label], ...figure.rows.map((row) => [row.label, row.text])];
    if (figure.kind === "bars") {
      const format = FORMATS[figure.x.form];
      return [["", ...figure.parts.map(([name]) => `${name} (${figure.unit})`)], ...figure.rows.map((row) => [row.label, ...row.values.map((value) => format(value))])];
    }
    const cells = new Map();
    figure.series.forEach((series, index) => {
      for (const point of points(series)) {
        if (point.y === null) continue;
        const said = series.style === "area" ? { ...point, low: null } : point;
        if (!cells.has(point.x)) cells.set(point.x, figure.series.map(() => ""));
        cells.get(point.x)[index] = spoken(said, figure.y);
      }
    });
    const sorted = [...cells].sort(([first], [second]) => first - second);
    const names = figure.series.map((series) => series.name);
    return [[figure.x.label, ...names], ...sorted.map(([x, row]) => [FORMATS[figure.x.form](x), ...row])];
  }

  const draw = (figure, width, zoom) => ({ curves, intervals, bars })[figure.kind](figure, width, zoom);
  return { draw, lateHalf, table, variable, MOST_BANDS };
})();
