// One tab stop for a list of buttons, however long: Tab goes to the list and on, arrow keys move inside it.

/**
 * @param {HTMLElement} list its children are the rows, with the same buttons in each
 * @returns {() => void} to be called when rows have come or gone
 */
export function roving(list) {
  /** @type {HTMLElement|null} */
  let current = null;
  let row = 0;
  let column = 0;

  const buttonsOf = (/** @type {Element} */ element) => /** @type {HTMLElement[]} */ ([...element.querySelectorAll("button")]);

  const choose = (/** @type {HTMLElement} */ button) => {
    if (current) current.tabIndex = -1;
    current = button;
    button.tabIndex = 0;
    find(button);
  };

  /** Rows change their places while one of them has the focus. */
  const find = (/** @type {HTMLElement} */ button) => {
    row = Math.max(0, [...list.children].findIndex((child) => child.contains(button)));
    column = Math.max(0, buttonsOf(list.children[row]).indexOf(button));
  };

  list.addEventListener("focusin", ({ target }) => {
    const button = /** @type {HTMLElement} */ (target).closest("button");
    if (button) choose(button);
  });

  list.addEventListener("keydown", (event) => {
    if (current) find(current);
    const buttons = (/** @type {number} */ at) => (list.children[at] ? buttonsOf(list.children[at]) : []);
    const across = buttons(row);
    const last = list.children.length - 1;
    /** @type {Record<string, () => HTMLElement|undefined>} */
    const moves = {
      ArrowDown: () => buttons(row + 1)[column],
      ArrowUp: () => buttons(row - 1)[column],
      ArrowRight: () => across[column + 1],
      ArrowLeft: () => across[column - 1],
      Home: () => buttons(0)[column],
      End: () => buttons(last)[column],
    };
    if (!Object.hasOwn(moves, event.key) || !current?.contains(/** @type {Node} */ (event.target))) return;
    event.preventDefault();
    moves[event.key]()?.focus();
  });

  return () => {
    for (const button of buttonsOf(list)) if (button !== current) button.tabIndex = -1;
    if (current && list.contains(current)) return;
    const rows = list.children.length;
    const next = rows ? buttonsOf(list.children[Math.min(row, rows - 1)])[column] : undefined;
    if (next) choose(next);
    else current = null;
  };
}
