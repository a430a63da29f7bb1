/**
 * Flags of `hubble observe` that choose flows, as filters.
 *
 * @module
 */
import type { Command } from 'commander';
import { MeshtapError } from '../../errors.js';
import type { FlowFilter, FlowFilters } from '../../flows/filter.js';
import { VERDICTS } from '../../flows/flow.js';
import { eventType, header, identity, ipVersion, oneOf, tcpFlags, workload } from './flag-values.js';

type Values = Record<string, unknown[]>;

interface Flag {
  readonly flags: string;
  readonly description: string;
  /** The field of a filter; of either end, without its side. */
  readonly field: keyof FlowFilter | Ended;
  /** @default the text itself */
  readonly value?: (text: string, flag: string) => unknown;
  /** What a flag without a value stands for. */
  readonly constant?: unknown;
}

/** Fields that each end has one of: `source_…`, `destination_…`. */
type Ended =
  | 'ip'
  | 'pod'
  | 'fqdn'
  | 'label'
  | 'service'
  | 'workload'
  | 'cluster_name'
  | 'identity'
  | 'port'
  | 'namespace';

/** Each of them is there three times: for either end, and with `--from-` and `--to-` for the one and the other. */
const ENDED: readonly (Flag & { field: Ended })[] = [
  { flags: '-n, --namespace <name>', field: 'namespace', description: 'namespace' },
  { flags: '-A, --all-namespaces', field: 'namespace', constant: '', description: 'pod of any namespace' },
  { flags: '--pod <[namespace/]name>', field: 'pod', description: 'beginning of the name of a pod' },
  {
    flags: '--service <[namespace/]name>',
    field: 'service',
    description: 'beginning of the name of a service',
  },
  { flags: '--workload <[kind/]name>', field: 'workload', value: workload, description: 'workload' },
  { flags: '--ip <address>', field: 'ip', description: 'IP address or prefix' },
  { flags: '--port <number>', field: 'port', description: 'port' },
  {
    flags: '-l, --label <selector>',
    field: 'label',
    description: 'labels, such as app=shop or reserved:world',
  },
  { flags: '--fqdn <name>', field: 'fqdn', description: 'domain name; * stands for any part of one' },
  {
    flags: '--identity <number>',
    field: 'identity',
    value: identity,
    description: 'number or name of an identity',
  },
  { flags: '--cluster <name>', field: 'cluster_name', description: 'cluster' },
];

const SINGLE: readonly (Flag & { field: keyof FlowFilter })[] = [
  {
    flags: '--verdict <verdict>',
    field: 'verdict',
    value: oneOf(VERDICTS),
    description: 'FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED',
  },
  { flags: '--protocol <name>', field: 'protocol', description: 'tcp, udp, icmp, ..., http, dns' },
  { flags: '--http-status <prefix>', field: 'http_status_code', description: 'status, such as 404 or 5+' },
  { flags: '--http-method <method>', field: 'http_method', description: 'method' },
  {
    flags: '--http-path <regex>',
    field: 'http_path',
    description: 'regular expression (RE2) for a part of the path',
  },
  { flags: '--http-url <regex>', field: 'http_url', description: 'the same for the URL' },
  { flags: '--http-header <key:value>', field: 'http_header', value: header, description: 'header' },
  {
    flags: '-t, --type <type[:subtype]>',
    field: 'event_type',
    value: eventType,
    description: 'l7, trace:to-stack, drop, ...',
  },
  {
    flags: '--traffic-direction <direction>',
    field: 'traffic_direction',
    value: (text, flag) => oneOf(['INGRESS', 'EGRESS'])(text.toUpperCase(), flag),
    description: 'ingress (seen at the destination) or egress',
  },
  {
    flags: '--tcp-flags <flags>',
    field: 'tcp_flags',
    value: tcpFlags,
    description: 'flags that are set, such as syn,ack',
  },
  {
    flags: '--drop-reason-desc <reason>',
    field: 'drop_reason_desc',
    description: 'why it was dropped, such as POLICY_DENIED',
  },
  { flags: '--trace-id <id>', field: 'trace_id', description: 'trace' },
  { flags: '--ip-trace-id <number>', field: 'ip_trace_id', description: 'trace id in the IP header' },
  { flags: '--uuid <id>', field: 'uuid', description: 'the one flow with this id' },
  {
    flags: '--node-name <[cluster/]name>',
    field: 'node_name',
    description: 'node that saw it; * stands for any part of a name',
  },
  { flags: '--node-label <selector>', field: 'node_labels', description: 'labels of that node' },
  {
    flags: '--interface <name>',
    field: 'interface',
    value: (name) => ({ name }),
    description: 'network device',
  },
  {
    flags: '--snat-ip <address>',
    field: 'source_ip_xlated',
    description: 'address of the source after translation',
  },
  { flags: '--ip-version <version>', field: 'ip_version', value: ipVersion, description: 'v4, v6 or none' },
  { flags: '-4, --ipv4', field: 'ip_version', constant: 'IPv4', description: 'IPv4' },
  { flags: '-6, --ipv6', field: 'ip_version', constant: 'IPv6', description: 'IPv6' },
  { flags: '--encrypted', field: 'encrypted', constant: true, description: 'encrypted' },
  { flags: '--unencrypted', field: 'encrypted', constant: false, description: 'not encrypted' },
];

