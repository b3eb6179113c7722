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
    times: (value) => `${d3.format(".3~g")(value)}×`,
  };

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
    const band = point.low === null || point.high === null ? "" : ` (${format(point.low)}–${format(point.high)})`;
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
    // A swept setting has its ticks at its values.
    if (axis.log) {
      options.ticks = [...new Set(values)];
      options.tickFormat = (value) => (value < 1e-3 ? d3.format("~e") : TICKS[axis.form])(value);
    }
    return options;
  }

  function curves(figure, width) {
    const marks = [Plot.gridY({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 })];
    const all = [];
    if (figure.shades.length) {
      marks.push(Plot.rectX(figure.shades, { x1: "0", x2: "1", fill: "var(--shade)", fillOpacity: 0.09 }));
    }
    marks.push(Plot.ruleY(figure.levels, { y: "value", stroke: "var(--soft)", strokeDasharray: "5 4" }));
    // Many overlapping bands hide the lines that they belong to.
    const banded = figure.series.length <= MOST_BANDS;
    const drawn = figure.series.map((series) => ({ series, data: points(series), color: variable(series.color) }));
    for (const { series, data, color } of drawn) {
      const area = series.style === "area";
      if (series.low.length && (area || banded)) {
        const options = { x: "x", y1: "low", y2: "high", fill: color, fillOpacity: area ? 0.75 : 0.16, ariaDescription: series.name };
        marks.push(Plot.areaY(data, options));
      }
    }
    for (const { series, data, color } of drawn) {
      const known = data.filter((point) => point.y !== null);
      // For an area, the pointer marks its top and the text gives its own height.
      for (const point of known) all.push({ ...point, at: series.style === "area" ? point.high : point.y, color });
      const markers = series.style === "points" || (series.style === "line" && data.length <= 12);
      const at = { x: "x", y: "y", ariaDescription: series.name };
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
    const area = (point) => figure.series.some((series) => series.name === point.name && series.style === "area");
    const title = (point) =>
      [
        figure.series.length > 1 ? `${point.name}\n` : "",
        `${figure.x.label}: ${FORMATS[figure.x.form](point.x)}\n`,
        `${figure.y.label.replace(" (%)", "")}: ${spoken(area(point) ? { ...point, low: null } : point, figure.y)}`,
      ].join("");
    marks.push(
      Plot.dot(all, pointer({ ...at, r: 5, fill: "color", stroke: "var(--card)", strokeWidth: 2 })),
      Plot.tip(all, pointer({ ...at, title, lineWidth: 26, lineHeight: 1.3, fontSize: 12.5, stroke: "var(--soft)", pathFilter: "none" })),
    );
    const ys = figure.series.flatMap((series) => [...series.y, ...(banded ? [...series.low, ...series.high] : [])]).filter((y) => y !== null);
    const y = { ...scale(figure.y, ys), nice: true };
    const levels = figure.levels.map((level) => level.value);
    const [low, high] = d3.extent([...ys, ...levels]);
    y.domain = low === high ? [Math.min(0, low), Math.max(0, high) || FLAT[figure.y.form]] : [low, high];
    const xs = figure.series.flatMap((series) => series.x).filter((x) => x !== null);
    const x = scale(figure.x, xs);
    return plot(figure, {
      width, height: Math.round(Math.min(300, Math.max(220, width * 0.55))), marginLeft: 54, marginTop: 28, marginBottom: 40,
      marginRight: 16, x: { ...x, insetLeft: 4, insetRight: 4, ticks: x.ticks ?? Math.max(3, Math.floor(width / 90)) },
      y: { ...y, ticks: 5 }, color: { type: "identity" }, marks,
    });
  }

  // A label and a text above each row, stacked if they do not fit side by side.
  function rows(figure, width, makeMarks, domain, text) {
    const longest = d3.max(figure.rows, (row) => row.label.length + text(row).length);
    const narrow = longest * 7 > width - 20;
    const step = narrow ? 60 : 44;
    const height = step * figure.rows.length + 48;
    const marks = makeMarks(step);
    const ticks = Math.max(3, Math.floor(width / 110));
    const label = { y: "label", fill: "currentColor", stroke: "var(--card)", strokeWidth: 4 };
    const left = { frameAnchor: "left", textAnchor: "start" };
    const right = { frameAnchor: "right", textAnchor: "end" };
    const top = 11 - step / 2;
    return plot(figure, {
      width, height, marginLeft: 8, marginRight: 12, marginTop: 8, marginBottom: 40,
      x: { ...scale(figure.x, domain), domain, nice: true, ticks },
      y: { domain: figure.rows.map((row) => row.label), axis: null, type: "band", padding: 0 },
      marks: [
        Plot.gridX({ ticks, stroke: "var(--line)", strokeOpacity: 1 }),
        ...marks,
        Plot.text(figure.rows, { ...label, ...left, text: "label", fontWeight: 600, dy: top }),
        Plot.text(figure.rows, { ...label, ...(narrow ? left : right), text, dy: narrow ? top + 16 : top }),
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
        tip: { pointer: "xy", lineHeight: 1.3 }, title: (part) => `${part.label}\n${part.name}: ${format(part.value)}`,
      }),
    ];
    const total = (row) => figure.parts.map(([name], index) => `${name} ${d3.format(".3~g")(row.values[index])}`).join(" + ");
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
      return [["", ...figure.parts.map(([name]) => name)], ...figure.rows.map((row) => [row.label, ...row.values.map(format)])];
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

  const draw = (figure, width) => ({ curves, intervals, bars })[figure.kind](figure, width);
  return { draw, table, variable, MOST_BANDS };
})();
