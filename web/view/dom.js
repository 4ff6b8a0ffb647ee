// The few DOM helpers the views share. Text goes in as text nodes only: names and payloads come from
// other agents, and no view may ever parse them as HTML.

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `data-*` and `aria-*` are attributes, `on*` handlers, the rest properties
 * @param {...(Node|string|null)} children
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name.includes("-") || name === "role" || name === "dir" || name === "scope") element.setAttribute(name, value);
    else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Writes only what changed: a table of 100 rows is refreshed twice a second. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {HTMLElement} element @param {string} name @param {string|null} value */
export function setData(element, name, value) {
  if (value === null) delete element.dataset[name];
  else if (element.dataset[name] !== value) element.dataset[name] = value;
}

/** @type {WeakMap<HTMLElement, Map<string|number, { element: HTMLElement, item: unknown }>>} */
const ROWS = new WeakMap();

/**
 * Makes the children of `parent` match `items`, reusing elements by key, so focus, selection and scroll
 * position survive a refresh. An item that is the very same object as last time is not updated.
 * @template T
 * @param {HTMLElement} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string|number} keyOf
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function syncChildren(parent, items, keyOf, create, update) {
  const known = ROWS.get(parent) ?? new Map();
  const keys = new Set(items.map(keyOf));
  for (const [key, { element }] of known) {
    if (keys.has(key)) continue;
    element.remove();
    known.delete(key);
  }
  let cursor = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const row = known.get(key) ?? { element: create(item), item: undefined };
    if (row.item !== item) update(row.element, item);
    known.set(key, { element: row.element, item });
    if (cursor === row.element) cursor = cursor.nextElementSibling;
    else parent.insertBefore(row.element, cursor);
  }
  ROWS.set(parent, known);
}

/** @param {string} text @returns {Promise<boolean>} whether the clipboard has it */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // a page served over plain http has no clipboard API
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const area = h("textarea", { value: text, class: "visually-hidden" });
  document.body.append(area);
  /** @type {HTMLTextAreaElement} */ (area).select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** Says on the button itself that it worked. @param {HTMLElement} button @param {string} text */
export async function copyFrom(button, text) {
  const label = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = label;
  if (!(await copyText(text))) {
    window.prompt("Copy this:", text);
    return;
  }
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = label;
    delete button.dataset.label;
  }, 1200);
}
