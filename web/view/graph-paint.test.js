import assert from "node:assert/strict";
import { test } from "node:test";

import { looksSame } from "./graph-paint.js";

const graph = ({ hops = 1, rttMs = 3, own = false, relayed = false, label = "b" } = {}) => ({
  nodes: [{ id: "a", label: "a", self: true, hops: 0 }, { id: "b", label, self: false, hops }],
  links: [{ key: "a b", source: "a", target: "b", rttMs, own, relayed }],
  paths: new Map(),
});

test("a mesh at rest is not painted again, and what is seen of it is", () => {
  assert.ok(looksSame(graph(), graph()));
  assert.ok(looksSame(graph({ rttMs: 3 }), graph({ rttMs: 4 })), "the same colour");
  assert.ok(!looksSame(graph({ rttMs: 3 }), graph({ rttMs: 300 })), "another colour");
  assert.ok(!looksSame(graph({ rttMs: 3, own: true }), graph({ rttMs: 4, own: true })), "another figure");
  assert.ok(!looksSame(graph({ own: true }), graph({ own: true, relayed: true })), "another way");
  assert.ok(!looksSame(graph(), graph({ hops: 2 })));
  assert.ok(!looksSame(graph(), graph({ label: "c" })));
  assert.ok(!looksSame(undefined, graph()));
  assert.ok(looksSame(undefined, undefined));
});
