"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const words = data.words;
const RADIUS = 9;
const BEND = 46; // pixels between relations of the same two entities
const READABLE = 80; // with more relations shown, labels are drawn only for those pointed at or selected
const MAX_MATCHES = 12;
const NO_INTERACTION = "无关";

const byId = (id) => document.getElementById(id);
const relations = new Map(data.relations.map((relation, number) => [relation.name, { ...relation, number }]));
const edges = data.edges.map((edge, number) => ({ ...edge, number, drawn: number < data.drawn }));
const drawnEdges = edges.filter((edge) => edge.drawn);
const concepts = data.concepts.map((concept, number) => ({ ...concept, number, edges: [] }));
for (const edge of edges) {
  edge.source = concepts[edge.head];
  edge.target = concepts[edge.tail];
  edge.source.edges.push(edge);
  edge.target.edges.push(edge);
}
const nodes = concepts.filter((concept) => concept.edges.some((edge) => edge.drawn));

let least = 0; // score
let selected = null; // a concept or an edge
const unwanted = new Set(); // names of relations

// ------------------------------------------------------------------------------------------------ the drawing

const drawing = d3.select("#drawing").attr("aria-label", words.drawing);
const arrows = drawing.append("defs").selectAll("marker").data(data.relations).join("marker");
arrows.attr("id", (relation, number) => `arrow${number}`).attr("viewBox", "0 0 10 10");
arrows.attr("refX", 9).attr("refY", 5).attr("markerWidth", 9).attr("markerHeight", 9);
arrows.attr("markerUnits", "userSpaceOnUse").attr("orient", "auto");
arrows.append("path").attr("d", "M0 0L10 5L0 10z").attr("fill", (relation) => relation.colour);
const scene = drawing.append("g");

layOut();
const edgeMarks = scene.append("g").selectAll("g").data(drawnEdges).join("g").attr("class", "edge");
edgeMarks.classed("none", (edge) => edge.relation === NO_INTERACTION);
edgeMarks.classed("contradicted", (edge) => edge.contradicts.length > 0);
edgeMarks.filter(".contradicted").append("path").attr("class", "halo");
edgeMarks.append("path").attr("class", "target");
const lines = edgeMarks.append("path").attr("class", "line").attr("stroke", colour);
lines.attr("marker-end", (edge) => `url(#arrow${relations.get(edge.relation).number})`);
edgeMarks.append("text").attr("dy", "0.35em").attr("fill", colour).text(label);
edgeMarks.append("title").text((edge) => `${named(edge)}  ${edge.score.toFixed(2)}`);
edgeMarks.on("click", (event, edge) => select(edge));

const nodeMarks = scene.append("g").selectAll("g").data(nodes).join("g").attr("class", "node");
nodeMarks.classed("unknown", (concept) => !concept.known);
nodeMarks.append("circle").attr("r", RADIUS);
nodeMarks.append("text").text((concept) => concept.name);
nodeMarks.append("title").text(described);
nodeMarks.on("click", (event, concept) => select(concept));
nodeMarks.call(d3.drag().on("drag", (event, concept) => { concept.x = event.x; concept.y = event.y; place(); }));

const zoom = d3.zoom().scaleExtent([0.05, 4]).on("zoom", (event) => {
  scene.attr("transform", event.transform);
  crowd(event.transform.k);
});
drawing.call(zoom).on("dblclick.zoom", null);

/** Compute deterministic positions of the entities, and how far relations of the same two entities bend apart. */
function layOut() {
  const rounds = Math.round(Math.max(50, Math.min(300, 60000 / nodes.length))); // takes a second or two
  d3.forceSimulation(nodes)
    .alphaDecay(1 - 0.001 ** (1 / rounds))
    .force("link", d3.forceLink(drawnEdges.map(({ source, target }) => ({ source, target }))).distance(120))
    .force("charge", d3.forceManyBody().strength(-900).theta(1.5))
    .force("collision", d3.forceCollide(34))
    .force("x", d3.forceX().strength(0.07))
    .force("y", d3.forceY().strength(0.1))
    .stop()
    .tick(rounds);
  for (const pair of d3.group(drawnEdges, (edge) => d3.extent([edge.head, edge.tail]).join()).values()) {
    pair.forEach((edge, number) => { edge.bend = (number - (pair.length - 1) / 2) * BEND; });
  }
}

