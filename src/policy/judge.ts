import { RE2JS } from 're2js';
import { normalisePath } from '../routes/normal-path.js';
import type { Direction, HttpRule, Party, Policy, PortRule, Rule } from './policy.js';
import { isPeer, selects } from './select.js';

/** A request as it is sent, one character for each byte. */
export interface HttpRequest {
  readonly method: string;
  /** What is between the spaces of the request line, or the value of `:path`. */
  readonly target: string;
  /** The value of Host or `:authority`, or the authority of an absolute-form. */
  readonly host: string;
}

/** What somebody wants to do. */
export interface Access {
  readonly direction: Direction;
  /** Whose policies are asked: the server for ingress, the client for egress. */
  readonly subject: Party;
  readonly peer: Party;
  /** TCP port of the server. */
  readonly port: number;
  /** Undefined for the connection alone. */
  readonly request?: HttpRequest;
}

/** `unrestricted`: no policy applies. */
export type Verdict = 'unrestricted' | 'allowed' | 'denied';

/** What policies say of an access, straight from their meaning. What the kernel is given must say the same. */
export function judge(policies: readonly Policy[], access: Access): Verdict {
  const applying = policies.filter(
    (policy) => policy[access.direction].length > 0 && selects(policy.subject, access.subject),
  );
  if (applying.length === 0) return 'unrestricted';
  const rules = applying.flatMap((policy) => policy[access.direction]);
  return rules.some((rule) => allows(rule, access)) ? 'allowed' : 'denied';
}

function allows({ peers, ports }: Rule, access: Access): boolean {
  if (peers && !peers.some((peer) => isPeer(peer, access.peer))) return false;
  if (ports) return ports.some((rule) => allowsOnPort(rule, access));
  return peers !== undefined;
}

function allowsOnPort({ ports, http }: PortRule, { port, request }: Access): boolean {
  if (!ports.some(({ first, last }) => first <= port && port <= last)) return false;
  if (!http || !request) return true;
  return http.some((rule) => allowsRequest(rule, request));
}

function allowsRequest({ method, path, host }: HttpRule, request: HttpRequest): boolean {
  if (method && !RE2JS.matches(method.text, request.method)) return false;
  if (host && !RE2JS.compile(host.text, RE2JS.CASE_INSENSITIVE).matches(request.host)) return false;
  if (!path) return true;
  const normal = normalisePath(request.target);
  return normal !== undefined && RE2JS.matches(path.text, normal);
}
