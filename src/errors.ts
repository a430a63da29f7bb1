/** Stable codes of every error that meshtap raises. They never change their meaning. */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'USAGE'
  | 'NOT_ROOT'
  | 'NOT_SUPPORTED'
  | 'NOT_READY'
  | 'LIBBPF_MISSING'
  | 'OBJECT_MISSING'
  | 'VERIFIER_REFUSED'
  | 'BPF_FAILED'
  | 'CGROUP_INVALID'
  | 'INSTANCE_BUSY'
  | 'BPFFS_MISSING'
  | 'PORT_IN_USE'
  | 'EXPORT_FAILED'
  | 'IDENTITY_FAILED'
  | 'FILTER_INVALID'
  | 'FLOWS_FAILED'
  | 'PATTERN_REFUSED'
  | 'POLICY_INVALID';

export interface MeshtapErrorOptions {
  /** What to do about it, one sentence. */
  hint?: string;
  cause?: unknown;
  /** The long form, such as a verifier's log. Shown on request only. */
  detail?: string;
}

/**
 * Base of every error meshtap raises: what was wrong and where in `message`, what to do in `hint`,
 * a stable `code` to branch on.
 */
export class MeshtapError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly detail: string | undefined;

  constructor(code: ErrorCode, message: string, { hint, cause, detail }: MeshtapErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'MeshtapError';
    this.code = code;
    this.hint = hint;
    this.detail = detail;
  }
}

/** One line for people: the message, the chain of causes, and the hint. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const causes: string[] = [];
  for (let e: unknown = error.cause; e instanceof Error; e = e.cause) causes.push(e.message);
  const hint = error instanceof MeshtapError && error.hint ? ` ${error.hint}` : '';
  return [error.message, ...causes].join(': ') + (hint && `.${hint}`);
}