function place() {
  for (const edge of drawnEdges) edge.course = course(edge);
  edgeMarks.selectAll("path").attr("d", function () { return this.parentNode.__data__.course.path; });
  edgeMarks.select("text").attr("x", (edge) => edge.course.x).attr("y", (edge) => edge.course.y);
  nodeMarks.attr("transform", (concept) => `translate(${concept.x},${concept.y})`);
  nodeMarks.select("text").attr("dy", (concept) => (leansDown(concept) ? -RADIUS - 7 : RADIUS + 17));
}

/** Whether most lines of an entity come from below, where its name would cover their arrowheads. */
function leansDown(concept) {
  const others = concept.edges.filter((edge) => edge.drawn).map((edge) => (edge.source === concept ? edge.target : edge.source));
  return d3.sum(others, (other) => (other.y - concept.y) / (Math.hypot(other.x - concept.x, other.y - concept.y) || 1)) > 0;
}

/** The curve of a relation from rim to rim, and the position of its label. */
function course({ source, target, head, tail, bend }) {
  const [acrossX, acrossY] = [target.x - source.x, target.y - source.y];
  const distance = Math.hypot(acrossX, acrossY) || 1;
  const aside = (head < tail ? bend : -bend) / distance; // the same side for both directions
  const x = (source.x + target.x) / 2 - acrossY * aside;
  const y = (source.y + target.y) / 2 + acrossX * aside;
  const rim = (end, room) => {
    const length = Math.hypot(x - end.x, y - end.y) || 1;
    return `${end.x + ((x - end.x) / length) * room} ${end.y + ((y - end.y) / length) * room}`;
  };
  return {
    path: `M${rim(source, RADIUS)}Q${x} ${y} ${rim(target, RADIUS + 3)}`,
    x: (source.x + 2 * x + target.x) / 4,
    y: (source.y + 2 * y + target.y) / 4,
  };
}

function showWhole() {
  const { width, height } = drawing.node().getBoundingClientRect();
  const [left = 0, right = 0] = d3.extent(nodes, (concept) => concept.x);
  const [top = 0, bottom = 0] = d3.extent(nodes, (concept) => concept.y);
  const scale = Math.min(1.5, width / (right - left + 140), height / (bottom - top + 110));
  const centred = d3.zoomIdentity.translate(width / 2, height / 2).scale(scale);
  drawing.call(zoom.transform, centred.translate(-(left + right) / 2, -(top + bottom) / 2 - 10));
}

/** Apply the filters, and highlight the selection and its neighbours. */
function paint() {
  const shown = new Set(drawnEdges.filter(passes).flatMap((edge) => [edge.source, edge.target]));
  const touches = (edge) => [edge, edge.source, edge.target].includes(selected);
  const near = new Set(drawnEdges.filter((edge) => passes(edge) && touches(edge)).flatMap((e) => [e.source, e.target]));
  edgeMarks.classed("hidden", (edge) => !passes(edge));
  edgeMarks.classed("selected", (edge) => edge === selected);
  edgeMarks.classed("near", (edge) => selected !== null && touches(edge));
  edgeMarks.classed("dim", (edge) => selected !== null && near.size > 0 && !touches(edge));
  nodeMarks.classed("hidden", (concept) => !shown.has(concept));
  nodeMarks.classed("selected", (concept) => concept === selected);
  nodeMarks.classed("dim", (concept) => selected !== null && near.size > 0 && !near.has(concept));
  crowd(d3.zoomTransform(drawing.node()).k);
  byId("least").textContent = least.toFixed(2);
  byId("status").textContent = `Shown: ${drawnEdges.filter(passes).length} of ${data.drawn} ${words.relation}s`;
}

