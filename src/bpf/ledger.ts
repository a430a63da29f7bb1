/**
 * Ledgers whose programs do not run any more.
 *
 * What was under way on connections whose state could not be kept would stay under way in the ledger for ever. So the
 * programs that come next get a ledger of their own, and the one before, which is final then, is read as what it is:
 * whatever it has seen and not accounted for is desynchronised. An instance has the sum of all.
 *
 * @module
 */
import { enums } from './generated/counts.js';
import { BpfMap } from './map.js';

const { ledger_entry: ENTRIES } = enums;

/** Where the lines of each subject lie that is accounted for, such as requests. */
const SUBJECTS = Object.entries(ENTRIES).flatMap(([name, desynchronised]) => {
  const subject = /^(.*_)DESYNCHRONISED$/.exec(name)?.[1];
  if (subject === undefined) return [];
  const lines = Object.entries(ENTRIES).filter(([line]) => line.startsWith(subject));
  const seen = lines.find(([line]) => line === `${subject}SEEN`)![1];
  return [{ seen, desynchronised, outcomes: lines.map(([, place]) => place).filter((it) => it !== seen) }];
});

/** A ledger, its stripes added up: counters in the order of `struct ledger`. */
export function ledgerTotals(map: BpfMap): BigUint64Array {
  const { values, count } = map.read();
  const words = new BigUint64Array(values.slice().buffer);
  const size = words.length / count;
  const totals = new BigUint64Array(size);
  for (const [i, word] of words.entries()) totals[i % size]! += word;
  return totals;
}

/** The totals of a ledger that nobody writes to any more: what was under way is desynchronised. */
export function finalTotals(map: BpfMap): BigUint64Array {
  const totals = ledgerTotals(map);
  for (let at = 0; at < totals.length; at += ENTRIES.LEDGER_ROOM) {
    for (const { seen, desynchronised, outcomes } of SUBJECTS) {
      const explained = outcomes.reduce((sum, place) => sum + totals[at + place]!, 0n);
      const rest = totals[at + seen]! - explained;
      if (rest > 0n) totals[at + desynchronised]! += rest;
    }
  }
  return totals;
}

/** Several final ledgers as one, which is the caller's to close. */
export function mergeLedgers(ledgers: readonly BpfMap[]): BpfMap {
  const [first] = ledgers;
  const sum = new BigUint64Array(first!.valueSize / 8);
  for (const ledger of ledgers) for (const [i, n] of finalTotals(ledger).entries()) sum[i]! += n;
  const merged = BpfMap.createArray('former_ledgers', sum.byteLength, 1);
  merged.update(new Uint32Array(1), new Uint8Array(sum.buffer));
  return merged;
}
