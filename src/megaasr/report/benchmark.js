
"use strict";
// The list of all clips. Whatever comes from a result becomes text, never markup.
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
  const unique = (values) => [...new Set(values)].sort();

  for (const place of document.querySelectorAll(".clips")) {
    const { systems, clips } = JSON.parse(document.getElementById(place.dataset.from).textContent);
    const all = [["", "all"]];
    const named = (values) => all.concat(values.map((value) => [value, value]));
    const [groupLabel, group] = select("scenario or category", named(unique(clips.map((c) => c.group)).filter(Boolean)));
    const [systemLabel, system] = select("system", systems.map((name, at) => [at, name]));
    const kinds = unique(clips.flatMap((c) => c.said.flatMap((s) => s.failures)));
    const [failureLabel, failure] = select("failure of that system", named(kinds));
    const routes = unique(clips.flatMap((c) => c.said.map((s) => s.route)).filter(Boolean));
    const [routeLabel, route] = select("route of that system", named(routes));
    const words = make("input", { type: "search" });
    const wordsLabel = make("label", { textContent: "words in reference, text or name" }, words);
    const [orderLabel, order] = select("order", [["worst", "most wrong first"], ["", "as in the test set"]]);
    const count = make("p", { className: "soft" });
    count.setAttribute("role", "status");
    const back = make("button", { type: "button", textContent: "previous" });
    const on = make("button", { type: "button", textContent: "next" });
    const body = make("tbody");
    const head = make("tr");
    for (const name of ["clip", "scenario or category", "severity", "wrong", "failures", "reference", "text"]) {
      const wordy = name === "reference" || name === "text";
      head.append(make("th", { scope: "col", textContent: name, className: wordy ? "words" : "" }));
    }
    const caption = make("caption", { textContent: "All clips under the chosen filters" });
    const region = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, caption, make("thead", {}, head), body));
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "All clips");
    let first = 0;

    const chosen = () => {
      const at = Number(system.value);
      const wanted = words.value.trim().toLowerCase();
      const found = clips.filter((clip) => {
        const said = clip.said[at];
        return (!group.value || clip.group === group.value)
          && (!failure.value || said.failures.includes(failure.value))
          && (!route.value || said.route === route.value)
          && (!wanted || [clip.id, clip.text, said.text].some((t) => t.toLowerCase().includes(wanted)));
      });
      const share = (clip) => clip.said[at].wrong / Math.max(1, clip.said[at].of);
      return order.value ? found.slice().sort((a, b) => share(b) - share(a)) : found;
    };
    const show = () => {
      const at = Number(system.value);
      const found = chosen();
      first = Math.min(first, Math.max(0, found.length - 1));
      first -= first % PAGE;
      const rows = found.slice(first, first + PAGE).map((clip) => {
        const said = clip.said[at];
        const row = make("tr", {}, make("th", { scope: "row", textContent: clip.id }));
        const severity = clip.severity === null ? "" : String(Math.round(100 * clip.severity) / 100);
        for (const text of [clip.group, severity, `${said.wrong} of ${said.of}`, said.failures.join(", ")]) {
          row.append(make("td", { textContent: text }));
        }
        row.append(make("td", { className: "words", textContent: clip.text }));
        row.append(make("td", { className: "words", textContent: said.text }));
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
    for (const box of [group, system, failure, route, order]) box.addEventListener("change", restart);
    words.addEventListener("input", restart);
    back.addEventListener("click", () => { first -= PAGE; show(); });
    on.addEventListener("click", () => { first += PAGE; show(); });
    const filters = make("div", { className: "filters" }, systemLabel, groupLabel, failureLabel);
    if (routes.length) filters.append(routeLabel);
    filters.append(wordsLabel, orderLabel, back, on);
    place.replaceChildren(filters, count, region);
    show();
  }
})();