function crowd(scale) {
  drawing.classed("crowded", scale < 2 && drawnEdges.filter(passes).length > READABLE);
}

function passes(edge) {
  return edge.score >= least && !unwanted.has(edge.relation);
}

function colour(edge) {
  return relations.get(edge.relation).colour;
}

// -------------------------------------------------------------------------------------------------- the panel

/** Make an element; strings among its children become text, never markup. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function button(text, action) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function label(edge) {
  return (edge.contradicts.length ? "⚠ " : "") + edge.relation;
}

function named(edge) {
  return `${edge.source.name} —${label(edge)}→ ${edge.target.name}`;
}

function described(concept) {
  const code = concept.code && `${words.code} ${concept.code}`.trim();
  return [concept.name, concept.type, code].filter(Boolean).join(" · ");
}

function lineTo(edge) {
  const hidden = edge.drawn ? (passes(edge) ? "" : ", hidden by the filters") : ", not drawn";
  return element("div", "", button(`${named(edge)}  (${edge.score.toFixed(2)}${hidden})`, () => select(edge)));
}

function select(what) {
  selected = what;
  const content = what === null ? ofNothing() : "evidence" in what ? ofEdge(what) : ofConcept(what);
  byId("panel").replaceChildren(...content);
  byId("panel").scrollTop = 0;
  paint();
}

function ofNothing() {
  const shown = [
    element("p", "", words.click),
    element("p", "", words.click_chinese),
  ];
  if (!data.drawn) shown.push(element("p", "warning", words.nothing));
  const count = data.contradictions.length;
  if (count) shown.push(element("h3", "", `⚠ Contradictions 矛盾 (${count})`));
  for (const [first, second] of data.contradictions) {
    shown.push(element("div", "warning", lineTo(edges[first]), lineTo(edges[second])));
  }
  return shown;
}

function ofConcept(concept) {
  const shown = [element("h2", "", concept.name), element("p", "quiet", described(concept))];
  if (concept.written.length) shown.push(element("p", "quiet", `Also written: ${concept.written.join(", ")}`));
  if (concept.candidates.length) {
    shown.push(element("p", "warning", `May be any of: ${concept.candidates.join(", ")}. None was chosen.`));
  } else if (!concept.known) shown.push(element("p", "quiet", "This name is in no table."));
  if (concept.not_drawn) {
    const plural = concept.not_drawn === 1 ? " is" : "s are";
    const many = `${concept.not_drawn} further ${words.relation}${plural}`;
    shown.push(element("p", "warning", `${many} not drawn; iser-graph query lists all.`));
  }
  shown.push(element("h3", "", `${words.relations} (${concept.edges.length})`), ...concept.edges.map(lineTo));
  return shown;
}

function ofEdge(edge) {
  const ends = [element("span", "head", edge.source.name), element("span", "tail", edge.target.name)];
  const gloss = [edge.relation, relations.get(edge.relation).gloss].filter(Boolean).join(" ");
  const shown = [
    element("h2", "", ends[0], ` —${label(edge)}→ `, ends[1]),
    element("p", "quiet", `${gloss} · score ${edge.score.toFixed(2)}`),
    element("div", "", button(`All of ${edge.source.name}`, () => select(edge.source))),
    element("div", "", button(`All of ${edge.target.name}`, () => select(edge.target))),
  ];
  if (edge.contradicts.length) {
    const others = edge.contradicts.map((number) => lineTo(edges[number]));
    shown.push(element("div", "warning", "⚠ Contradicts 矛盾:", ...others));
  }
  shown.push(element("h3", "", `Evidence 依据 (${edge.evidence.length})`), ...edge.evidence.map(ofEvidence));
  return shown;
}

function ofEvidence(evidence) {
  const page = /^(.*)#page=(\d+)$/s.exec(evidence.source);
  const unit = /\.(docx|html?|md)$/i.test(evidence.source) ? "paragraph" : "line";
  const source = page ? `${page[1]}, page ${page[2]}, paragraph` : `${evidence.source}, ${unit}`;
  const facts = [`${source} ${evidence.line}`, `score ${evidence.score.toFixed(2)}`];
  if (evidence.model) facts.push(`model ${evidence.model}`);
  const shown = [element("p", "", ...marked(evidence)), element("p", "quiet", facts.join(" · "))];
  if (evidence.drug) shown.push(element("p", "quiet", `Leaflet of ${evidence.drug}`));
  for (const role of ["head", "tail"]) {
    if (evidence[`${role}_start`] !== null) continue;
    shown.push(element("p", "quiet", `The ${role} is the leaflet's drug 本品.`));
  }
  return element("article", "", ...shown);
}

/** The sentence with head and tail marked, even if they overlap. Offsets count characters, not UTF-16 code units. */
function marked(evidence) {
  const characters = Array.from(data.texts[evidence.text]);
  const spans = ["head", "tail"].map((role) => [role, evidence[`${role}_start`] ?? 0, evidence[`${role}_end`] ?? 0]);
  const borders = new Set([0, characters.length, ...spans.flatMap(([, start, end]) => [start, end])]);
  const inside = [...borders].filter((border) => 0 <= border && border <= characters.length).sort((a, b) => a - b);
  return d3.pairs(inside, (start, end) => {
    const text = characters.slice(start, end).join("");
    const roles = spans.filter(([, from, to]) => from <= start && end <= to).map(([role]) => role);
    return roles.length ? element("mark", roles.join(" "), text) : text;
  });
}

