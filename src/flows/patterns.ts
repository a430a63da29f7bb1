/**
 * The patterns that Hubble's filters are written in. Each function compiles one and gives undefined if it is none.
 *
 * @module
 */
import ipaddr from 'ipaddr.js';
import { RE2JS } from 're2js';
import { type Flow, pathOf } from './flow.js';

export type Matcher<T> = (value: T) => boolean;

/** Part of a text, in RE2: linear in time, whoever wrote it. */
export function regularExpression(text: string): Matcher<string> | undefined {
  try {
    const expression = RE2JS.compile(text);
    return (value) => expression.matcher(value).find();
  } catch {
    return undefined;
  }
}

/** A whole domain name; `*` is any part of one. */
export function domainName(text: string): Matcher<string> | undefined {
  const pattern = text.trim().toLowerCase().replace(/\.$/, '');
  if (!/^[-.0-9a-z_*]+$/.test(pattern)) return undefined;
  const expression = RE2JS.compile(
    `^(?:${pattern.replaceAll('.', String.raw`\.`).replaceAll('*', '[-.0-9a-z]*')})$`,
  );
  return (value) => expression.matcher(value).find();
}

/** `cluster/node`, each a pattern as of domain names; what is empty, or left out, is any. */
export function nodeName(text: string): Matcher<string> | undefined {
  const [clusterText, nodeText, ...more] = text.includes('/') ? text.split('/') : ['', text];
  const cluster = clusterText ? domainName(clusterText) : () => true;
  const node = nodeText ? domainName(nodeText) : () => true;
  if (!cluster || !node || more.length > 0) return undefined;
  return (value) => {
    const slash = value.indexOf('/');
    return cluster(slash < 0 ? 'default' : value.slice(0, slash)) && node(value.slice(slash + 1));
  };
}

/** An address, or a prefix such as `10.0.0.0/8`. */
export function addresses(text: string): Matcher<string> | undefined {
  if (!text.includes('/')) return ipaddr.isValid(text) ? (value) => value === text : undefined;
  if (!ipaddr.isValidCIDR(text)) return undefined;
  const [prefix, length] = ipaddr.parseCIDR(text);
  return (value) => {
    if (!ipaddr.isValid(value)) return false;
    const address = ipaddr.parse(value);
    return address.kind() === prefix.kind() && address.match(prefix, length);
  };
}

/**
 * `namespace/beginning-of-name`; `namespace/` is all of it, `/name` is in any, a bare name is in `default`.
 * What has neither namespace nor name never fits.
 */
export function namespaced(text: string): Matcher<{ namespace: string; name: string }> | undefined {
  if (text === '') return undefined;
  const slash = text.indexOf('/');
  const namespace = slash < 0 ? 'default' : text.slice(0, slash);
  const beginning = text.slice(slash + 1);
  return (value) => {
    if (value.namespace === '' && value.name === '') return false;
    // Who is in no namespace at all, as on a machine without Kubernetes, is found by the name alone.
    const fits = namespace === '' || value.namespace === namespace || (slash < 0 && value.namespace === '');
    return fits && value.name.startsWith(beginning);
  };
}

/** `404`, or `5+` for all that begin with 5. */
export function statusCode(text: string): Matcher<number> | undefined {
  if (/^[1-5][0-9]{2}$/.test(text)) return (code) => code === Number(text);
  if (!/^[1-5][0-9]?\+$/.test(text)) return undefined;
  const beginning = text.slice(0, -1);
  return (code) => String(code).startsWith(beginning);
}

const ICMP = ['ICMPv4', 'ICMPv6'];
const L4: Readonly<Record<string, readonly string[]>> = {
  icmp: ICMP,
  icmpv4: ['ICMPv4'],
  icmpv6: ['ICMPv6'],
  tcp: ['TCP'],
  udp: ['UDP'],
  sctp: ['SCTP'],
  vrrp: ['VRRP'],
  igmp: ['IGMP'],
};

/** A transport, or what is spoken over it. */
export function protocol(text: string): Matcher<Flow> | undefined {
  const name = text.toLowerCase();
  const transports = L4[name];
  if (transports) return ({ transport }) => transport !== undefined && transports.includes(transport);
  if (name === 'http' || name === 'dns') return ({ l7 }) => l7?.[name] !== undefined;
  if (name === 'kafka') return ({ l7 }) => l7?.kafka !== undefined;
  return undefined;
}

/** A path, by a regular expression for a part of it. */
export function httpPath(text: string): Matcher<string> | undefined {
  const expression = regularExpression(text);
  return (
    expression &&
    ((url) => {
      const path = pathOf(url);
      return path !== undefined && expression(path);
    })
  );
}
