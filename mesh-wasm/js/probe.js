// What answers where a WebSocket could not be opened. Browsers do not tell pages why that failed, but a
// page may ask the same address by HTTP.

/** How long an answer is awaited, in ms: a hub that is there answers sooner, and joining waits. */
const PATIENCE_MS = 1_500;

/**
 * The status that is answered; 0 if something answers but does not let this page see what; 301 for any
 * redirect; -1 if nothing answers.
 */
export async function probe(url) {
  const given = new AbortController();
  const timer = setTimeout(() => given.abort(), PATIENCE_MS);
  const ask = (mode, redirect) => fetch(url, { mode, redirect, cache: "no-store", signal: given.signal });
  try {
    // What may not be seen may still be there; redirects are then followed or refused, unseen.
    const response = await ask("cors", "manual").catch(() => ask("no-cors", "follow"));
    if (response.type === "opaqueredirect") return 301;
    return response.type === "opaque" ? 0 : response.status;
  } catch {
    return -1;
  } finally {
    clearTimeout(timer);
    given.abort(); // The body is of no interest.
  }
}
