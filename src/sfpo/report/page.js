// Lays out the data from content.py. All of it is put on the page as text, never as markup.
"use strict";

(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const compares = content.kind === "comparison";
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";
  const COMPLETIONS_AT_A_TIME = 25;
  const hidden = new Set();
  const FEW_VARIANTS = 8;
  // The first run shown is an SFPO run, because its gate and passes have something to show.
  let chosen = Math.max(0, content.runs.findIndex((run) => run.method === "sfpo"));

  // An element with its attributes; a child is an element or text.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  // The sample in a legend that shows how a series is drawn.
  const KEYS = {
    line: ["line", 26, 6, { x1: 0, x2: 26, y1: 3, y2: 3 }],
    points: ["circle", 8, 8, { cx: 4, cy: 4, r: 3.5 }],
    area: ["rect", 12, 12, { width: 12, height: 12, rx: 3 }],
  };
  KEYS.step = KEYS.line;

  function key(color, dash = [], style = "line") {
    const [tag, width, height, shape] = KEYS[style];
    const svg = document.createElementNS(SVG, "svg");
    const mark = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries({ class: "key", width, height, "aria-hidden": "true" })) svg.setAttribute(name, value);
    const paint = tag === "line" ? { stroke: charts.variable(color), "stroke-width": 3 } : { fill: charts.variable(color) };
    if (dash.length) paint["stroke-dasharray"] = dash.join(" ");
    for (const [name, value] of Object.entries({ ...shape, ...paint })) mark.setAttribute(name, value);
    svg.append(mark);
    return svg;
  }

  // ---- Figures

  const drawn = new Map(); // from a figure's element to the function that draws it
  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) drawn.get(entry.target)?.();
  });

  function figureCard(figure, follows) {
    const place = element("div", { class: "drawing" });
    const values = element("details", { class: "values" }, element("summary", {}, "Values"));
    values.addEventListener("toggle", () => {
      if (values.open && !values.querySelector("table")) values.append(tableOf(charts.table(figure), figure.title));
    });
    const hint = element("p", { class: "caption", hidden: true }, `Bands appear when ${charts.MOST_BANDS} lines or fewer are shown.`);
    let width = 0;
    const draw = (force) => {
      const now = Math.floor(place.clientWidth);
      if (!now || (now === width && !force)) return;
      width = now;
      const series = figure.series?.filter((one) => !follows || !hidden.has(one.name));
      const rows = figure.rows?.filter((one) => !follows || !hidden.has(one.label));
      hint.hidden = !(series?.length > charts.MOST_BANDS && series.some((one) => one.low.length));
      const empty = !(series ?? rows).length;
      place.replaceChildren(
        empty ? element("p", { class: "empty" }, "All lines are switched off in the legend above.") : charts.draw({ ...figure, series, rows }, width),
      );
    };
    drawn.set(place, draw);
    sizes.observe(place);
    const card = element("section", { class: "figure", "data-figure": figure.name }, element("h3", {}, figure.title));
    const small = smallLegend(figure, follows);
    if (small.childNodes.length) card.append(small);
    card.append(place, element("p", { class: "caption" }, figure.caption), hint, values);
    return card;
  }

  function smallLegend(figure, follows) {
    const legend = element("div", { class: "small-legend" });
    const inLegend = (series) => follows && content.legend.some(({ name }) => name === series.name);
    if (figure.kind === "curves" && figure.series.length > 1 && !figure.series.every(inLegend)) {
      for (const series of figure.series) {
        legend.append(element("span", {}, key(series.color, series.dash, series.style), series.name));
      }
    }
    if (figure.kind === "bars") {
      for (const [name, color] of figure.parts) legend.append(element("span", {}, key(color, [], "area"), name));
    }
    if (figure.shades?.length) {
      const shade = { light: "#c9ccd1", dark: "#4a5160" };
      legend.append(element("span", {}, key(shade, [], "area"), figure.shade_label));
    }
    return legend;
  }

  // `follows`: whether the figures obey the legend of the variants, if there is one.
  function figureGrid(figures, follows = false) {
    return element("div", { class: "figures" }, ...figures.map((figure) => figureCard(figure, follows)));
  }

  // `rows` begins with the header.
  function tableOf([header, ...rows], label, colors = []) {
    const head = element("tr", {}, ...header.map((cell) => element("th", { scope: "col" }, cell)));
    const body = rows.map(([first, ...cells], index) => {
      const mark = colors[index] ? [key(colors[index], [], "area")] : [];
      return element("tr", {}, element("th", { scope: "row" }, ...mark, first), ...cells.map((cell) => element("td", {}, cell)));
    });
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    return element("div", { class: colors.length ? "scroll whole" : "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
  }

  // Switches variants on and off in every figure of the comparison, one at a time or all of a method; highlights the
  // variant under the pointer.
  function legend() {
    if (content.legend.length < 2) return "";
    const redraw = () => {
      for (const button of document.querySelectorAll(".legend [data-name]")) {
        button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.name)));
      }
      for (const draw of drawn.values()) draw(true);
    };
    const switchAll = (names) => {
      const all = names.every((name) => !hidden.has(name));
      for (const name of names) all ? hidden.add(name) : hidden.delete(name);
      redraw();
    };
    const standOut = (name) => {
      for (const mark of document.querySelectorAll("[aria-description]")) {
        mark.style.opacity = name === null || mark.getAttribute("aria-description") === name ? "" : "0.12";
      }
    };
    const chip = ({ name, label, color, dash }, short) =>
      element(
        "button",
        {
          type: "button", "data-name": name, "aria-pressed": String(!hidden.has(name)), "aria-label": name, title: name,
          onclick: () => switchAll([name]),
          onmouseenter: () => standOut(name), onmouseleave: () => standOut(null),
          onfocus: () => standOut(name), onblur: () => standOut(null),
        },
        key(color, dash),
        short ? label : name,
      );
    const switcher = (label, names) => element("button", { type: "button", class: "all", onclick: () => switchAll(names) }, label);
    const names = content.legend.map(({ name }) => name);
    const group = (...children) => element("div", { class: "legend", role: "group", "aria-label": "Variants shown" }, ...children);
    if (names.length <= FEW_VARIANTS) return group(...content.legend.map((one) => chip(one, false)), switcher("all / none", names));
    const methods = [...new Set(content.legend.map(({ method }) => method))];
    const rows = methods.map((method) => {
      const own = content.legend.filter((one) => one.method === method);
      return group(switcher(method, own.map(({ name }) => name)), ...own.map((one) => chip(one, true)));
    });
    const open = window.matchMedia("(min-width: 48rem)").matches;
    return element("details", { class: "variants", open }, element("summary", {}, `Choose among ${names.length} variants`), ...rows, group(switcher("all / none", names)));
  }

  // ---- Parts that depend on the chosen run

  const ofRun = [];

  // A part of a panel that is rebuilt when the reader chooses another run.
  function runPart(make) {
    const place = element("div");
    const remake = () => {
      for (const old of place.querySelectorAll(".drawing")) {
        drawn.delete(old);
        sizes.unobserve(old);
      }
      place.replaceChildren(...(content.runs.length ? make(content.runs[chosen]) : [element("p", { class: "empty" }, "This folder has no records of single runs.")]));
    };
    ofRun.push(remake);
    remake();
    return place;
  }

  function runChooser() {
    if (content.runs.length < 2) return "";
    const choose = (event) => {
      chosen = Number(event.target.value);
      for (const select of document.querySelectorAll("select.run")) select.value = String(chosen);
      for (const remake of ofRun) remake();
    };
    const options = content.runs.map((run, index) => element("option", { value: index, selected: index === chosen }, run.name));
    return element("div", { class: "tools" }, element("label", { class: "wide" }, "Run", element("select", { class: "run", onchange: choose }, ...options)));
  }

  function heading(text) {
    return compares ? [element("h2", {}, text)] : [];
  }

  function perRun(name) {
    return runPart((run) => [element("p", { class: "sentence" }, run[`${name}_sentence`]), figureGrid(run[name])]);
  }

  // ---- Panels

  function tables(all) {
    return all.flatMap(({ title, caption, columns, rows, colors }) => [
      element("h2", {}, title),
      tableOf([columns, ...rows], title, colors),
      element("p", { class: "caption" }, caption),
    ]);
  }

  function results() {
    const cards = content.cards.map(({ label, value, detail, lines, color }) =>
      element(
        "div",
        { class: "card", style: `--color: ${charts.variable(color)}` },
        element("div", { class: "label" }, label),
        element("div", { class: "value" }, value),
        element("div", { class: "detail" }, detail),
        ...lines.map((line) => element("div", { class: "line" }, line)),
      ),
    );
    const figures = content.results.length
      ? [legend(), figureGrid(content.results, compares)]
      : [element("p", { class: "empty" }, "No evaluation on held-out problems was recorded: to get them while training, set --eval_every.")];
    return [...(cards.length ? [element("div", { class: "cards" }, ...cards)] : []), ...figures, ...tables(content.tables)];
  }

  function training() {
    if (!content.training.length) return [element("p", { class: "empty" }, "No training step was recorded.")];
    return [legend(), figureGrid(content.training, compares)];
  }

  function gate() {
    const all = content.gate.length ? [legend(), figureGrid(content.gate, true)] : [];
    return [...all, ...tables(content.gate_tables), ...heading("One run"), runChooser(), perRun("gate")];
  }

  function passes() {
    const all = content.passes.length ? [legend(), figureGrid(content.passes, true)] : [];
    return [...all, ...heading("One run"), runChooser(), perRun("passes")];
  }

  function completions() {
    return [runChooser(), runPart(({ completions: { note, rows } }) => browser(note, rows))];
  }

  const VERDICTS = {
    right: (reward) => reward !== null && reward >= 1,
    wrong: (reward) => reward !== null && reward < 1,
    "not graded": (reward) => reward === null,
  };

  function browser(note, rows) {
    if (!rows.length) return [element("p", { class: "empty" }, note)];
    const steps = [...new Set(rows.map(([step]) => step))];
    const step = element("select", {}, element("option", { value: "" }, "all steps"), ...steps.map((one) => element("option", { value: one }, String(one))));
    const verdict = element("select", {}, element("option", { value: "" }, "all"), ...Object.keys(VERDICTS).map((one) => element("option", { value: one }, one)));
    const search = element("input", { type: "search", placeholder: "in prompts, completions and answers", autocomplete: "off", spellcheck: "false" });
    const count = element("p", { class: "caption", role: "status" });
    const list = element("ul", { class: "completions" });
    const more = element("button", { type: "button", class: "button", onclick: () => show(list.childElementCount) }, "Show more");
    let found = rows;
    const show = (from) => {
      const next = found.slice(from, from + COMPLETIONS_AT_A_TIME);
      if (!from) list.replaceChildren();
      list.append(...next.map(completion));
      more.hidden = list.childElementCount >= found.length;
    };
    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      found = rows.filter(
        ([at, prompt, text, answer, reward]) =>
          (!step.value || String(at) === step.value) &&
          (!verdict.value || VERDICTS[verdict.value](reward)) &&
          (!wanted || [prompt, text, answer].some((one) => one.toLowerCase().includes(wanted))),
      );
      const right = found.filter((row) => VERDICTS.right(row[4])).length;
      count.textContent = `${found.length.toLocaleString("en")} found, ${right.toLocaleString("en")} of them right. ${note}`;
      show(0);
    };
    for (const control of [step, verdict, search]) control.addEventListener("input", filter);
    filter();
    const tools = element(
      "div",
      { class: "tools" },
      element("label", {}, "Step", step),
      element("label", {}, "Verdict", verdict),
      element("label", { class: "wide" }, "Search", search),
    );
    return [tools, count, list, more];
  }

  function completion([step, prompt, text, answer, reward]) {
    const right = VERDICTS.right(reward);
    const color = reward === null ? "var(--soft)" : right ? "var(--right)" : "var(--wrong)";
    const said = reward === null ? "not graded" : `${right ? "✓ right" : "✗ wrong"} · reward ${reward}`;
    const parts = [["prompt", prompt], ["completion", text], ["answer", answer]];
    return element(
      "li",
      { class: "completion", style: `--color: ${color}` },
      element("div", { class: "head" }, element("span", { class: "verdict" }, said), element("span", {}, `step ${step ?? "unknown"}`)),
      element("dl", {}, ...parts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    );
  }

  function setup() {
    const { commands, facts, versions } = content.setup;
    const pairs = (title, rows) =>
      rows.length
        ? [element("div", {}, element("h2", {}, title), element("dl", { class: "pairs" }, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])))]
        : [];
    const told = commands.flatMap(([title, command]) => [element("p", { class: "command-title" }, title), element("pre", { class: "command", tabindex: 0 }, command)]);
    return [
      element("h2", {}, "How to reproduce"),
      ...told,
      element("div", { class: "columns" }, ...pairs("What ran", facts), ...pairs("Versions", versions)),
      element("h2", {}, compares ? "Configuration of one run" : "Configuration"),
      runChooser(),
      runPart((run) => [
        run.configuration
          ? element("pre", { class: "configuration", tabindex: 0 }, run.configuration)
          : element("p", { class: "empty" }, "No configuration was recorded."),
      ]),
    ];
  }

  // ---- The page

  const PANELS = { Results: results, Training: training, Gate: gate, Passes: passes, Completions: completions, Setup: setup };

  function header() {
    const names = ["auto", "light", "dark"];
    const toggle = element("button", { type: "button", class: "button theme", "aria-label": "theme: auto", onclick: () => next() }, "◐ auto");
    const next = () => {
      const theme = names[(names.indexOf(root.dataset.theme ?? "auto") + 1) % names.length];
      if (theme === "auto") delete root.dataset.theme;
      else root.dataset.theme = theme;
      toggle.textContent = `◐ ${theme}`;
      toggle.setAttribute("aria-label", `theme: ${theme}`);
    };
    const kicker = element("p", { class: "kicker" }, element("b", {}, "sfpo"), compares ? " comparison" : " run");
    return element("header", {}, element("div", {}, kicker, element("h1", {}, content.title), element("p", { class: "facts" }, content.facts.join(" · "))), toggle);
  }

  function tabs() {
    const list = element("div", { role: "tablist", "aria-label": "Parts of the report" });
    const panels = [];
    const entries = Object.entries(PANELS).map(([name, make]) => {
      const id = name.toLowerCase();
      const tab = element("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}` }, name);
      const panel = element("div", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, tabindex: 0 });
      tab.addEventListener("click", () => select(id));
      list.append(tab);
      panels.push(panel);
      return { id, tab, panel, make };
    });
    const select = (id) => {
      for (const entry of entries) {
        const on = entry.id === id;
        entry.tab.setAttribute("aria-selected", String(on));
        entry.tab.tabIndex = on ? 0 : -1;
        entry.panel.hidden = !on;
        if (on && !entry.panel.hasChildNodes()) entry.panel.append(...entry.make());
        if (on) entry.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
      history.replaceState(null, "", `#${id}`);
    };
    list.addEventListener("keydown", (event) => {
      const at = entries.findIndex((entry) => entry.tab === document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: entries.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      const { id, tab } = entries[(to + entries.length) % entries.length];
      select(id);
      tab.focus();
    });
    const wanted = location.hash.slice(1);
    return { list, panels, start: () => select(entries.some(({ id }) => id === wanted) ? wanted : "results") };
  }

  const { list, panels, start } = tabs();
  const notes = content.notes.length ? [element("ul", { class: "notes" }, ...content.notes.map((note) => element("li", {}, note)))] : [];
  document.body.append(header(), ...notes, list, element("main", {}, ...panels));
  start();
})();
