import { Partition } from './partition.js';

/** A deterministic automaton; where there is no transition, nothing matches any more. */
export interface Graph {
  readonly states: number;
  readonly start: number;
  /** By state: what is matched there, 0 for nothing. */
  readonly outputs: Int32Array;
  /** Transitions, one in the same place of each. */
  readonly from: Int32Array;
  readonly label: Int32Array;
  readonly to: Int32Array;
}

/**
 * The smallest automaton that does the same, from which states are gone that lead to no output. Time is
 * O(m log n) for m transitions (Valmari 2012, "Fast brief practical DFA minimization"). The start is kept, whatever
 * it leads to.
 */
export function minimise(graph: Graph): Graph {
  const { from, label, to, outputs, start, states } = useful(graph);
  const into = byState(to, states);
  const blocks = new Partition(outputs);
  const cords = new Partition(label);
  for (let cord = 0, block = 1; cord < cords.count; cord++) {
    for (const transition of cords.members(cord)) blocks.mark(from[transition]!);
    blocks.split();
    for (; block < blocks.count; block++) {
      for (const state of blocks.members(block)) for (const transition of into(state)) cords.mark(transition);
      cords.split();
    }
  }
  // Of each block one state speaks for all; its transitions are those of the block.
  const speaker = Int32Array.from({ length: blocks.count }, (_, block) => blocks.members(block)[0]!);
  const kept: number[] = [];
  for (let i = 0; i < from.length; i++) if (speaker[blocks.blockOf(from[i]!)] === from[i]) kept.push(i);
  return {
    states: blocks.count,
    start: blocks.blockOf(start),
    outputs: speaker.map((state) => outputs[state]!),
    from: Int32Array.from(kept, (i) => blocks.blockOf(from[i]!)),
    label: Int32Array.from(kept, (i) => label[i]!),
    to: Int32Array.from(kept, (i) => blocks.blockOf(to[i]!)),
  };
}

/** Without the states from which no output can be reached. */
function useful({ states, start, outputs, from, label, to }: Graph): Graph {
  const into = byState(to, states);
  const keep = new Uint8Array(states);
  const open: number[] = [];
  for (let state = 0; state < states; state++) if (outputs[state] !== 0) open.push(state);
  for (const state of open) keep[state] = 1;
  while (open.length > 0) {
    for (const transition of into(open.pop()!)) {
      const state = from[transition]!;
      if (keep[state]) continue;
      keep[state] = 1;
      open.push(state);
    }
  }
  keep[start] = 1;
  const number = new Int32Array(states);
  let count = 0;
  for (let state = 0; state < states; state++) if (keep[state]) number[state] = count++;
  const kept: number[] = [];
  for (let i = 0; i < from.length; i++) if (keep[from[i]!] && keep[to[i]!]) kept.push(i);
  return {
    states: count,
    start: number[start]!,
    outputs: outputs.filter((_, state) => keep[state]),
    from: Int32Array.from(kept, (i) => number[from[i]!]!),
    label: Int32Array.from(kept, (i) => label[i]!),
    to: Int32Array.from(kept, (i) => number[to[i]!]!),
  };
}

/** The transitions whose end (or beginning) is a state. */
function byState(ends: Int32Array, states: number): (state: number) => Int32Array {
  const first = new Int32Array(states + 1);
  for (const state of ends) first[state + 1]!++;
  for (let state = 0; state < states; state++) first[state + 1]! += first[state]!;
  const place = first.slice();
  const transitions = new Int32Array(ends.length);
  ends.forEach((state, transition) => {
    transitions[place[state]!++] = transition;
  });
  return (state) => transitions.subarray(first[state]!, first[state + 1]!);
}
