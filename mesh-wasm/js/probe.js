// What answers where a WebSocket could not be opened. Browsers do not tell pages why that failed, but a
// page may ask the same address by HTTP.

/** How long an answer is awaited, in ms: a hub that is there answers sooner, and joining waits. */
const PATIENCE_MS = 1_500;

/** How much of a refusal is read, in characters: a hub's words are one sentence and an origin. */
const WORDS_MAX = 500;

/**
 * The status that is answered, and for 403 the beginning of its text. The status is 0 if something answers but
 * does not let this page see what; 301 for any redirect; -1 if nothing answers.
 */
export async function probe(url) {
  const given = new AbortController();
  const timer = setTimeout(() => given.abort(), PATIENCE_MS);
  const ask = (mode, redirect) => fetch(url, { mode, redirect, cache: "no-store", signal: given.signal });
  try {
    // What may not be seen may still be there; redirects are then followed or refused, unseen.
    const response = await ask("cors", "manual").catch(() => ask("no-cors", "follow"));
    const { type, status } = response;
    if (type === "opaqueredirect") return { status: 301, words: "" };
    if (type === "opaque") return { status: 0, words: "" };
    return { status, words: status === 403 ? await beginning(response) : "" };
  } catch {
    return { status: -1, words: "" };
  } finally {
    clearTimeout(timer);
    given.abort(); // The rest of the body is of no interest.
  }
}

/** The beginning of a body, or as much of it as comes. */
async function beginning({ body }) {
  let text = "";
  try {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    while (text.length < WORDS_MAX) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
    }
  } catch {
    // What came before says enough, or nothing does.
  }
  return text.slice(0, WORDS_MAX);
}
