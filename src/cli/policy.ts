import { MeshtapError } from '../errors.js';
import { explainPolicies } from '../policy/explain.js';
import { type Policy, PolicyError, placeOf, type Rule } from '../policy/policy.js';
import { type PolicyFile, type PolicyProblem, readPolicyFiles } from '../policy/read.js';
import { type Size, sizeOf } from '../policy/size.js';
import { EXIT } from './failure.js';
import { bytes } from './table.js';

export interface PolicyCheckOptions {
  json?: boolean;
}

/** Until the kernel is given policies. */
const ONLY_CHECKED = 'This version of meshtap checks policies and enforces none: all traffic passes.';

/**
 * `meshtap policy check`: says what policies would do, or what is wrong with them, each fault in a line with its place.
 * Throws POLICY_INVALID where a file is wrong or the automaton would be too large.
 */
export function checkPolicies(files: readonly string[], { json = false }: PolicyCheckOptions): void {
  const read = readPolicyFiles(files);
  const { size, problems } = measured(read);
  if (json) {
    process.stdout.write(`${JSON.stringify(report(read.policies, problems, size), undefined, 2)}\n`);
    if (!size) process.exitCode = EXIT.failure;
    return;
  }
  if (!size) {
    const lines = problems.map((problem) => `${placeOf(problem)}: ${problem.message}`);
    throw new MeshtapError('POLICY_INVALID', lines.join('\n'));
  }
  const count = read.policies.length === 1 ? '1 policy' : `${read.policies.length} policies`;
  const automaton = `${size.states} states, ${bytes(size.bytes)}`;
  process.stdout.write(
    `${[explainPolicies(read.policies), `${count}, no errors. Automaton: ${automaton}.`, ONLY_CHECKED]
      .filter(Boolean)
      .join('\n\n')}\n`,
  );
}

/** What all of it takes; a fault more where that is too much. */
function measured({ policies, problems }: PolicyFile): { size?: Size; problems: readonly PolicyProblem[] } {
  if (problems.length > 0) return { problems };
  try {
    return { size: sizeOf(policies), problems };
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return { problems: [{ ...error.position, message: error.problem }] };
  }
}

/** What `--json` writes. */
function report(policies: readonly Policy[], problems: readonly PolicyProblem[], size: Size | undefined) {
  return {
    valid: problems.length === 0,
    enforced: false,
    problems,
    policies: policies.map(plain),
    automaton: size,
  };
}

/** Patterns as they were written. */
function plain(policy: Policy) {
  const rule = ({ peers, ports }: Rule) => ({
    peers,
    ports: ports?.map(({ ports, http }) => ({
      ports,
      http: http?.map(({ method, path, host }) => ({
        method: method?.text,
        path: path?.text,
        host: host?.text,
      })),
    })),
  });
  return { ...policy, ingress: policy.ingress.map(rule), egress: policy.egress.map(rule) };
}
