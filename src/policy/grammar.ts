/**
 * What is read of a CiliumNetworkPolicy (cilium.io/v2): docs.cilium.io, "Layer 3", "Layer 4" and "Layer 7 Examples" of
 * network policy. Anything else is a fault, so that no rule is understood in part.
 *
 * @module
 */
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { ENTITIES } from './policy.js';

const text = z.string().min(1, 'text that is not empty');
const list = <T extends z.ZodType>(item: T) =>
  z.array(item).min(1, 'at least one; leave out what is to be no limit');

const selector = z.strictObject({
  matchLabels: z.record(text, z.string()).optional(),
  matchExpressions: z
    .array(
      z
        .strictObject({
          key: text,
          operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: z.array(z.string()).optional(),
        })
        .refine(
          ({ operator, values = [] }) => (operator === 'In' || operator === 'NotIn') === values.length > 0,
          'values with In and NotIn, and none otherwise',
        ),
    )
    .optional(),
});

const portNumber = z
  .string('a port as text: quotes are part of the grammar')
  .regex(/^\d+$/, { error: 'a number from 1 to 65535; named ports are not supported', abort: true })
  .refine((port) => Number(port) >= 1 && Number(port) <= 65_535, 'a port from 1 to 65535');

const port = z
  .strictObject({
    port: portNumber,
    endPort: z.int().min(1).max(65_535).optional(),
    protocol: z.enum(['TCP', 'ANY'], 'TCP or ANY; other protocols are not supported').default('ANY'),
  })
  .refine(
    ({ port, endPort }) => endPort === undefined || endPort >= Number(port),
    'an endPort that is not below the port',
  );

const http = z.strictObject({ method: text.optional(), path: text.optional(), host: text.optional() });

const portRule = z
  .strictObject({
    ports: list(port),
    rules: z.strictObject({ http: list(http) }).optional(),
  })
  .superRefine(({ ports, rules }, context) => {
    if (!rules) return;
    ports.forEach(({ protocol, endPort }, i) => {
      const fault = (key: string, message: string) =>
        context.addIssue({ code: 'custom', message, path: ['ports', i, key] });
      if (protocol !== 'TCP') fault('protocol', 'protocol: TCP, where there are HTTP rules');
      if (endPort !== undefined) fault('endPort', 'no range of ports, where there are HTTP rules');
    });
  });

const cidr = z
  .string()
  .refine((value) => ipaddr.isValidCIDR(value), 'a prefix such as 10.0.0.0/8 or 2001:db8::/32');
const cidrRule = z.strictObject({ cidr, except: z.array(cidr).optional() });
const entity = z.enum(ENTITIES, `one of ${ENTITIES.join(', ')}`);

/** Cilium refuses it too. */
const onePeer = (keys: readonly string[]) => (rule: object) =>
  keys.filter((key) => (rule as Record<string, unknown>)[key] !== undefined).length <= 1;
const FROM = ['fromEndpoints', 'fromEntities', 'fromCIDR', 'fromCIDRSet'] as const;
const TO = ['toEndpoints', 'toEntities', 'toCIDR', 'toCIDRSet'] as const;

const ingress = z
  .strictObject({
    fromEndpoints: list(selector).optional(),
    fromEntities: list(entity).optional(),
    fromCIDR: list(cidr).optional(),
    fromCIDRSet: list(cidrRule).optional(),
    toPorts: list(portRule).optional(),
  })
  .refine(onePeer(FROM), `only one of ${FROM.join(', ')} in a rule; write two rules`);

const egress = z
  .strictObject({
    toEndpoints: list(selector).optional(),
    toEntities: list(entity).optional(),
    toCIDR: list(cidr).optional(),
    toCIDRSet: list(cidrRule).optional(),
    toPorts: list(portRule).optional(),
  })
  .refine(onePeer(TO), `only one of ${TO.join(', ')} in a rule; write two rules`);

const spec = z
  .strictObject({
    description: z.string().optional(),
    endpointSelector: selector,
    ingress: list(ingress).optional(),
    egress: list(egress).optional(),
  })
  .refine(({ ingress, egress }) => ingress || egress, 'ingress, egress or both');

/** Whatever the API server adds to metadata and status is let pass: it says nothing of what is allowed. */
export const DOCUMENT = z
  .strictObject({
    apiVersion: z.literal('cilium.io/v2', 'cilium.io/v2'),
    kind: z.literal('CiliumNetworkPolicy', 'CiliumNetworkPolicy, the only kind that is read'),
    metadata: z.looseObject({ name: text, namespace: text.default('default') }),
    spec: spec.optional(),
    specs: list(spec).optional(),
    status: z.unknown().optional(),
  })
  .refine(({ spec, specs }) => spec || specs, 'spec or specs');

export type Document = z.output<typeof DOCUMENT>;
export type Spec = z.output<typeof spec>;
export type RawSelector = z.output<typeof selector>;
export type RawPort = z.output<typeof port>;
export type RawRule = z.output<typeof ingress> | z.output<typeof egress>;
export type RawHttp = z.output<typeof http>;

/** Keys of Cilium's grammar that are not read, so that a fault can say so. */
export const UNSUPPORTED: ReadonlySet<string> = new Set([
  'authentication',
  'enableDefaultDeny',
  'ingressDeny',
  'egressDeny',
  'fromRequires',
  'toRequires',
  'fromGroups',
  'toGroups',
  'fromNodes',
  'toNodes',
  'toServices',
  'toFQDNs',
  'icmps',
  'nodeSelector',
  'labels',
  'log',
  'order',
  'listener',
  'originatingTLS',
  'terminatingTLS',
  'serverNames',
  'cidrGroupRef',
  'cidrGroupSelector',
  'kafka',
  'dns',
  'l7',
  'l7proto',
  'headers',
  'headerMatches',
]);