/**
 * Adds the flags to a command. The function it returns has the filters once the command is parsed; it throws USAGE where
 * flags contradict each other.
 */
export function filterFlags(command: Command): () => FlowFilters {
  const lists = { whitelist: new Selection(), blacklist: new Selection() };
  const raw: Record<keyof typeof lists, FlowFilter[]> = { whitelist: [], blacklist: [] };
  let not = false;

  const add = ({ flags, description, value = (text) => text, constant }: Flag, name: string, key: string) => {
    command.option(flags, description);
    command.on(`option:${name}`, (text: string | null) => {
      const list = not ? lists.blacklist : lists.whitelist;
      not = false;
      list.add(key, constant ?? value(text as string, `--${name}`), `--${name}`);
    });
  };
  for (const flag of ENDED) {
    const [, name = '', argument = ''] = /--([\w-]+)(.*)$/.exec(flag.flags) ?? [];
    add({ ...flag, description: `either end: ${flag.description}` }, name, `bare ${flag.field}`);
    for (const [side, whose] of [
      ['from', 'source'],
      ['to', 'destination'],
    ])
      add(
        { ...flag, flags: `--${side}-${name}${argument}`, description: `the same of the ${whose}` },
        `${side}-${name}`,
        `${whose} ${flag.field}`,
      );
  }
  for (const flag of SINGLE) {
    const [, name = ''] = /--([\w-]+)/.exec(flag.flags) ?? [];
    add(flag, name, flag.field);
  }
  command.option('--not', 'leave out what the next filter fits');
  command.on('option:not', () => {
    not = true;
  });
  for (const [flag, list] of [
    ['allowlist', 'whitelist'],
    ['denylist', 'blacklist'],
  ] as const) {
    command.option(`--${flag} <json>`, `a FlowFilter as --print-raw-filters prints it`);
    command.on(`option:${flag}`, (text: string) => raw[list].push(rawFilter(text, `--${flag}`)));
  }
  return () => {
    if (not) throw new MeshtapError('USAGE', '--not stands before no filter');
    return {
      whitelist: [...lists.whitelist.filters(), ...raw.whitelist],
      blacklist: [...lists.blacklist.filters(), ...raw.blacklist],
    };
  };
}

/** What flags say, together: one filter, or two where an end may be either. */
class Selection {
  readonly #values: Values = {};
  readonly #flags = new Map<string, string>();

  add(key: string, value: unknown, flag: string): void {
    this.#values[key] = [...(this.#values[key] ?? []), value];
    this.#flags.set(key, flag);
  }

  filters(): FlowFilter[] {
    const single = Object.entries(this.#values).filter(([key]) => !key.includes(' '));
    const shared = { ...Object.fromEntries(single), ...this.#end('source'), ...this.#end('destination') };
    const bare = this.#fields('bare');
    const [other] = Object.keys(bare)
      .map((field) => [this.#flags.get(`source ${field}`) ?? this.#flags.get(`destination ${field}`), field])
      .filter(([flag]) => flag !== undefined);
    if (other) throw new MeshtapError('USAGE', `${other[0]} and --${other[1]} can not be combined`);
    if (Object.keys(bare).length === 0) return Object.keys(shared).length === 0 ? [] : [shared];
    const sided = (side: string) => prefixed(bare, side);
    return [
      { ...shared, ...sided('source') },
      { ...shared, ...sided('destination') },
    ];
  }

  #end(side: 'source' | 'destination'): Values {
    return prefixed(this.#fields(side), side);
  }

  /** The fields of one end; a namespace is a part of the names in it. */
  #fields(side: string): Values {
    const own = Object.entries(this.#values).filter(([key]) => key.startsWith(`${side} `));
    const { namespace, ...fields } = Object.fromEntries(
      own.map(([key, values]) => [key.split(' ')[1]!, values]),
    );
    if (!namespace) return fields;
    const named = (['pod', 'service'] as const).filter((field) => fields[field]);
    if (named.length === 0) return { ...fields, pod: namespace.map((name) => `${name}/`) };
    for (const field of named)
      fields[field] = within(namespace as string[], fields[field] as string[], field);
    return fields;
  }
}

const prefixed = (fields: Values, side: string): Values =>
  Object.fromEntries(Object.entries(fields).map(([field, values]) => [`${side}_${field}`, values]));

function within(namespaces: readonly string[], names: readonly string[], flag: string): string[] {
  return names.flatMap((name) => {
    const slash = name.indexOf('/');
    if (slash < 0) return namespaces.map((namespace) => `${namespace}/${name}`);
    if (!namespaces.includes(name.slice(0, slash)))
      throw new MeshtapError(
        'USAGE',
        `--${flag} ${name} is in none of the namespaces ${namespaces.join(', ')}`,
      );
    return [name];
  });
}

function rawFilter(text: string, flag: string): FlowFilter {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Said below.
  }
  throw new MeshtapError(
    'USAGE',
    `${flag}: expected a filter such as {"source_pod":["shop/"]}, found ${text}`,
  );
}