// ------------------------------------------------------------------------------------------------ the controls

function offerRelations() {
  for (const { name, gloss, colour } of data.relations) {
    const count = drawnEdges.filter((edge) => edge.relation === name).length;
    if (count === 0) continue;
    const box = element("input", "");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) unwanted.delete(name);
      else unwanted.add(name);
      paint();
    });
    const swatch = element("span", "swatch");
    swatch.style.background = colour;
    byId("relations").append(element("label", "", box, swatch, `${name} ${gloss} (${count})`));
  }
}

function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  const names = (concept) => [concept.name, concept.code ?? "", ...concept.written].map((name) => name.toLowerCase());
  const found = wanted ? concepts.filter((concept) => names(concept).some((name) => name.includes(wanted))) : [];
  // Exact matches come first.
  found.sort((one, other) => names(other).includes(wanted) - names(one).includes(wanted));
  const choice = (concept) => element("div", "", button(concept.name, () => goTo(concept)));
  const shown = found.slice(0, MAX_MATCHES).map(choice);
  if (found.length > MAX_MATCHES) shown.push(element("p", "quiet", `and ${found.length - MAX_MATCHES} more`));
  if (wanted && !found.length) {
    shown.push(element("p", "quiet", words.not_here));
  }
  byId("matches").replaceChildren(...shown);
  return found;
}

function goTo(concept) {
  if (nodes.includes(concept)) drawing.call(zoom.translateTo, concept.x, concept.y);
  select(concept);
}

byId("search").addEventListener("input", search);
byId("search").addEventListener("keydown", (event) => {
  const [first] = event.key === "Enter" ? search() : [];
  if (first) goTo(first);
});
byId("score").addEventListener("input", (event) => { least = Number(event.target.value); paint(); });
byId("whole").addEventListener("click", () => { select(null); showWhole(); });

for (const place of document.querySelectorAll("[data-word]")) place.textContent = words[place.dataset.word];
if (relations.has(NO_INTERACTION)) byId("legend").prepend("Dashed: no interaction. ");
if (data.contradictions.length) byId("legend").prepend("⚠: a contradiction. ");
document.title = byId("title").textContent = data.title;
byId("notes").append(...data.notes.map((note) => element("p", "", note)));
byId("score").min = byId("score").value = least = Math.floor(data.min_score * 100) / 100;
offerRelations();
place();
select(null);
showWhole();
