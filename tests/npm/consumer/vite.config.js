// Top-level await, for Vite before 7.
export default { build: { target: "es2022" } };
