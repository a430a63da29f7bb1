import type { Party, Policy } from './policy.js';
import { PolicyTables } from './tables.js';

/** What an automaton takes. */
export interface Size {
  readonly states: number;
  readonly bytes: number;
}

/**
 * What policies take where each applies to endpoints of its own. Which of them meet at one endpoint only the endpoints
 * tell. Throws as `PolicyTables` does.
 */
export function sizeOf(policies: readonly Policy[]): Size {
  // One endpoint for each policy, which no other one selects.
  const endpoints: Party[] = policies.map((_, i) => ({
    kind: 'endpoint',
    namespace: '',
    labels: { policy: String(i) },
  }));
  const apart = policies.map((policy, i) => ({
    ...policy,
    subject: [{ key: 'policy', operator: 'In' as const, values: [String(i)] }],
  }));
  const { automaton } = new PolicyTables(apart, endpoints);
  return { states: automaton.stateCount, bytes: automaton.transitions.byteLength };
}
