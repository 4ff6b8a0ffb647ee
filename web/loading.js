// Brings the page back when a script of it has not arrived: a network that changes, or a hub that restarts, ends
// what is being fetched, and a module that is missing leaves the page as it is, silent. No module itself, so
// that it needs no other file.

(() => {
  /** Where the loads that failed in a row are counted, over reloads. */
  const FAILED = "mesh-failed-loads";
  /** Wait after the first of them, in ms; each further one doubles it. */
  const WAIT_MS = 1000;
  /** The longest wait, in ms: what is missing may be missing for good. */
  const WAIT_MAX_MS = 60_000;
  /** Loads in a row after which a package that does not start is bad: it was there each time. */
  const PACKAGE_LOADS_MAX = 3;

  function failed() {
    try {
      return Number(sessionStorage.getItem(FAILED));
    } catch {
      return Infinity; // the browser keeps nothing for this page: each wait is the longest
    }
  }

  /** @param {number} count */
  function setFailed(count) {
    try {
      sessionStorage.setItem(FAILED, String(count));
    } catch {
      // as above
    }
  }

  const waitMs = Math.min(WAIT_MS * 2 ** failed(), WAIT_MAX_MS);
  let waiting = false;
  let loaded = false;

  /** Reloads as soon as the hub answers: before that, the browser would show an error in this page's place. */
  async function reload() {
    const page = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (loaded) return;
    if (!page?.ok) {
      setTimeout(reload, waitMs);
      return;
    }
    setFailed(failed() + 1);
    location.reload();
  }

  function notLoaded() {
    if (waiting || loaded) return;
    waiting = true;
    document.documentElement.dataset.loading = "failed";
    setTimeout(reload, waitMs);
  }

  addEventListener("error", ({ target }) => {
    // Proxies and extensions add scripts of theirs, without which the page works.
    if (target instanceof HTMLScriptElement && target.src.startsWith(`${location.origin}/`)) notLoaded();
  }, true);
  addEventListener("mesh-not-loaded", (event) => {
    if (failed() >= PACKAGE_LOADS_MAX) event.preventDefault();
    else notLoaded();
  });
  addEventListener("mesh-loaded", () => {
    loaded = true;
    setFailed(0);
  });
})();
