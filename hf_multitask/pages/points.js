// Draws the rows that stand as JSON under the id "points". Texts are set as text, so that none can be markup.
(() => {
  const part = name => document.getElementById(name ? `points-${name}` : "points");
  const tasks = JSON.parse(part().textContent);
  const [task, map, which, drawn, said, legend, count] =
    ["task", "map", "which", "drawn", "said", "legend", "count"].map(part);
  const hint = said.textContent;
  const LEFT = 64, TOP = 12, WIDE = 640, HIGH = 470, SIZE = 5;
  // About how wide a letter is, and what is free between two names.
  const LETTER = 7, GAP = 10;
  // One for each label, about the point (0, 0) and one unit in size.
  const MARKS = [
    "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.25L1 0L0 1.25L-1 0Z", "M-1.1.9H1.1L0-1.1Z",
    "M-1.1-.9H1.1L0 1.1Z", "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "M0-.5L.6-1.1L1.1-.6L.5 0L1.1.6L.6 1.1L0 .5L-.6 1.1L-1.1.6L-.5 0L-1.1-.6L-.6-1.1Z",
    "M0-1.3L.35-.45L1.25-.4L.55.2L.8 1.1L0 .6L-.8 1.1L-.55.2L-1.25-.4L-.35-.45Z",
  ];

  const made = (name, values, inside) => {
    const node = document.createElementNS(drawn.namespaceURI, name);
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
    if (inside !== undefined) node.textContent = inside;
    return node;
  };
  const mark = (shown, row) => {
    const label = shown.labels ? row.true : 0;
    return { d: MARKS[label % MARKS.length], fill: shown.colours[label] };
  };
  const wrong = (shown, row) => shown.labels !== null && row.true !== row.said;
  const called = (shown, value) => (shown.labels ? shown.labels[value] : value.toFixed(2));
  const sure = (shown, row) => (shown.labels ? `probability ${row.sure.toFixed(3)}` : `off by ${row.sure.toFixed(2)}`);
  const told = (shown, row) =>
    [...row.texts, `true: ${called(shown, row.true)}`, `predicted: ${called(shown, row.said)}`, sure(shown, row)];

  const tell = (node, shown, row) => {
    for (const other of drawn.querySelectorAll(".now")) other.classList.remove("now");
    node.classList.add("now");
    said.replaceChildren(...told(shown, row).map(line => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }));
  };

  const span = (chosen, axis) => {
    const values = chosen.places.map(place => place[axis]);
    const [low, high] = chosen.spans ? chosen.spans[axis] : [Math.min(...values), Math.max(...values)];
    const room = (high - low || 1) * 0.03;
    return [low - room, high + room];
  };
  const ticks = (chosen, axis) => {
    if (!chosen.spans) return [];
    if (axis === 0 && chosen.names) return chosen.names.map((name, at) => [at, name]);
    const [low, high] = chosen.spans[axis];
    return [0, 1, 2, 3, 4, 5].map(step => low + (high - low) * step / 5).map(at => [at, String(+at.toFixed(2))]);
  };

  // How wide all names are, side by side.
  const room = names => names.length * (LETTER * Math.max(0, ...names.map(([, name]) => name.length)) + GAP);

  const draw = () => {
    const shown = tasks[task.value], chosen = shown.maps[map.value];
    const [across, along] = [span(chosen, 0), span(chosen, 1)];
    const x = value => LEFT + WIDE * (value - across[0]) / (across[1] - across[0]);
    const y = value => TOP + HIGH * (1 - (value - along[0]) / (along[1] - along[0]));
    const frame = made("g", { class: "frame" });
    frame.append(made("rect", { x: LEFT, y: TOP, width: WIDE, height: HIGH }));
    const names = ticks(chosen, 0), every = Math.ceil(room(names) / WIDE);
    for (const [at, name] of names.filter((_, number) => number % every === 0))
      frame.append(made("text", { x: x(at), y: TOP + HIGH + 18, "text-anchor": "middle" }, name));
    for (const [at, name] of ticks(chosen, 1))
      frame.append(made("text", { x: LEFT - 8, y: y(at) + 4, "text-anchor": "end" }, name));
    frame.append(made("text", { x: LEFT + WIDE / 2, y: TOP + HIGH + 40, "text-anchor": "middle" }, chosen.axes[0]));
    const turned = { transform: `translate(18 ${TOP + HIGH / 2}) rotate(-90)`, "text-anchor": "middle" };
    frame.append(made("text", turned, chosen.axes[1]));
    if (chosen.equal) {
      const [low, high] = chosen.spans[0];
      frame.append(made("line", { x1: x(low), y1: y(low), x2: x(high), y2: y(high) }));
    }
    const nodes = shown.rows.map((row, number) => [row, number])
      .filter(([row]) => which.value === "all" || wrong(shown, row))
      .map(([row, number]) => {
        const [a, b] = chosen.places[number];
        const node = made("path", {
          ...mark(shown, row), transform: `translate(${x(a).toFixed(1)} ${y(b).toFixed(1)}) scale(${SIZE})`,
          class: wrong(shown, row) ? "point wrong" : "point", role: "img", tabindex: -1, "data-row": number,
          "aria-label": told(shown, row).join(". "),
        });
        for (const event of ["pointerenter", "focus", "click"])
          node.addEventListener(event, () => tell(node, shown, row));
        return node;
      });
    // The whole map is one stop of the Tab key; from there the arrows go on.
    if (nodes.length) nodes[0].setAttribute("tabindex", 0);
    drawn.replaceChildren(frame, ...nodes);
    said.textContent = hint;
    const all = shown.rows.length;
    count.textContent = `${nodes.length} of ${all} rows` + (all < shown.of ? `, which were drawn from ${shown.of}` : "");
    legend.replaceChildren(...(shown.labels || []).map((name, label) => {
      const entry = document.createElement("span"), sign = made("svg", { viewBox: "-1.5 -1.5 3 3", "aria-hidden": true });
      sign.append(made("path", { ...mark(shown, { true: label }), class: "point" }));
      entry.append(sign, name);
      return entry;
    }));
  };

  const choose = () => {
    const shown = tasks[task.value];
    map.replaceChildren(...Object.keys(shown.maps).map(name => new Option(name)));
    // A number is off by more or less, and never a mistake.
    which.disabled = shown.labels === null;
    if (which.disabled) which.value = "all";
    draw();
  };
  drawn.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const nodes = [...drawn.querySelectorAll(".point")], now = nodes.indexOf(document.activeElement);
    if (!step || now < 0) return;
    event.preventDefault();
    const next = nodes[(now + step + nodes.length) % nodes.length];
    nodes[now].setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
  task.addEventListener("change", choose);
  map.addEventListener("change", draw);
  which.addEventListener("change", draw);
  choose();
})();
