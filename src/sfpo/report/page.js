// Lays out the data from content.py. All of it is put on the page as text, never as markup.
"use strict";

(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const compares = content.kind === "comparison";
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";
  const GROUPS_AT_A_TIME = 12;
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

  // A variant's name, which breaks between its settings and not at the hyphen of 1e-4.
  function named(text) {
    const parts = text.split(/(?<=,) /);
    return parts.flatMap((part, index) => [...(index ? [" "] : []), element("span", { class: "part" }, part)]);
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
    let base = figure; // or its error
    let zoom = null;
    const shownOf = (one) => {
      const series = one.series?.filter(({ name }) => !follows || !hidden.has(name));
      const rows = one.rows?.filter(({ label }) => !follows || !hidden.has(label));
      return { ...one, series, rows };
    };
    const draw = (force) => {
      const now = Math.floor(place.clientWidth);
      if (!now || (now === width && !force)) return;
      width = now;
      const { series, rows, ...rest } = shownOf(base);
      hint.hidden = !(series?.length > charts.MOST_BANDS && series.some((one) => one.low.length));
      const empty = !(series ?? rows).length;
      place.replaceChildren(
        empty
          ? element("p", { class: "empty" }, "All lines are switched off in the legend above.")
          : charts.draw({ ...rest, series, rows }, width, zoom),
      );
      whole.hidden = zoom === null;
    };
    const zoomTo = (ranges) => {
      zoom = ranges;
      draw(true);
    };
    const whole = element("button", { type: "button", hidden: true, onclick: () => zoomTo(null) }, "Show all");
    const views = element("div", { class: "views" });
    if (figure.error) {
      const switchTo = element("button", { type: "button", "aria-pressed": "false" }, "Error, log scale");
      switchTo.addEventListener("click", () => {
        base = base === figure ? figure.error : figure;
        switchTo.setAttribute("aria-pressed", String(base !== figure));
        title.textContent = base.title;
        caption.textContent = base.caption;
        zoomTo(null);
      });
      const shown = () => shownOf(base);
      const late = element("button", { type: "button", onclick: () => shown().series.length && zoomTo(charts.lateHalf(shown())) }, "Zoom to the end");
      views.append(switchTo, late);
    }
    views.append(whole);
    if (figure.kind === "curves") place.addEventListener("pointerdown", (event) => select(event, place, zoomTo));
    drawn.set(place, draw);
    sizes.observe(place);
    const title = element("h3", {}, figure.title);
    const caption = element("p", { class: "caption" }, figure.caption);
    const card = element("section", { class: "figure", "data-figure": figure.name }, element("div", { class: "figure-head" }, title, views));
    const small = smallLegend(figure, follows);
    if (small.childNodes.length) card.append(small);
    card.append(place, caption, hint, values);
    return card;
  }

  // Zooms to the part of a figure that a mouse is dragged across; a finger scrolls the page instead.
  function select(event, place, zoomTo) {
    const svg = place.querySelector("svg");
    if (event.pointerType !== "mouse" || event.button !== 0 || !svg) return;
    event.preventDefault();
    const corner = (one) => {
      const box = svg.getBoundingClientRect();
      return [one.clientX - box.left, one.clientY - box.top];
    };
    const [left, top] = corner(event);
    const mark = element("div", { class: "selection" });
    place.append(mark);
    const bounds = (one) => {
      const [x, y] = corner(one);
      return { x: [Math.min(left, x), Math.max(left, x)], y: [Math.min(top, y), Math.max(top, y)] };
    };
    const move = (one) => {
      const { x, y } = bounds(one);
      mark.style.cssText = `left: ${x[0]}px; top: ${y[0]}px; width: ${x[1] - x[0]}px; height: ${y[1] - y[0]}px`;
    };
    const end = (one) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      mark.remove();
      const { x, y } = bounds(one);
      if (x[1] - x[0] < 10 || y[1] - y[0] < 10) return;
      const within = (name, [from, to]) => {
        const { invert, range } = svg.scale(name);
        const [low, high] = [Math.min(...range), Math.max(...range)];
        return [invert(Math.max(low, Math.min(high, from))), invert(Math.max(low, Math.min(high, to)))].sort((a, b) => a - b);
      };
      const ranges = { x: within("x", x), y: within("y", y) };
      if (ranges.x[0] < ranges.x[1] && ranges.y[0] < ranges.y[1]) zoomTo(ranges);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
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
      return element("tr", {}, element("th", { scope: "row" }, ...mark, element("span", {}, ...named(first))), ...cells.map((cell, at) => element("td", { "data-label": header[at + 1] }, cell)));
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
        element("span", {}, ...named(short ? label : name)),
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
        element("div", { class: "label" }, ...named(label)),
        element("div", { class: "value" }, value),
        element("div", { class: "detail" }, detail),
        ...lines.map((line) => element("div", { class: "line" }, line)),
      ),
    );
    const figures = content.results.length
      ? [legend(), figureGrid(content.results, compares)]
      : [element("p", { class: "empty" }, "No evaluation on held-out problems was recorded: to get them while training, set --eval_every.")];
    return [...(cards.length ? [element("div", { class: compares ? "cards named" : "cards" }, ...cards)] : []), ...figures, ...tables(content.tables)];
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
    return [runChooser(), runPart(({ completions: { note, groups } }) => browser(note, groups))];
  }

  const VERDICTS = {
    right: ({ reward }) => reward !== null && reward >= 1,
    wrong: ({ reward }) => reward !== null && reward < 1,
    "cut off": ({ cut_off }) => cut_off === true,
    "not graded": ({ reward }) => reward === null,
  };

  function counted(number, noun) {
    return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  }

  // The groups of one step, or of all, and of them the completions that the filters let through.
  function browser(note, groups) {
    if (!groups.length) return [element("p", { class: "empty" }, note)];
    const all = groups.flatMap(({ completions }) => completions);
    const steps = [...new Set(groups.map(({ step }) => step))];
    const step = element("input", { type: "range", min: 0, max: steps.length - 1, value: steps.length - 1, "aria-label": "step" });
    const shownStep = element("output", {});
    const every = element("input", { type: "checkbox", checked: steps.length < 2 });
    const possible = Object.keys(VERDICTS).filter((one) => all.some(VERDICTS[one]));
    const verdict = element("select", {}, element("option", { value: "" }, "all"), ...possible.map((one) => element("option", { value: one }, one)));
    const search = element("input", { type: "search", placeholder: "in prompts, completions and answers", autocomplete: "off", spellcheck: "false" });
    const count = element("p", { class: "caption", role: "status" });
    const list = element("div", { class: "groups" });
    const more = element("button", { type: "button", class: "button", onclick: () => show(list.childElementCount) }, "Show more");
    const strongest = Math.max(...all.map(({ advantage }) => Math.abs(advantage ?? 0)));
    let found = [];
    const show = (from) => {
      if (!from) list.replaceChildren();
      list.append(...found.slice(from, from + GROUPS_AT_A_TIME).map((one) => groupCard(one, strongest)));
      more.hidden = list.childElementCount >= found.length;
    };
    const filter = () => {
      const at = steps[Number(step.value)];
      const wanted = search.value.trim().toLowerCase();
      const has = (text) => text.toLowerCase().includes(wanted);
      step.disabled = every.checked;
      shownStep.textContent = every.checked ? "all steps" : `step ${at ?? "unknown"} (${Number(step.value) + 1} of ${steps.length} recorded)`;
      step.setAttribute("aria-valuetext", shownStep.textContent);
      found = groups
        .filter((group) => every.checked || group.step === at)
        .map((group) => {
          const whole = !wanted || has(group.prompt) || has(group.answer);
          const shown = group.completions.filter((one) => (!verdict.value || VERDICTS[verdict.value](one)) && (whole || has(one.text)));
          return { ...group, shown };
        })
        .filter(({ shown }) => shown.length);
      const shown = found.flatMap((group) => group.shown);
      const right = shown.filter(VERDICTS.right).length;
      count.textContent = `${counted(shown.length, "completion")} of ${counted(found.length, "prompt")}, ${right.toLocaleString("en")} of them right. ${note}`;
      show(0);
    };
    for (const control of [step, every, verdict, search]) control.addEventListener("input", filter);
    filter();
    const tools = element(
      "div",
      { class: "tools" },
      element("div", { class: "wide slider" }, element("div", {}, shownStep, element("label", { class: "check" }, every, "all steps")), step),
      element("label", {}, "Verdict", verdict),
      element("label", { class: "wide" }, "Search", search),
    );
    return [tools, count, list, more];
  }

  function groupCard({ step, prompt, answer, completions, shown }, strongest) {
    const graded = completions.filter(({ reward }) => reward !== null);
    const right = completions.filter(VERDICTS.right).length;
    const facts = [`step ${step ?? "unknown"}`, ...(graded.length ? [`${right} of ${completions.length} right`] : [])];
    if (shown.length < completions.length) facts.push(`${shown.length} shown`);
    const pairs = [["prompt", prompt], ["answer", answer]].filter(([, text]) => text);
    return element(
      "section",
      { class: "group" },
      element("div", { class: "head" }, ...facts.map((fact) => element("span", {}, fact))),
      element("dl", {}, ...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])),
      element("ul", {}, ...shown.map((one) => completionItem(one, strongest))),
    );
  }

  function completionItem(one, strongest) {
    const { text, reward, advantage, cut_off } = one;
    const right = VERDICTS.right(one);
    const color = reward === null ? "var(--soft)" : right ? "var(--right)" : "var(--wrong)";
    const verdict = reward === null ? "not graded" : right ? "✓ right" : "✗ wrong";
    const said = [element("span", { class: "verdict" }, verdict)];
    if (reward !== null) said.push(element("span", {}, `reward ${d3.format(".4~g")(reward)}`));
    if (advantage !== null) {
      const share = strongest ? (50 * Math.abs(advantage)) / strongest : 0;
      const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("i", { style: `width: ${share}%; ${advantage < 0 ? "right" : "left"}: 50%` }));
      said.push(element("span", {}, `advantage ${d3.format(advantage ? "+.2f" : ".2f")(advantage)}`, ...(advantage ? [bar] : [])));
    }
    if (cut_off) said.push(element("span", { class: "cut" }, "cut off"));
    return element("li", { class: "completion", style: `--color: ${color}` }, element("div", { class: "head" }, ...said), element("div", { class: "text" }, text || "(empty)"));
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

  const PANELS = { results, training, gate, passes, completions, setup };
  const NAMES = { gate: "α, KL and gate" };

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
    const entries = Object.entries(PANELS).map(([id, make]) => {
      const name = NAMES[id] ?? id[0].toUpperCase() + id.slice(1);
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
  const remarks = [...content.notes, ...content.left_out.map((line) => `Left out: ${line}`)];
  const notes = remarks.length ? [element("ul", { class: "notes" }, ...remarks.map((note) => element("li", {}, note)))] : [];
  document.body.append(header(), ...notes, list, element("main", {}, ...panels));
  start();
})();
