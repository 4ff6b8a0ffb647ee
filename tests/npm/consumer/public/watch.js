// What the page says and what goes wrong in it, for the test that looks.
window.said = [];
window.wrong = [];
const log = console.log;
console.log = (...what) => {
  window.said.push(...what);
  log(...what);
};
addEventListener("error", (event) => window.wrong.push(event.message || `cannot load ${event.target.src}`), true);
addEventListener("unhandledrejection", ({ reason }) => window.wrong.push(`${reason?.code}: ${reason?.message ?? reason}`));
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => window.wrong.push(`${violatedDirective} blocks ${blockedURI}`));
