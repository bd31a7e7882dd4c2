
"use strict";
// One player at a time, one heat map at a time, and the list of all clips. Whatever comes from a result becomes text, never markup.
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
  // A scenario's name may go on in a new line after each +.
  const breakable = (name) => name.split("+").flatMap((part, at) => (at ? ["+", make("wbr"), part] : [part]));
  const unique = (values) => [...new Set(values)].sort();

  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
  }, true);

  for (const place of document.querySelectorAll(".choices")) {
    const parts = [...place.children];
    if (parts.length < 2) continue;
    const [label, box] = select(place.dataset.label, parts.map((part, at) => [at, part.dataset.name]));
    const show = () => parts.forEach((part, at) => { part.hidden = at !== Number(box.value); });
    box.addEventListener("change", show);
    place.prepend(make("div", { className: "filters" }, label));
    show();
  }

  for (const place of document.querySelectorAll(".clips")) {
    const { systems, baseline, clips } = JSON.parse(document.getElementById(place.dataset.from).textContent);
    const all = [["", "all"]];
    const named = (values) => all.concat(values.map((value) => [value, value]));
    const some = (key) => named(unique(clips.map((c) => c[key])).filter(Boolean));
    const [categoryLabel, category] = select("category", some("category"));
    const [scenarioLabel, scenario] = select("scenario", some("scenario"));
    const [systemLabel, system] = select("system", systems.map((name, at) => [at, name]));
    const kinds = unique(clips.flatMap((c) => c.said.flatMap((s) => s.failures)));
    const [failureLabel, failure] = select("failure of that system", named(kinds));
    const routes = unique(clips.flatMap((c) => c.said.map((s) => s.route)).filter(Boolean));
    const [routeLabel, route] = select("route of that system", named(routes));
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
    const back = make("button", { type: "button", textContent: "previous" });
    const on = make("button", { type: "button", textContent: "next" });
    const body = make("tbody");
    const head = make("tr");
    const columns = [
      ["clip", "brief"], ["scenario or category", "brief"], ["severity", ""], ["wrong", ""],
      ["baseline", ""], ["failures", "brief"], ["reference", "words"], ["text", "words"],
    ];
    for (const [textContent, className] of columns) head.append(make("th", { scope: "col", textContent, className }));
    const caption = make("caption", { textContent: `Clips under the chosen filters; wrong words of the chosen system, and of ${systems[baseline]}, the baseline` });
    const region = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, caption, make("thead", {}, head), body));
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "All clips");
    let first = 0;

    const chosen = () => {
      const at = Number(system.value);
      const wanted = words.value.trim().toLowerCase();
      const found = clips.filter((clip) => {
        const said = clip.said[at];
        return (!category.value || clip.category === category.value)
          && (!scenario.value || clip.scenario === scenario.value)
          && (!failure.value || said.failures.includes(failure.value))
          && (!route.value || said.route === route.value)
          && (!wanted || [clip.id, clip.text, said.text].some((t) => t.toLowerCase().includes(wanted)));
      });
      const share = (clip) => clip.said[at].wrong / Math.max(1, clip.said[at].of);
      const change = (clip) => clip.said[at].wrong - clip.said[baseline].wrong;
      const rank = { worst: share, worse: change, better: (clip) => -change(clip) }[order.value];
      return rank ? found.slice().sort((a, b) => rank(b) - rank(a)) : found;
    };
    const show = () => {
      const at = Number(system.value);
      const found = chosen();
      first = Math.min(first, Math.max(0, found.length - 1));
      first -= first % PAGE;
      const rows = found.slice(first, first + PAGE).map((clip) => {
        const said = clip.said[at];
        const severity = clip.severity === null ? "" : String(Math.round(100 * clip.severity) / 100);
        const cells = [
          clip.scenario || clip.category, severity, `${said.wrong} of ${said.of}`,
          clip.said[baseline].wrong, said.failures.join(", "), clip.text, said.text,
        ];
        const row = make("tr", {}, make("th", { scope: "row", textContent: clip.id }));
        cells.forEach((text, at) => {
          row.append(make("td", { className: columns[at + 1][1] }, ...(at ? [text] : breakable(text))));
        });
        return row;
      });
      body.replaceChildren(...rows);
      const last = first + rows.length;
      count.textContent = found.length
        ? `${first + 1} to ${last} of ${found.length} clips (${clips.length} in all)`
        : `none of ${clips.length} clips`;
      back.disabled = first === 0;
      on.disabled = last >= found.length;
    };
    const restart = () => { first = 0; show(); };
    for (const box of [category, scenario, system, failure, route, order]) box.addEventListener("change", restart);
    words.addEventListener("input", restart);
    back.addEventListener("click", () => { first -= PAGE; show(); });
    on.addEventListener("click", () => { first += PAGE; show(); });
    const filters = make("div", { className: "filters" }, systemLabel);
    if (category.length > 1) filters.append(categoryLabel);
    if (scenario.length > 1) filters.append(scenarioLabel);
    filters.append(failureLabel);
    if (routes.length) filters.append(routeLabel);
    filters.append(wordsLabel, orderLabel, back, on);
    place.replaceChildren(filters, count, region);
    show();
  }
})();
