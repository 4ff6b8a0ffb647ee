// Names are only labels: two agents may have the same one, or names that look the same. Where that is so the
// short id stands beside the name, and the whole id where even short ids are equal.

import { shortId } from "./format.js";

/** What the page itself says in places where it also says names. */
const OWN_WORDS = ["Everyone", "You", "This tab", "Direct"];

/** Letters and digits that look like a Latin letter in most fonts: the usual ones, not all that Unicode lists. */
const LOOKS_LIKE = new Map(Object.entries({
  а: "a", е: "e", о: "o", р: "p", с: "c", у: "y", х: "x", і: "i", ј: "j", ѕ: "s", һ: "h", ԁ: "d", ԛ: "q", ԝ: "w", к: "k",
  м: "m", т: "t", в: "b", н: "h", г: "r", п: "n", ѵ: "v", α: "a", β: "b", ε: "e", η: "n", ι: "i", κ: "k", ν: "v", ο: "o",
  ρ: "p", τ: "t", υ: "u", χ: "x", γ: "y", ω: "w", 0: "o", 1: "l", i: "l", "|": "l",
}));

/** @type {Map<string, string>} */
const skeletons = new Map();
const SKELETONS_MAX = 4000;

/** What is left of a name when all that hardly shows is taken away: equal for names that look the same. @param {string} name */
export function skeleton(name) {
  let known = skeletons.get(name);
  if (known === undefined) {
    const folded = name.normalize("NFKD").replace(/\p{M}/gu, "").toUpperCase().toLowerCase().replace(/\s+/g, " ").trim();
    known = Array.from(folded, (char) => LOOKS_LIKE.get(LOOKS_LIKE.get(char) ?? char) ?? LOOKS_LIKE.get(char) ?? char).join("");
    if (skeletons.size >= SKELETONS_MAX) skeletons.clear();
    skeletons.set(name, known);
  }
  return known;
}

/**
 * The labels of those agents whose name alone could be taken for another's.
 * @param {Iterable<{ id: string, name: string }>} agents
 * @returns {Map<string, string>} by id
 */
export function ambiguousLabels(agents) {
  /** @type {Map<string, string>} */
  const names = new Map();
  for (const { id, name } of agents) names.set(id, name);
  const withId = (/** @type {string} */ id) => `${names.get(id)} · ${shortId(id)}`;
  // Nor may one agent's name look like the label of another.
  const claims = groups([...names].flatMap(([id, name]) => [[skeleton(name), id], [skeleton(withId(id)), id]]));
  for (const word of OWN_WORDS) claims.get(skeleton(word))?.add("");
  const ambiguous = new Set([...claims.values()].filter((ids) => ids.size > 1).flatMap((ids) => [...ids]));
  ambiguous.delete("");
  const labels = groups([...ambiguous].map((id) => [skeleton(withId(id)), id]));
  return new Map([...labels.values()].flatMap((ids) =>
    Array.from(ids, (id) => [id, ids.size === 1 ? withId(id) : `${names.get(id)} · ${id}`])));
}

/** @param {string[][]} pairs @returns {Map<string, Set<string>>} */
function groups(pairs) {
  const all = new Map();
  for (const [key, id] of pairs) {
    const group = all.get(key);
    if (group) group.add(id);
    else all.set(key, new Set([id]));
  }
  return all;
}
