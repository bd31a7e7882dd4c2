
"use strict";
// Plays one clip at a time, shows one heat map at a time, and builds the list of all clips. Everything from a result becomes text, never markup.
(() => {
  const PAGE = 50;
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const select = (label, names) => {
    const box = make("select");
    for (const [value, text] of names) box.append(make("option", { value, textContent: text }));
    return [make("label", { textContent: label }, box), box];
  };
  // A scenario's name may be broken after each +.
  const breakable = (name) => name.split("+").flatMap((part, index) => (index ? ["+", make("wbr"), part] : [part]));
  const unique = (values) => [...new Set(values)].sort();

  document.addEventListener("play", (event) => {
    for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
  }, true);

  for (const container of document.querySelectorAll(".choices")) {
    const maps = [...container.children];
    if (maps.length < 2) continue;
    const [label, box] = select(container.dataset.label, maps.map((map, index) => [index, map.dataset.name]));
    const show = () => maps.forEach((map, index) => { map.hidden = index !== Number(box.value); });
    box.addEventListener("change", show);
    container.prepend(make("div", { className: "filters" }, label));
    show();
  }

  for (const container of document.querySelectorAll(".clips")) {
    const { systems, baseline, clips } = JSON.parse(document.getElementById(container.dataset.from).textContent);
    const all = [["", "all"]];
    const withAll = (values) => all.concat(values.map((value) => [value, value]));
    const valuesOf = (key) => withAll(unique(clips.map((c) => c[key])).filter(Boolean));
    const [categoryLabel, category] = select("category", valuesOf("category"));
    const [scenarioLabel, scenario] = select("scenario", valuesOf("scenario"));
    const [systemLabel, system] = select("system", systems.map((name, index) => [index, name]));
    const kinds = unique(clips.flatMap((c) => c.hypotheses.flatMap((h) => h.failures)));
    const [failureLabel, failure] = select("failure of that system", withAll(kinds));
    const routes = unique(clips.flatMap((c) => c.hypotheses.map((h) => h.route)).filter(Boolean));
    const [routeLabel, route] = select("route of that system", withAll(routes));
    const words = make("input", { type: "search" });
    const wordsLabel = make("label", { textContent: "words in reference, text or name" }, words);
    const [orderLabel, order] = select("order", [
      ["worst", "most wrong first"],
      ["better", `most better than ${systems[baseline]}`],
      ["worse", `most worse than ${systems[baseline]}`],
      ["", "as in the test set"],
    ]);
    const count = make("p", { className: "soft" });
    count.setAttribute("role", "status");
    const previous = make("button", { type: "button", textContent: "previous" });
    const next = make("button", { type: "button", textContent: "next" });
    const body = make("tbody");
    const head = make("tr");
    const columns = [
      ["clip", "brief"], ["scenario or category", "brief"], ["severity", ""], ["wrong", ""],
      ["baseline", ""], ["failures", "brief"], ["reference", "words"], ["text", "words"],
    ];
    for (const [textContent, className] of columns) head.append(make("th", { scope: "col", textContent, className }));
    const caption = make("caption", { textContent: `Clips that match the filters; wrong words of the selected system, and of ${systems[baseline]}, the baseline` });
    const region = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, caption, make("thead", {}, head), body));
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "All clips");
    let first = 0;

    const chosen = () => {
      const index = Number(system.value);
      const query = words.value.trim().toLowerCase();
      const matches = clips.filter((clip) => {
        const hypothesis = clip.hypotheses[index];
        return (!category.value || clip.category === category.value)
          && (!scenario.value || clip.scenario === scenario.value)
          && (!failure.value || hypothesis.failures.includes(failure.value))
          && (!route.value || hypothesis.route === route.value)
          && (!query || [clip.id, clip.text, hypothesis.text].some((t) => t.toLowerCase().includes(query)));
      });
      const rate = (clip) => clip.hypotheses[index].wrong / Math.max(1, clip.hypotheses[index].of);
      const change = (clip) => clip.hypotheses[index].wrong - clip.hypotheses[baseline].wrong;
      const rank = { worst: rate, worse: change, better: (clip) => -change(clip) }[order.value];
      return rank ? matches.slice().sort((a, b) => rank(b) - rank(a)) : matches;
    };
    const show = () => {
      const index = Number(system.value);
      const matches = chosen();
      first = Math.min(first, Math.max(0, matches.length - 1));
      first -= first % PAGE;
      const rows = matches.slice(first, first + PAGE).map((clip) => {
        const hypothesis = clip.hypotheses[index];
        const severity = clip.severity === null ? "" : String(Math.round(100 * clip.severity) / 100);
        const cells = [
          clip.scenario || clip.category, severity, `${hypothesis.wrong} of ${hypothesis.of}`,
          clip.hypotheses[baseline].wrong, hypothesis.failures.join(", "), clip.text, hypothesis.text,
        ];
        const row = make("tr", {}, make("th", { scope: "row", textContent: clip.id }));
        cells.forEach((text, column) => {
          row.append(make("td", { className: columns[column + 1][1] }, ...(column ? [text] : breakable(text))));
        });
        return row;
      });
      body.replaceChildren(...rows);
      const last = first + rows.length;
      count.textContent = matches.length
        ? `${first + 1} to ${last} of ${matches.length} clips (${clips.length} in all)`
        : `none of ${clips.length} clips`;
      previous.disabled = first === 0;
      next.disabled = last >= matches.length;
    };
    const restart = () => { first = 0; show(); };
    for (const box of [category, scenario, system, failure, route, order]) box.addEventListener("change", restart);
    words.addEventListener("input", restart);
    previous.addEventListener("click", () => { first -= PAGE; show(); });
    next.addEventListener("click", () => { first += PAGE; show(); });
    const filters = make("div", { className: "filters" }, systemLabel);
    if (category.length > 1) filters.append(categoryLabel);
    if (scenario.length > 1) filters.append(scenarioLabel);
    filters.append(failureLabel);
    if (routes.length) filters.append(routeLabel);
    filters.append(wordsLabel, orderLabel, previous, next);
    container.replaceChildren(filters, count, region);
    show();
  }
})();
